use serde::{Deserialize, Serialize};
use std::fmt;

/// What a failure means for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Device or host memory ran out during a batch.
    Oom,
    /// A failed launch or another error that may not come back.
    Transient,
    /// The device context is poisoned; the process must go.
    DeviceLost,
    /// The worker process is gone.
    WorkerDied,
    /// No token and no item within `batch_timeout`.
    Hang,
    /// This question can not be answered; the others can.
    BadItem,
    /// No retry can help: weights missing, unknown architecture.
    Permanent,
    /// `load_timeout` or `experiment_timeout` has passed.
    Timeout,
    /// Disk full, outputs directory gone: nothing can be kept.
    Environment,
}

/// What the executor does about a failure of a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Split the batch and remember the size that fits.
    Shrink,
    /// Split the batch; the next one starts at the full size again.
    Retry,
    /// A new worker first, then as [`Recovery::Retry`].
    RestartThenRetry,
    /// Find the item that is to blame; the others go on.
    IsolateItem,
    /// End this experiment; the study goes on.
    FailExperiment,
    /// Stop the whole study cleanly.
    StopStudy,
}

impl FailureClass {
    /// Every class, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Oom,
        Self::Transient,
        Self::DeviceLost,
        Self::WorkerDied,
        Self::Hang,
        Self::BadItem,
        Self::Permanent,
        Self::Timeout,
        Self::Environment,
    ];

    /// The decision that belongs to the class.
    pub const fn recovery(self) -> Recovery {
        match self {
            Self::Oom => Recovery::Shrink,
            Self::Transient => Recovery::Retry,
            Self::DeviceLost | Self::WorkerDied | Self::Hang => Recovery::RestartThenRetry,
            Self::BadItem => Recovery::IsolateItem,
            Self::Permanent | Self::Timeout => Recovery::FailExperiment,
            Self::Environment => Recovery::StopStudy,
        }
    }

    /// The name used in artifacts and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Transient => "transient",
            Self::DeviceLost => "device_lost",
            Self::WorkerDied => "worker_died",
            Self::Hang => "hang",
            Self::BadItem => "bad_item",
            Self::Permanent => "permanent",
            Self::Timeout => "timeout",
            Self::Environment => "environment",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that went wrong, with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means.
    pub class: FailureClass,
    /// The whole message; its first line is what people see.
    pub message: String,
    /// The error chain, a backtrace, the last lines of the worker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Failure {
    /// A failure without detail.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            detail: None,
        }
    }

    /// The same failure with an error chain or a log tail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The first line that says something.
    pub fn first_line(&self) -> &str {
        self.message
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("no message")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.first_line())
    }
}

impl std::error::Error for Failure {}
