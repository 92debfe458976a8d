//! Studies: YAML text in, validated experiments out.
//!
//! [`parse`] reads the text with its line numbers, checks every key and value
//! against the tables in `keys` and the names in a [`Catalog`], builds the
//! grid and names its cells. It reports every problem in one go; each names
//! file, line, key, value and the fix. Nothing here touches a file: whether a
//! model or a dataset is really there turns out later, per experiment.
//!
//! [`Filter`], [`Shard`] and [`select`] cut the list down;
//! [`order_by_model`] arranges it so that each model is loaded as seldom as
//! possible, which `parse` has done already.

mod catalog;
mod diagnostic;
mod entries;
mod fields;
mod grid;
mod hand_written;
mod keys;
mod name;
mod paths;
mod placeholders;
mod reader;
mod report;
mod retriever;
mod sampling;
mod schema;
mod scoring;
mod search;
mod select;
mod settings;
mod steps;
mod study_file;
#[cfg(test)]
mod tests;
mod yaml;

pub use catalog::{Availability, Catalog, KnownName};
pub use diagnostic::{Diagnostic, Problems, Severity, nearest};
pub use grid::MAX_CELLS;
pub use name::{MAX_NAME_BYTES, experiment_name, safe_name};
pub use paths::{LocalKind, LocalPath};
pub use schema::schema;
pub use search::Search;
pub use select::{Filter, FilterError, Shard, model_loads, order_by_model, select};
pub use study_file::{LlmJudge, Study, parse};
