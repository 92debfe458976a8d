use super::devices::LaneDevice;
use std::{path::PathBuf, time::Duration};

/// The program that serves as a worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// Its path: normally this very program.
    pub program: PathBuf,
    /// Arguments that make it a worker.
    pub args: Vec<String>,
}

/// What the command line decides about a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Retry failed cells from their outstanding questions; move complete
    /// and changed cells aside and start over.
    pub force: bool,
    /// End after the first experiment that fails.
    pub fail_fast: bool,
    /// One lane of work for each.
    pub devices: Vec<LaneDevice>,
    /// Time limit per experiment; wins over the study's.
    pub timeout: Option<Duration>,
    /// How to start a worker.
    pub worker: WorkerProgram,
    /// Directories against which relative paths of the study are resolved,
    /// in this order.
    pub bases: Vec<PathBuf>,
    /// Where indexes, quantised weights and judges' answers are kept.
    pub cache: PathBuf,
}
