use crate::{
    domain::{Failure, FailureClass},
    retrieval::ChunkingError,
};
use rustix::io::Errno;
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
    /// The corpus is a directory without a file that is read.
    #[error(
        "corpus {}: of a directory the .parquet files are read, or else the .txt and .md files, and \
         it holds {found}; several JSONL files have to be joined to one, which `corpus:` names",
        path.display()
    )]
    CorpusUnread {
        /// The directory.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// A file can not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of the indexes takes none.
    #[error(
        "no index can be kept in {}: {source}; name a directory that can be written with --cache \
         or RAGICAMP_CACHE",
        place.display()
    )]
    Cache {
        /// The directory.
        place: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Texts can not be turned into vectors, or pairs into scores.
    #[error("{0}")]
    Encoder(Failure),
    /// The build was asked to stop; what is finished is kept.
    #[error("the build was interrupted; the next one goes on where it stopped")]
    Interrupted,
    /// The search engine failed.
    #[error(
        "index {}: {message}; if its files are damaged, `ragicamp index drop {}` removes it, and \
         what needs it builds it again",
        path.display(),
        path.file_name().unwrap_or_default().to_string_lossy()
    )]
    Engine {
        /// The index.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

impl IndexError {
    /// Whether something in the corpus is wrong.
    #[cfg_attr(
        not(feature = "index"),
        allow(dead_code, reason = "Builds without indexes have no caller.")
    )]
    pub(super) const fn is_of_corpus(&self) -> bool {
        matches!(
            self,
            Self::CorpusMalformed { .. } | Self::CorpusEmpty { .. }
        )
    }
}

impl From<IndexError> for Failure {
    /// A disk that is full, read-only or broken stops the study; all else
    /// fails the experiments that need the index.
    fn from(error: IndexError) -> Self {
        let class = match &error {
            IndexError::Encoder(failure) => return failure.clone(),
            // No other experiment could keep its index either.
            IndexError::Cache { .. } => FailureClass::Environment,
            IndexError::Io { source, .. } if is_the_disk(source) => FailureClass::Environment,
            _ => FailureClass::Permanent,
        };
        Self::new(class, error.to_string())
    }
}

fn is_the_disk(error: &io::Error) -> bool {
    let kind = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    );
    // A broken disk has no kind of its own, and the error of a temporary file
    // no number but in its text.
    kind || system_number(&error.to_string()) == Some(Errno::IO.raw_os_error())
}

/// The system's number of an error, as the standard library writes it into
/// every text: `(os error 5)`, or `Os { code: 5, ...` where it is debugged.
pub(super) fn system_number(text: &str) -> Option<i32> {
    ["(os error ", "Os { code: "].iter().find_map(|before| {
        let (_, rest) = text.split_once(before)?;
        let end = rest.find(|it: char| !it.is_ascii_digit())?;
        rest[..end].parse().ok()
    })
}

/// An error of the system, with the file that it is about.
#[cfg_attr(
    not(feature = "index"),
    allow(dead_code, reason = "Builds without indexes have no caller.")
)]
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> IndexError + '_ {
    |source| IndexError::Io {
        path: path.to_owned(),
        source,
    }
}

/// An error of the system where an index is to be kept. A disk that is full is
/// told as everywhere.
#[cfg_attr(
    not(feature = "index"),
    allow(dead_code, reason = "Builds without indexes have no caller.")
)]
pub(super) fn not_kept<'p>(
    cache_dir: &'p Path,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> IndexError + 'p {
    move |source| match is_the_disk(&source) && !is_read_only(&source) {
        true => io_error(path)(source),
        false => IndexError::Cache {
            place: cache_dir.to_owned(),
            source,
        },
    }
}

fn is_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// What is wrong with an index, in the engine's words.
#[cfg_attr(
    not(feature = "index"),
    allow(dead_code, reason = "Builds without indexes have no caller.")
)]
pub(super) fn broken(path: &Path, message: impl Into<String>) -> IndexError {
    IndexError::Engine {
        path: path.to_owned(),
        message: message.into(),
    }
}
