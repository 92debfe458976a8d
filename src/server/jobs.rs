use super::problem::Problem;
use crate::errortrace::Status;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

/// The log of a training job.
pub struct JobLog(pub PathBuf);

/// A training job as its database knows it.
pub struct JobRow {
    pub status: Status,
    pub error_message: Option<String>,
}

/// A database with a table `training_jobs (id, status, error_message)`. It is
/// only read.
#[derive(Debug, Clone)]
pub enum JobsDatabase {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// Why a database of jobs can not be used. Each message is one sentence.
#[derive(Debug, Error)]
pub enum JobsError {
    /// There is no such file.
    #[error("--jobs-db {} is no file; give an SQLite database with a table training_jobs(id, status, error_message)", .0.display())]
    Missing(PathBuf),
    /// It has not what is asked of it.
    #[error(
        "--jobs-db {database}: {reason}; it must have a table training_jobs(id, status, error_message)"
    )]
    Unusable {
        /// Its name, without a password.
        database: String,
        /// What it said.
        reason: String,
    },
    /// This build has no client for it.
    #[error(
        "--jobs-db: this build reads SQLite only; build it with --features postgres for PostgreSQL"
    )]
    NoPostgres,
}

const SELECT: &str = "SELECT status, error_message FROM training_jobs WHERE CAST(id AS TEXT) = ";

/// Another process may be writing.
const BUSY: Duration = Duration::from_secs(5);

impl JobsDatabase {
    /// A file's path, or a `postgres://` URL. Looks whether the table is
    /// there.
    ///
    /// # Errors
    /// When it is not.
    pub fn open(name: &str) -> Result<Self, JobsError> {
        if name.starts_with("postgres://") || name.starts_with("postgresql://") {
            return Self::open_postgres(name);
        }
        let path = PathBuf::from(name);
        if !path.is_file() {
            return Err(JobsError::Missing(path));
        }
        sqlite(&path, "").map_err(|error| JobsError::Unusable {
            database: name.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::Sqlite(path))
    }

    #[cfg(not(feature = "postgres"))]
    fn open_postgres(_: &str) -> Result<Self, JobsError> {
        Err(JobsError::NoPostgres)
    }

    #[cfg(feature = "postgres")]
    fn open_postgres(url: &str) -> Result<Self, JobsError> {
        postgres(url, "").map_err(|error| JobsError::Unusable {
            // A URL may hold a password.
            database: url
                .rsplit_once('@')
                .map_or(url, |(_, host)| host)
                .to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::Postgres(url.to_owned()))
    }

    /// The job of this id; `None` when there is none.
    pub fn job(&self, id: &str) -> Result<Option<JobRow>, Problem> {
        let row = match self {
            Self::Sqlite(path) => sqlite(path, id).map_err(Problem::internal)?,
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => postgres(url, id).map_err(Problem::internal)?,
        };
        Ok(row.map(|(status, error_message)| JobRow {
            status: status_of(status.as_deref().unwrap_or_default()),
            error_message: error_message.filter(|message| !message.trim().is_empty()),
        }))
    }
}

type Found = Option<(Option<String>, Option<String>)>;

fn sqlite(path: &Path, id: &str) -> rusqlite::Result<Found> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection
        .query_row(&format!("{SELECT} ?1"), [id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, id: &str) -> Result<Found, postgres::Error> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    let mut transaction = client.build_transaction().read_only(true).start()?;
    let row = transaction.query_opt(&format!("{SELECT} $1"), &[&id])?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .transpose()
}

/// What the words of training platforms mean; a job of an unknown word has
/// not ended.
fn status_of(word: &str) -> Status {
    match word.trim().to_ascii_lowercase().as_str() {
        "failed" | "failure" | "error" | "errored" | "crashed" => Status::Failed,
        "cancelled" | "canceled" | "stopped" | "aborted" | "interrupted" => Status::Cancelled,
        "completed" | "complete" | "succeeded" | "success" | "done" | "finished" => {
            Status::Completed
        }
        _ => Status::Running,
    }
}
