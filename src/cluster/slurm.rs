use super::queue::{QueuedTask, parse_queue};
use std::{
    io::{self, Write},
    process::{Command, Output, Stdio},
};

/// Slurm's commands on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slurm;

/// A command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// It is not here.
    #[error(
        "{command} can not be started: {source}; this has to be done where Slurm's commands are"
    )]
    Missing {
        /// Which.
        command: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It refused, or the controller does not answer.
    #[error("{command} failed: {message}")]
    Refused {
        /// Which.
        command: &'static str,
        /// What it said.
        message: String,
    },
    /// It said something that is not understood.
    #[error("{command} said something that is not understood: {message}")]
    Strange {
        /// Which.
        command: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl Slurm {
    /// Submits a script; gives its job id.
    ///
    /// # Errors
    /// What `sbatch` says.
    pub fn submit(&self, script: &str, options: &[String]) -> Result<u64, SlurmError> {
        let mut command = Command::new("sbatch");
        command
            .arg("--parsable")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let missing = |source| SlurmError::Missing {
            command: "sbatch",
            source,
        };
        let mut child = command.spawn().map_err(missing)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads no further says why when it ends.
            let _ = stdin.write_all(script.as_bytes());
        }
        let output = child.wait_with_output().map_err(missing)?;
        let said = checked("sbatch", output)?;
        // `JOB` or `JOB;CLUSTER`.
        let id = said.trim().lines().last().unwrap_or_default();
        let id = id.split(';').next().unwrap_or_default();
        id.parse().map_err(|_| SlurmError::Strange {
            command: "sbatch",
            message: said.trim().to_owned(),
        })
    }

    /// Everything that the cluster remembers, also what is over.
    ///
    /// # Errors
    /// What `squeue` says.
    pub fn queue(&self) -> Result<Vec<QueuedTask>, SlurmError> {
        let said = run("squeue", &["--json", "--states=all"])?;
        parse_queue(&said).map_err(|message| SlurmError::Strange {
            command: "squeue",
            message,
        })
    }

    /// Takes what waits under this name and number off the queue.
    ///
    /// # Errors
    /// What `scancel` says.
    pub fn cancel_waiting(&self, name: &str, job: u64) -> Result<(), SlurmError> {
        self.cancel(&["--state=PENDING"], name, job)
    }

    /// Asks what runs under this name and number to end in good order.
    ///
    /// # Errors
    /// What `scancel` says.
    pub fn ask_to_end(&self, name: &str, job: u64) -> Result<(), SlurmError> {
        self.cancel(&["--batch", "--signal=TERM", "--state=RUNNING"], name, job)
    }

    /// Ends what is left under this name and number.
    ///
    /// # Errors
    /// What `scancel` says.
    pub fn end(&self, name: &str, job: u64) -> Result<(), SlurmError> {
        self.cancel(&[], name, job)
    }

    /// The name has to agree: numbers come again.
    fn cancel(&self, how: &[&str], name: &str, job: u64) -> Result<(), SlurmError> {
        let name = format!("--jobname={name}");
        let job = job.to_string();
        let mut arguments = how.to_vec();
        arguments.extend([name.as_str(), job.as_str()]);
        run("scancel", &arguments).map(|_| ())
    }
}

fn run(command: &'static str, arguments: &[&str]) -> Result<String, SlurmError> {
    let output = Command::new(command)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| SlurmError::Missing { command, source })?;
    checked(command, output)
}

fn checked(command: &'static str, output: Output) -> Result<String, SlurmError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.trim().lines().last().unwrap_or("it said nothing");
    Err(SlurmError::Refused {
        command,
        message: message.to_owned(),
    })
}
