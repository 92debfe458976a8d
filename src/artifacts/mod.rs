//! Everything that is kept on disk, and how it survives.
//!
//! `journal/` is the truth while an experiment runs: appended, checksummed,
//! fsynced. Every other file is derivable and appears whole or not at all: it
//! is written beside its place and renamed into it. A numbered lease says who
//! may write. Nothing is ever deleted that was computed: a directory that has
//! to make room is moved aside, and a file that can not be read is renamed.
//!
//! [`StudyDir`] and [`ExperimentDir`] are the two doors; the other modules
//! are one file of the contract each. [`scan`] looks at all of it from the
//! outside and tells what is wrong.

mod atomic;
mod error;
mod error_log;
mod examine;
mod experiment_dir;
mod faults;
mod health;
mod host;
mod identity;
mod item_scores;
mod journal;
mod lease;
mod lenient;
mod lie;
mod listing;
mod log_line;
mod metadata;
mod predictions;
mod questions;
mod regular_file;
mod results;
mod seal;
mod state;
mod steps;
mod study_dir;
mod tables;
mod time;

#[cfg(test)]
mod tests;

pub use atomic::Durability;
pub use error::{ArtifactError, Result};
pub use error_log::{ErrorLog, StoredErrorLog};
pub use examine::{examine, is_to_be_rewritten};
pub use experiment_dir::ExperimentDir;
pub use health::{Health, NextStep, StudyHealth, scan, studies};
pub use identity::{StoredIdentity, differences};
pub use journal::{DamagedLine, Journal, JournalContents};
pub use lease::{Claim, Lease, LeaseOptions, LeaseRecord, Liveness};
pub use lie::Lie;
pub use log_line::log_line;
pub use metadata::Metadata;
pub use predictions::PredictionsFile;
pub use questions::QuestionsFile;
pub use regular_file::open_regular;
pub use results::Results;
pub use seal::{Sealed, Tampered};
pub use state::State;
pub use steps::{StepContents, StepJournal, StepRecord};
pub use study_dir::{EventLog, StudyDir};
pub use tables::{TableRow, Tables};
pub use time::{now, parse_time};

/// The version of the shapes that this program writes. Files without one are
/// older and are read too.
pub const SCHEMA_VERSION: u32 = 1;
