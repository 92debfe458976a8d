//! The child process that holds the model, and the parent's hold on it.
//!
//! The two speak JSON lines over a socket pair of their own, which is the
//! child's standard input; the child's standard output and error belong to
//! `experiment.log`. The parent never touches a device: a poisoned context, a
//! segfault, the kernel's OOM killer or a hang costs a process, not the study.

mod exit;
#[cfg(feature = "failpoints")]
mod fault;
#[cfg(feature = "inference")]
mod model;
#[cfg(feature = "inference")]
mod outbox;
mod parent;
mod protocol;
#[cfg(feature = "inference")]
mod serve;

pub use exit::describe_exit;
pub use parent::{Spawn, Worker, WorkerEvent, WorkerMessage};
pub use protocol::{Load, Reply, Request};
#[cfg(feature = "inference")]
pub use serve::serve;
