//! The ResilientExecutor: answers the questions of one experiment whatever
//! the worker does, as a pure state machine.
//!
//! [`Executor::step`] takes what happened and says what to do. It has no
//! clock, no files and no threads: the runner performs the effects and feeds
//! back their results, so every recovery story is a table test without a GPU.

mod batch_policy;
mod executor;
mod message;
#[cfg(test)]
mod tests;

pub use batch_policy::BatchPolicy;
pub use executor::{Executor, ExecutorSettings};
pub use message::{Effect, Ending, Input, Outcome, Record, RecordKind};
