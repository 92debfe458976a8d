use super::devices::LaneDevice;
use crate::worker;
use std::{io, path::PathBuf, time::Duration};

/// The program that serves as a worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// Its path: normally this very program.
    pub program: PathBuf,
    /// Arguments that make it a worker.
    pub args: Vec<String>,
}

impl WorkerProgram {
    /// This very program: where the system allows it, the one that runs now,
    /// also when another version has taken its place on disk.
    ///
    /// # Errors
    /// When the system does not say where it is.
    pub fn itself() -> io::Result<Self> {
        let running = PathBuf::from(worker::ITSELF);
        let program = match running.exists() {
            true => running,
            false => std::env::current_exe()?,
        };
        Ok(Self {
            program,
            args: vec!["worker".to_owned()],
        })
    }
}

/// What the command line decides about a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Retry failed cells from their outstanding questions; move complete
    /// and changed cells aside and start over.
    pub force: bool,
    /// Compare what complete experiments say with their checksums, and write
    /// again what is damaged.
    pub is_deep: bool,
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
