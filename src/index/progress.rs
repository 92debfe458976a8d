use super::IndexError;
use std::{ops::ControlFlow, path::PathBuf};

/// What a build tells; nothing when the index is there.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildProgress {
    /// A build begins.
    Started {
        /// What is built: `bm25`, `passages`, `dense` or `hnsw`.
        kind: &'static str,
        /// The corpus.
        corpus: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Another process builds it; this one waits.
    Waiting,
    /// A part of the corpus is in.
    Indexed {
        /// Bytes read of all those told before.
        bytes: u64,
        /// Passages so far.
        passages: u64,
    },
    /// A part of the passages has vectors.
    Embedded {
        /// Passages with a vector, those of earlier attempts included.
        done: u64,
        /// Passages in all.
        total: u64,
    },
    /// A part of the vectors is in the graph for approximate search.
    Linked {
        /// Vectors in the graph.
        done: u64,
        /// Vectors in all.
        total: u64,
    },
    /// How much of the exact search the approximate one finds.
    Recall {
        /// Share of the 10 nearest that are found, from 0 to 1.
        recall: f64,
        /// Queries that were tried.
        queries: usize,
    },
    /// The index is whole and in its place.
    Finished {
        /// What was built.
        kind: &'static str,
        /// Passages.
        passages: u64,
        /// Documents without text, which are left out.
        empty_documents: u64,
        /// Seconds the build took.
        seconds: f64,
    },
}

/// Hears of progress; `Break` stops the build at the next point where nothing
/// is lost.
pub type Tell<'a> = dyn FnMut(BuildProgress) -> ControlFlow<()> + 'a;

/// Tells, and stops where that is wanted.
#[cfg_attr(
    not(feature = "index"),
    allow(dead_code, reason = "Builds without indexes have no caller.")
)]
pub(super) fn report(tell: &mut Tell<'_>, progress: BuildProgress) -> Result<(), IndexError> {
    match tell(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(IndexError::Interrupted),
    }
}
