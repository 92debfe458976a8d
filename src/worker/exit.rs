use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

/// Says in words how a process ended: `was killed by SIGSEGV (segmentation
/// fault)`, `exited with code 3`.
pub fn describe_exit(status: ExitStatus) -> String {
    if let Some(signal) = status.signal() {
        let (name, meaning) = match signal {
            4 => ("SIGILL", "illegal instruction"),
            6 => ("SIGABRT", "abort"),
            7 => ("SIGBUS", "bus error"),
            8 => ("SIGFPE", "arithmetic error"),
            9 => (
                "SIGKILL",
                "killed from outside, often the kernel's OOM killer",
            ),
            11 => ("SIGSEGV", "segmentation fault"),
            15 => ("SIGTERM", "asked to end from outside"),
            _ => return format!("was killed by signal {signal}"),
        };
        return format!("was killed by {name} ({meaning})");
    }
    match status.code() {
        Some(code) => format!("exited with code {code}"),
        None => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_codes_are_named() {
        assert!(describe_exit(ExitStatus::from_raw(11)).contains("SIGSEGV"));
        assert!(describe_exit(ExitStatus::from_raw(9)).contains("OOM killer"));
        assert_eq!(
            describe_exit(ExitStatus::from_raw(3 << 8)),
            "exited with code 3"
        );
        assert_eq!(
            describe_exit(ExitStatus::from_raw(31)),
            "was killed by signal 31"
        );
    }
}
