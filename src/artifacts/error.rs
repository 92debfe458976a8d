use super::{SCHEMA_VERSION, lease::LeaseRecord};
use crate::domain::{Failure, FailureClass};
use rustix::io::Errno;
use std::{
    io,
    path::{Path, PathBuf},
};

/// What the rooms above get from this one.
pub type Result<T> = std::result::Result<T, ArtifactError>;

/// An artifact could not be written, read or understood.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "writing".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and does not hold what it should.
    #[error("{} can not be read: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version of the program wrote the file, and may mean by it what
    /// this one does not know.
    #[error(
        "{} has schema_version {version}, and this version of ragicamp knows those up to \
         {SCHEMA_VERSION}: use the one that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: usize,
    },
    /// Another owner has taken over; whatever this one still wants to write
    /// must not be written.
    #[error("{} belongs to {} now", path.display(), owner(holder.as_deref()))]
    LeaseLost {
        /// The experiment's directory.
        path: PathBuf,
        /// The new owner, where it can be told.
        holder: Option<Box<LeaseRecord>>,
    },
}

fn owner(holder: Option<&LeaseRecord>) -> String {
    holder.map_or_else(|| "another run".to_owned(), ToString::to_string)
}

impl ArtifactError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn malformed(path: &Path, why: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// The file or directory it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Malformed { path, .. }
            | Self::Newer { path, .. }
            | Self::LeaseLost { path, .. } => path,
        }
    }

    /// What it means for the run: `environment` where nothing can be kept
    /// until somebody frees, mounts or permits something, else `permanent`.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Io { source, .. } if is_environment(source) => FailureClass::Environment,
            Self::Io { .. }
            | Self::Malformed { .. }
            | Self::Newer { .. }
            | Self::LeaseLost { .. } => FailureClass::Permanent,
        }
    }

    /// What a person can do about it, one sentence.
    pub fn advice(&self) -> Option<String> {
        let Self::Io {
            action,
            path,
            source,
        } = self
        else {
            return None;
        };
        let reads = ["reading", "listing", "looking at"].contains(action);
        let place = existing_ancestor(path);
        let shown = place.display();
        Some(match Errno::from_io_error(source)? {
            Errno::NOSPC => match free_space(place) {
                Some(free) if free.inodes == 0 => format!(
                    "The file system of {shown} has no free inodes: remove files there, then resume."
                ),
                Some(free) => format!(
                    "Free space on the file system of {shown} ({} MB are left), then resume.",
                    free.bytes / 1_000_000
                ),
                None => format!("Free space on the file system of {shown}, then resume."),
            },
            Errno::DQUOT => format!(
                "Your quota on the file system of {shown} is used up: remove files of yours there, then resume."
            ),
            Errno::ROFS => format!(
                "The file system of {shown} is mounted read-only: mount it writable, or use another directory."
            ),
            Errno::ACCESS | Errno::PERM if reads => format!(
                "This user may not read {}: change its permissions.",
                path.display()
            ),
            Errno::ACCESS | Errno::PERM => format!(
                "This user may not write in {shown}: change its permissions, or use another directory."
            ),
            Errno::IO => format!(
                "The disk below {shown} reports an error: look at the kernel's log (dmesg), and move the study to a healthy disk before you resume."
            ),
            Errno::NOENT => format!(
                "The output directory is gone, {shown} is what is left of its path: put it back or mount it, then resume."
            ),
            Errno::MFILE | Errno::NFILE => {
                "Too many files are open: raise the limit (ulimit -n), then resume.".to_owned()
            }
            Errno::STALE | Errno::NOTCONN | Errno::TIMEDOUT | Errno::HOSTDOWN => format!(
                "The network file system of {shown} does not answer: mount it again, then resume."
            ),
            _ => return None,
        })
    }
}

/// No retry and no other experiment can help against these: the study stops.
/// A path that no file can have (too long, a file in place of a directory) is
/// the fault of one experiment and is not among them.
fn is_environment(error: &io::Error) -> bool {
    // `write_all` reports a device that takes no bytes without an errno.
    if error.kind() == io::ErrorKind::WriteZero {
        return true;
    }
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOSPC
                | Errno::DQUOT
                | Errno::ROFS
                | Errno::IO
                | Errno::NOENT
                | Errno::ACCESS
                | Errno::PERM
                | Errno::FBIG
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NODEV
                | Errno::NXIO
                | Errno::STALE
                | Errno::NOTCONN
                | Errno::TIMEDOUT
                | Errno::HOSTDOWN
        )
    )
}

struct Free {
    bytes: u64,
    inodes: u64,
}

fn free_space(place: &Path) -> Option<Free> {
    let stat = rustix::fs::statvfs(place).ok()?;
    Some(Free {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        // File systems without an inode table report none in all.
        inodes: if stat.f_files == 0 {
            u64::MAX
        } else {
            stat.f_favail
        },
    })
}

fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors()
        .skip(1)
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or_else(|| Path::new("."))
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        let failure = Self::new(error.class(), error.to_string());
        match error.advice() {
            Some(advice) => failure.with_detail(advice),
            None => failure,
        }
    }
}
