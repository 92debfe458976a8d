//! The study loop: hands the experiments of a study out to devices, drives
//! each through the executor, and keeps what comes out.
//!
//! [`StudyRun`] has a lane per device, each on a thread of its own: a slow or
//! dead device holds nobody else. `schedule` decides, as a pure function of
//! what was handed out, which lane runs what next; [`plan`] says beforehand
//! what would happen to each experiment. In a lane, `generation` performs the
//! executor's effects and `supervisor` keeps the worker. Everything that
//! happens to a lane comes through one channel: replies of the worker and the
//! wish to stop; time is what passes between.

mod batches;
mod conversation;
mod costs;
mod devices;
mod dialogue;
mod drift;
mod encoders;
mod environment;
mod experiment;
mod experiment_inputs;
mod experiment_scores;
mod generation;
mod heap;
mod interruption;
mod judge;
mod kept_scores;
mod lane;
mod later_scores;
mod lessons;
mod listener;
mod memory;
mod message;
mod metric_models;
mod options;
mod origin;
mod plan;
mod provenance;
mod questions;
mod report;
mod rescoring;
mod resources;
#[cfg_attr(not(feature = "index"), path = "no_retrieval.rs")]
mod retrieval;
mod round;
mod schedule;
mod scoring;
mod signals;
mod study_run;
mod supervisor;
#[cfg(all(feature = "index", feature = "inference"))]
mod tokens;

pub use encoders::{StudyEncoders, fetch_encoder};
mod tables;
mod verification;
mod withholding;

pub use devices::{DeviceError, LaneDevice, Machine};
pub use environment::of as environment;

pub use heap::grow_in_large_steps;
pub use interruption::{Ended, interrupt};
pub use judge::Judge;
pub use listener::Listener;
pub use memory::{device_memory, gguf_in_memory, weights_in_memory};
pub use metric_models::{Answer, MetricModels};
pub use options::{RunOptions, WorkerProgram};
pub use plan::{Action, Manner, Plan, PlannedExperiment, changed_besides, plan};
pub use provenance::Ingredients;
pub use report::{ExperimentReport, RunReport};
pub use rescoring::{RescoreError, Rescored, rescore, rewrite_tables};
pub use resources::{ProgramCatalog, Resources};
pub use retrieval::Shelf;
pub use schedule::{Cell, Schedule, Seen, Turn};
pub use scoring::Scorer;
pub use study_run::{RunError, StudyRun};
pub use verification::{Finding, Verification, verify};
pub use withholding::{why_not_here, withhold_metrics};
