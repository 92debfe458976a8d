//! The study loop: takes the experiments of a study one after another, drives
//! each through the executor, and keeps what comes out.
//!
//! [`StudyRun`] owns the loop over experiments, [`plan`] says beforehand what
//! it would do to each, `generation` performs the executor's effects, and
//! `supervisor` keeps the worker. Everything that happens comes through one
//! channel: replies of the worker and signals; time is what passes between.

mod experiment;
mod generation;
mod lessons;
mod listener;
mod memory;
mod message;
mod options;
mod plan;
mod report;
mod resources;
mod retrieval;
mod signals;
mod study_run;
mod supervisor;

pub use listener::Listener;
pub use memory::{device_memory, gguf_in_memory, weights_in_memory};
pub use options::{RunOptions, WorkerProgram};
pub use plan::{Action, Plan, PlannedExperiment, plan};
pub use report::{ExperimentReport, RunReport};
pub use resources::{ProgramCatalog, Resources};
pub use retrieval::Shelf;
pub use study_run::{RunError, StudyRun};
