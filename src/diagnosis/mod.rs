//! What the logs of an experiment, or of any job, say went wrong.
//!
//! [`errortrace`](crate::errortrace) reads bytes; this room knows where they
//! are: [`Source`] is one log, or one experiment's `experiment.log`,
//! `error.log` and `state.json` together, [`GrowingLog`] reads on where it
//! stopped, [`causes`] groups the failures of
//! many, and [`markdown()`] writes a report to paste.

mod bounds;
mod causes;
mod growing_log;
mod markdown;
mod source;
#[cfg(test)]
mod tests;

pub use bounds::Bounds;
pub use causes::{Cause, causes};
pub use growing_log::GrowingLog;
pub use markdown::{markdown, printable, printable_lines, seen};
pub use source::{Source, load};

use std::{
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a log can not be read. Each message is one sentence.
#[derive(Debug, Error)]
pub enum DiagnosisError {
    /// There is no such file or directory.
    #[error("{} does not exist; give a log, an experiment's or a study's directory, or -", .0.display())]
    Missing(PathBuf),
    /// A directory without experiments and logs.
    #[error("{} holds neither experiments (state.json, error.log) nor *.log files", .0.display())]
    Empty(PathBuf),
    /// A file can not be read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DiagnosisError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
