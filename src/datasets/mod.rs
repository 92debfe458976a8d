//! Questions and gold answers from local files: JSONL, JSON and CSV in the
//! layouts that published benchmarks use.
//!
//! [`load`] gives the first questions of a file in its own order, so that a
//! study that asks for more later only gains questions. The rules:
//!
//! - an empty question is left out and counted;
//! - equal questions stay, each with its own idx;
//! - a question without an answer stays, and has no gold answer;
//! - a question's length does not matter;
//! - a line that is not what it should be ends loading, with file and line.

mod layout;
mod location;
mod record;
#[cfg(test)]
mod tests;

pub use location::{KnownDataset, SearchPaths, known};

use crate::domain::{DatasetSpec, Question};
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a dataset can not be used. Each message is one sentence with the fix.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The name means nothing and there is no path.
    #[error(
        "dataset '{name}' is neither a known name ({}) nor has it a `path:` to a file",
        known_names()
    )]
    Unknown {
        /// The name in the study.
        name: String,
    },
    /// There is no such file.
    #[error(
        "dataset '{name}': there is no file {tried}{how}",
        tried = tried.iter().map(|path| format!("'{}'", path.display())).collect::<Vec<_>>().join(" or ")
    )]
    Missing {
        /// The name in the study.
        name: String,
        /// Where it was looked for, in this order.
        tried: Vec<PathBuf>,
        /// How to get it; goes on after the list.
        how: String,
    },
    /// The file is there and can not be read.
    #[error("dataset '{name}': {} can not be read: {source}", path.display())]
    Unreadable {
        /// The name in the study.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is of a kind that this version does not read.
    #[error("dataset '{name}': {} is {what}; give it as JSONL, JSON or CSV", path.display())]
    Unsupported {
        /// The name in the study.
        name: String,
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// An item is not what it should be.
    #[error("dataset '{name}': {}:{place}: {message}", path.display())]
    Malformed {
        /// The name in the study.
        name: String,
        /// The file.
        path: PathBuf,
        /// The line's number from 1, or `item 17`, from 1.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// There is no question in it.
    #[error("dataset '{name}': there is no question in {}", path.display())]
    Empty {
        /// The name in the study.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

fn known_names() -> String {
    let names: Vec<&str> = known().iter().map(|dataset| dataset.name).collect();
    names.join(", ")
}

/// Questions with where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The questions; `idx` counts them from 0.
    pub questions: Vec<Question>,
    /// The file.
    pub source: PathBuf,
    /// SHA-256 of the whole file, in hexadecimal.
    pub checksum: String,
    /// Empty questions that were left out before the last one kept.
    pub skipped_empty: usize,
    /// Questions kept that have no gold answer.
    pub without_answers: usize,
}

impl Dataset {
    /// What people should know about it, a sentence each.
    ///
    /// `num_questions` is what was asked for.
    pub fn warnings(&self, num_questions: Option<usize>) -> Vec<String> {
        let file = self.source.display();
        let mut warnings = Vec::new();
        if self.skipped_empty > 0 {
            warnings.push(format!(
                "{file}: {} empty questions are left out",
                self.skipped_empty
            ));
        }
        if self.without_answers > 0 {
            warnings.push(format!(
                "{file}: {} of {} questions have no gold answer and will not be scored",
                self.without_answers,
                self.questions.len()
            ));
        }
        if let Some(wanted) = num_questions.filter(|wanted| *wanted > self.questions.len()) {
            warnings.push(format!(
                "{file}: there are only {} of the {wanted} questions asked for",
                self.questions.len()
            ));
        }
        warnings
    }
}

/// The first `num_questions` questions of a dataset, or all of them.
///
/// A relative path is looked for below each of the bases of `search`; a known
/// name without a path in the places that [`SearchPaths`] tells.
///
/// # Errors
/// When the file is not there, can not be read, or holds something else.
pub fn load(
    spec: &DatasetSpec,
    num_questions: Option<usize>,
    search: &SearchPaths,
) -> Result<Dataset, DatasetError> {
    let path = location::find(spec, search)?;
    let dataset = layout::read(spec, path, num_questions)?;
    if dataset.questions.is_empty() && num_questions != Some(0) {
        return Err(DatasetError::Empty {
            name: spec.name.clone(),
            path: dataset.source,
        });
    }
    Ok(dataset)
}
