use rustix::io::Errno;
use std::{error::Error, fmt, io};

/// What the program ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// All is well.
    pub const OK: Self = Self(0);
}

/// An error at the edge: what to say, and the exit code that belongs to it.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub status: ExitStatus,
    /// What to say; nothing when everything was said already.
    pub error: Option<anyhow::Error>,
}

impl CliError {
    /// A mistake of the user: exit code 2. Where a disk turns out to be the
    /// cause it is the environment's.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let status = match any_cause(&error, is_environment) {
            true => ExitStatus(4),
            false => ExitStatus(2),
        };
        Self {
            status,
            error: Some(error),
        }
    }

    /// The filter selects nothing: exit code 3.
    pub fn nothing_selected(message: String) -> Self {
        Self {
            status: ExitStatus(3),
            error: Some(anyhow::Error::msg(message)),
        }
    }

    /// Disk, device or directory: exit code 4.
    pub fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self {
            status: ExitStatus(4),
            error: Some(error.into()),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => f.write_str(&chain(error)),
            None => Ok(()),
        }
    }
}

/// An error with its causes, each said once: many a message ends with its
/// cause already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether an error of input or output somewhere in the chain is of this kind.
fn any_cause(error: &anyhow::Error, is: fn(&io::Error) -> bool) -> bool {
    error.chain().any(|cause| is_or_wraps(cause, is))
}

/// Some wrappers do not name the error in them as their source.
fn is_or_wraps(cause: &(dyn Error + 'static), is: fn(&io::Error) -> bool) -> bool {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return is(error)
            || error
                .get_ref()
                .is_some_and(|inner| is_or_wraps(inner as &(dyn Error + 'static), is));
    }
    if let Some(error) = cause.downcast_ref::<csv::Error>() {
        return matches!(error.kind(), csv::ErrorKind::Io(error) if is_or_wraps(error, is));
    }
    if let Some(error) = cause.downcast_ref::<serde_json::Error>() {
        // It tells no more than the kind.
        return error
            .io_error_kind()
            .is_some_and(|kind| is(&io::Error::from(kind)));
    }
    false
}

/// Whoever reads our output may close it whenever he likes (`| head`).
pub fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// No other argument helps against these, only another disk or more of it.
fn is_environment(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        QuotaExceeded | ReadOnlyFilesystem | StorageFull
    ) || matches!(
        Errno::from_io_error(error),
        Some(Errno::IO | Errno::MFILE | Errno::NFILE)
    )
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        if any_cause(&error, is_closed) {
            return Self {
                status: ExitStatus::OK,
                error: None,
            };
        }
        Self::usage(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use anyhow::Context;

    #[derive(Debug, thiserror::Error)]
    #[error("writing x: {source}")]
    struct Outer {
        source: io::Error,
    }

    #[test]
    fn a_cause_that_the_message_ends_with_is_not_said_twice() {
        let full = io::Error::from_raw_os_error(28);
        let error = CliError::environment(Outer { source: full });
        assert_eq!(
            error.to_string(),
            "writing x: No space left on device (os error 28)"
        );
        let error: anyhow::Result<()> = Err(io::Error::from_raw_os_error(2)).context("reading y");
        let error = error.map_err(CliError::usage).unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading y: No such file or directory (os error 2)"
        );
    }

    /// A writer of which nothing can be written to any more.
    struct Ended(io::ErrorKind);

    impl io::Write for Ended {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    /// The errors of everything that writes to such a writer.
    fn errors(kind: io::ErrorKind) -> Vec<anyhow::Error> {
        let mut csv = csv::Writer::from_writer(Ended(kind));
        csv.write_record(["a"]).unwrap();
        let json = serde_json::to_writer(Ended(kind), &1).unwrap_err();
        vec![
            io::Error::from(kind).into(),
            anyhow::Error::from(io::Error::from(kind)).context("writing y"),
            io::Error::other(io::Error::from(kind)).into(),
            Outer {
                source: kind.into(),
            }
            .into(),
            csv::Error::from(csv.flush().unwrap_err()).into(),
            anyhow::Error::from(json).context("writing z"),
            parquet::errors::ParquetError::from(io::Error::from(kind)).into(),
        ]
    }

    #[test]
    fn an_output_that_is_closed_is_no_error_whoever_reports_it() {
        for error in errors(io::ErrorKind::BrokenPipe) {
            let said = format!("{error:?}");
            let error = CliError::from(error);
            assert_eq!(
                (error.status, error.to_string()),
                (ExitStatus::OK, String::new()),
                "{said}"
            );
        }
    }

    #[test]
    fn a_disk_that_takes_no_more_is_the_environment_whoever_reports_it() {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        for error in [QuotaExceeded, ReadOnlyFilesystem, StorageFull]
            .into_iter()
            .flat_map(errors)
        {
            let said = format!("{error:?}");
            assert_eq!(CliError::from(error).status, ExitStatus(4), "{said}");
        }
        for number in [5, 23, 24] {
            let error = Outer {
                source: io::Error::from_raw_os_error(number),
            };
            assert_eq!(CliError::usage(error).status, ExitStatus(4), "{number}");
        }
        let missing = Outer {
            source: io::ErrorKind::NotFound.into(),
        };
        assert_eq!(CliError::usage(missing).status, ExitStatus(2));
    }
}
