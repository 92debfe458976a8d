//! Tables on disk as records: the rows of a Parquet file as JSON objects, one
//! at a time.
//!
//! Only the columns that are asked for are read, page by page, so a file of
//! any size passes through a few megabytes of memory. Questions and documents
//! are both read through this room.

mod pages;
mod parquet_file;
#[cfg(test)]
mod tests;

pub use parquet_file::{ParquetFile, ParquetRows};

use std::{io, path::PathBuf};

/// Why a table can not be read. Each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The file can not be opened.
    #[error("{} can not be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no Parquet file, or a damaged one.
    #[error("{} is no Parquet file or is damaged: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
}
