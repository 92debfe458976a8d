//! `steps/`: what a model replied on the way to an answer, for experiments
//! whose questions take several generations.
//!
//! A segment per owner and a checksum per line, as in the journal. Nothing
//! here settles a question: what is lost is generated again, and the journal
//! alone says what is answered.

use super::{
    error::Result,
    journal::{self, DamagedLine, Journal},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A reply on the way to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The question's idx.
    pub idx: usize,
    /// Which generation of the question this is, from 0.
    pub step: usize,
    /// What it was for.
    pub kind: String,
    /// SHA-256 of its prompt, in hexadecimal: a reply to another prompt is no
    /// reply to this one.
    pub prompt: String,
    /// The reply.
    pub text: String,
    /// Passages that did not fit into the prompt.
    #[serde(default)]
    pub passages_cut: usize,
    /// Prompt tokens.
    pub tokens_in: usize,
    /// Generated tokens.
    pub tokens_out: usize,
    /// From dispatch of its batch, in milliseconds.
    pub latency_ms: u64,
    /// Size of the batch.
    pub batch_size: usize,
    /// Which attempt at the experiment this was, from 1.
    pub attempt: u32,
}

/// One owner's segment, open for appending.
#[derive(Debug)]
pub struct StepJournal(Journal);

impl StepJournal {
    pub(super) fn create(directory: &Path, fence: u64) -> Result<Self> {
        Journal::create(directory, fence, &[]).map(Self)
    }

    /// Appends `records` with one write.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub fn write(&mut self, records: &[StepRecord]) -> Result<()> {
        self.0.write_lines(records)
    }

    /// Returns when everything that was written is on disk.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}

/// The replies that were kept, by question and step; of several the last.
#[derive(Debug, Default)]
pub struct StepContents {
    /// The replies.
    pub replies: BTreeMap<(usize, usize), StepRecord>,
    /// Lines that were passed over.
    pub damaged: Vec<DamagedLine>,
}

pub(super) fn read(directory: &Path) -> Result<StepContents> {
    let mut contents = StepContents::default();
    for segment in journal::segments(directory)? {
        let path = journal::segment_path(directory, segment);
        let (replies, damaged) = (&mut contents.replies, &mut contents.damaged);
        journal::read_lines(&path, damaged, |record: StepRecord| {
            replies.insert((record.idx, record.step), record);
        })?;
    }
    Ok(contents)
}
