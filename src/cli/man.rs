use super::{Cli, CliError, ExitStatus};
use clap::CommandFactory;
use std::io::Write;

/// Prints the manual page; `ragicamp man | man -l -` shows it.
pub fn run(out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    clap_mangen::Man::new(Cli::command()).render(out)?;
    Ok(ExitStatus::OK)
}
