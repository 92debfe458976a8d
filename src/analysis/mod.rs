//! What a study found: a row per experiment, means by what experiments have in
//! common, and whether two of them really differ.
//!
//! Everything here becomes a [`Table`], which is shown in the terminal or
//! written as Markdown, CSV and JSON.

mod against;
mod compare;
mod measured;
mod report;
mod summary;
mod table;
#[cfg(test)]
mod tests;

pub use against::{Against, against};
pub use compare::{Axis, UnknownAxis, best, group_by, pivot};
pub use measured::{ItemScore, Measured, paired_scores};
pub use report::{FailureCause, Report};
pub use summary::{ExperimentRow, summary};
pub use table::{Cell, Table};
