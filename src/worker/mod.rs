//! The child process that holds the model, and the parent's hold on it.
//!
//! The two speak JSON lines over a socket pair of their own, which is the
//! child's standard input; the child's standard output and error belong to
//! `experiment.log`. The parent never touches a device: a poisoned context, a
//! segfault, the kernel's OOM killer or a hang costs a process, not the study.
//!
//! [`Worker`] is the hold on a process that generates, and what the runner's
//! loop is made for. [`EncoderWorkers`] keeps processes that embed, score and search
//! behind plain calls: [`crate::domain::Encoders`].

mod encoder_client;
#[cfg(feature = "inference")]
mod encoder_model;
mod encoders;
mod exit;
#[cfg(all(feature = "failpoints", feature = "inference"))]
mod fault;
mod floats;
mod gpu;
#[cfg(feature = "inference")]
mod model;
mod on_demand;
#[cfg(feature = "inference")]
mod outbox;
mod parent;
mod protocol;
mod searcher;
#[cfg(feature = "inference")]
mod serve;

pub use encoders::{
    EmbeddingWorker, EncoderSettings, EncoderWorkers, MatchingWorker, ScoringWorker,
};
pub use exit::describe_exit;
pub use floats::Floats;
pub use gpu::Gpus;
pub use on_demand::{EmbedderOnDemand, ScorerOnDemand};
pub use parent::{ITSELF, Spawn, Worker, WorkerEvent, WorkerMessage};
pub use protocol::{Load, Reply, Request, Role};
pub use searcher::SearchingWorker;
#[cfg(feature = "inference")]
pub use serve::serve;
