//! Searchable corpora on disk.
//!
//! An index is identified by what is in it: the corpus's checksum, the
//! chunking and the analyser. It is built once, beside its place, and moved
//! there when it is whole; every later run, and every experiment that asks for
//! the same, opens it. [`open`] is all that a caller needs.

#[cfg(feature = "bm25")]
pub mod bm25;
#[cfg(feature = "bm25")]
mod corpus;
#[cfg(feature = "bm25")]
mod store;
#[cfg(all(test, feature = "bm25"))]
mod tests;

use crate::{
    domain::{Failure, FailureClass, Retriever, RetrieverKind, RetrieverSpec},
    retrieval::ChunkingError,
};
use std::{
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why there is no index. Each message is one sentence.
#[derive(Debug, Error)]
pub enum IndexError {
    /// What the study asks for is not there yet.
    #[error("retriever '{retriever}': {what}")]
    Unavailable {
        /// The retriever's name.
        retriever: String,
        /// What is not there, and what to do instead.
        what: String,
    },
    /// The chunking is wrong.
    #[error(transparent)]
    Chunking(#[from] ChunkingError),
    /// There is no such corpus.
    #[error("retriever '{retriever}': there is no corpus '{corpus}'; correct `corpus:`")]
    CorpusMissing {
        /// The retriever's name.
        retriever: String,
        /// The path in the study.
        corpus: String,
    },
    /// The corpus is there, and something in it is wrong.
    #[error("corpus {}:{line}: {message}", path.display())]
    CorpusMalformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// There is no passage in the corpus.
    #[error("corpus {} has no text in it", path.display())]
    CorpusEmpty {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file can not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The search engine failed.
    #[error("index {}: {message}", path.display())]
    Engine {
        /// The index.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

impl From<IndexError> for Failure {
    /// A full or read-only disk stops the study; all else fails the
    /// experiments that need the index.
    fn from(error: IndexError) -> Self {
        let class = match &error {
            IndexError::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                FailureClass::Environment
            }
            _ => FailureClass::Permanent,
        };
        Self::new(class, error.to_string())
    }
}

/// What [`open`] tells while it builds; nothing when the index is there.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildProgress {
    /// A build begins.
    Started {
        /// The corpus.
        corpus: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A part of the corpus is in.
    Indexed {
        /// Bytes read of all those told before.
        bytes: u64,
        /// Passages so far.
        passages: u64,
    },
    /// The index is whole and in its place.
    Finished {
        /// Documents with text.
        documents: u64,
        /// Documents without, which are left out.
        empty_documents: u64,
        /// Passages.
        passages: u64,
        /// Seconds the build took.
        seconds: f64,
    },
}

/// Opens the index that `spec` asks for, and builds it first where it is not
/// there yet.
///
/// A relative `corpus` starts from the current directory; whoever knows better
/// resolves it before. Indexes live below `cache_dir`. Several processes may
/// do this at once.
///
/// # Errors
/// When the corpus is missing or malformed, the disk fails, or the kind of
/// search is not available.
pub fn open(
    spec: &RetrieverSpec,
    cache_dir: &Path,
    tell: &mut dyn FnMut(BuildProgress),
) -> Result<Box<dyn Retriever>, IndexError> {
    let unavailable = |what: &str| {
        Err(IndexError::Unavailable {
            retriever: spec.name.clone(),
            what: what.to_owned(),
        })
    };
    match spec.kind {
        RetrieverKind::Bm25 => open_bm25(spec, cache_dir, tell),
        RetrieverKind::Dense => unavailable("dense search is not available yet; use kind bm25"),
        RetrieverKind::Hybrid => unavailable("hybrid search is not available yet; use kind bm25"),
        RetrieverKind::Hierarchical => {
            unavailable("hierarchical search is not available yet; use kind bm25")
        }
    }
}

#[cfg(feature = "bm25")]
fn open_bm25(
    spec: &RetrieverSpec,
    cache_dir: &Path,
    tell: &mut dyn FnMut(BuildProgress),
) -> Result<Box<dyn Retriever>, IndexError> {
    Ok(Box::new(bm25::open(spec, cache_dir, tell)?))
}

#[cfg(not(feature = "bm25"))]
fn open_bm25(
    spec: &RetrieverSpec,
    _cache_dir: &Path,
    _tell: &mut dyn FnMut(BuildProgress),
) -> Result<Box<dyn Retriever>, IndexError> {
    Err(IndexError::Unavailable {
        retriever: spec.name.clone(),
        what: "this program was built without the feature bm25".to_owned(),
    })
}
