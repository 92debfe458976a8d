//! Hands a study's experiments to a cluster: the same work that `run` does,
//! as tasks of a Slurm array.
//!
//! A [`Submission`] says which task has which experiments; it lies in the
//! study's directory, which all nodes share, and every task reads its part
//! from there. `script` writes what is given to `sbatch`, `slurm` talks to the
//! commands, `queue` understands what `squeue` says. Nothing here decides who
//! may write an experiment: a task may run twice at the same time (a node that
//! was thought lost, a controller that forgot), and the leases in the shared
//! directory let one of them write.

mod queue;
mod script;
mod settings;
mod slurm;
mod submission;

pub use queue::{QueuedTask, TaskState, parse_queue};
pub use script::{aggregate_script, array_script};
pub use settings::{ClusterSettings, SettingsError};
pub use slurm::{Slurm, SlurmError};
pub use submission::{Submission, SubmissionError, Task, group, submissions};
