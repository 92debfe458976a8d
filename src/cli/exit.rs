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
}
