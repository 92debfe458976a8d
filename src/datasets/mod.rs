//! Questions and gold answers: datasets of the hub by name, and local files
//! (JSONL, JSON, CSV, Parquet) in the layouts that published benchmarks use.
//!
//! [`load`] gives the first questions of a dataset in its own order, or the
//! first of a sample; either way a study that asks for more later only gains
//! questions. It never touches the network: [`fetch`] does. The rules:
//!
//! - an empty question is left out and counted;
//! - equal questions stay, each with its own idx, and are counted;
//! - a question without an answer stays, has no gold answer, and is counted;
//! - a question's length does not matter;
//! - a line that is not what it should be ends loading, with file and line.

mod layout;
mod location;
mod record;
mod sample;
#[cfg(test)]
mod tests;

pub use location::{KnownDataset, SearchPaths, known};
pub use record::supporting_ids;

use crate::{
    domain::{DatasetSpec, Question},
    hub::{FetchProgress, HubError},
    records::RecordsError,
};
use std::{collections::HashSet, io, path::PathBuf};
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
        "dataset '{name}': there is no file {tried}: correct `path:`",
        tried = tried.iter().map(|path| format!("'{}'", path.display())).collect::<Vec<_>>().join(" or ")
    )]
    Missing {
        /// The name in the study.
        name: String,
        /// Where it was looked for, in this order.
        tried: Vec<PathBuf>,
    },
    /// There is a directory where a file should be.
    #[error("dataset '{name}': {} is a directory: let `path:` name a file in it", path.display())]
    Directory {
        /// The name in the study.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// A dataset of the hub is not on this machine.
    #[error(
        "dataset '{name}': {reason}; or save it as '{}', one JSON object with question and answers per line",
        place.display()
    )]
    NotHere {
        /// The name in the study.
        name: String,
        /// Where a copy would be found.
        place: PathBuf,
        /// What is missing, and how to get it.
        reason: Box<HubError>,
    },
    /// A Parquet file can not be read.
    #[error("dataset '{name}': {source}")]
    Table {
        /// The name in the study.
        name: String,
        /// What is wrong with the file.
        source: RecordsError,
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
    #[error("dataset '{name}': {} is {what}; give it as JSONL, JSON, CSV or Parquet", path.display())]
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
    /// The file, or the first of several.
    pub source: PathBuf,
    /// SHA-256 of the whole file, in hexadecimal; of several files, that of
    /// their checksums.
    pub checksum: String,
    /// The commit on the hub, where it is from there.
    pub revision: Option<String>,
    /// Empty questions that were left out before the last one read.
    pub skipped_empty: usize,
    /// Questions kept that have no gold answer.
    pub without_answers: usize,
    /// Questions kept whose text was there before.
    pub repeated: usize,
}

impl Dataset {
    /// What people should know about it, a sentence each.
    ///
    /// `num_questions` is what was asked for.
    pub fn warnings(&self, num_questions: Option<usize>) -> Vec<String> {
        let file = self.source.display();
        let kept = self.questions.len();
        let mut warnings = Vec::new();
        if self.skipped_empty > 0 {
            warnings.push(format!(
                "{file}: {} empty questions are left out",
                self.skipped_empty
            ));
        }
        if self.without_answers > 0 {
            warnings.push(format!(
                "{file}: {} of {kept} questions have no gold answer and will not be scored",
                self.without_answers
            ));
        }
        if self.repeated > 0 {
            warnings.push(format!(
                "{file}: {} of {kept} questions repeat an earlier one and count all the same",
                self.repeated
            ));
        }
        if let Some(wanted) = num_questions.filter(|wanted| *wanted > kept) {
            warnings.push(format!(
                "{file}: there are only {kept} of the {wanted} questions asked for"
            ));
        }
        warnings
    }
}

/// The first `num_questions` questions of a dataset, or all of them; of a
/// dataset with `sample_seed`, the first of the sample.
///
/// A relative path is looked for below each of the bases of `search`; a known
/// name without a path in the places that [`SearchPaths`] tells, then in the
/// hub's cache.
///
/// # Errors
/// When the file is not there, can not be read, or holds something else.
pub fn load(
    spec: &DatasetSpec,
    num_questions: Option<usize>,
    search: &SearchPaths,
) -> Result<Dataset, DatasetError> {
    let found = location::find(spec, search)?;
    let mut read = layout::read(spec, &found.files, num_questions)?;
    if let Some(seed) = spec.sample_seed {
        sample::take(&mut read.questions, num_questions, seed);
    }
    let source = found.files.into_iter().next().unwrap_or_default();
    if read.questions.is_empty() && num_questions != Some(0) {
        return Err(DatasetError::Empty {
            name: spec.name.clone(),
            path: source,
        });
    }
    let questions = read.questions;
    let mut seen = HashSet::new();
    Ok(Dataset {
        source,
        checksum: read.checksum,
        revision: found.revision,
        skipped_empty: read.skipped_empty,
        without_answers: count(&questions, |question| question.expected.is_empty()),
        repeated: count(&questions, |question| !seen.insert(&question.question)),
        questions,
    })
}

fn count<'q>(questions: &'q [Question], mut is: impl FnMut(&'q Question) -> bool) -> usize {
    questions.iter().filter(|question| is(question)).count()
}

/// Brings a dataset that is known by name from the hub, where it is not on
/// this machine; nothing to do for a local file. `tell` hears of every
/// downloaded piece.
///
/// # Errors
/// As [`load`], when the file is neither here nor to be had.
pub fn fetch(
    spec: &DatasetSpec,
    search: &SearchPaths,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<(), DatasetError> {
    location::fetch(spec, search, tell)
}
