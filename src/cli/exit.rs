use std::{fmt, io};

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
    /// A mistake of the user: exit code 2.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            status: ExitStatus(2),
            error: Some(error.into()),
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
            Some(error) => write!(f, "{error:#}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for CliError {
    /// Whoever reads our output may close it whenever he likes (`| head`).
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<io::Error>() {
            Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Self {
                status: ExitStatus::OK,
                error: None,
            },
            _ => Self::usage(error),
        }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}
