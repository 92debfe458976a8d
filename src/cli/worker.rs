use super::{CliError, ExitStatus};
use clap::Args;

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The supervisor's process id.
    #[arg(long)]
    parent: u32,
}

#[cfg(feature = "inference")]
pub fn run(args: &WorkerArgs) -> Result<ExitStatus, CliError> {
    super::logging::start();
    crate::worker::serve(args.parent)?;
    Ok(ExitStatus::OK)
}

#[cfg(not(feature = "inference"))]
pub fn run(args: &WorkerArgs) -> Result<ExitStatus, CliError> {
    super::logging::start();
    Err(CliError::usage(anyhow::anyhow!(
        "this build has no inference (parent {}): build it with the feature inference",
        args.parent
    )))
}
