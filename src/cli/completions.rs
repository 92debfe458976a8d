use super::{Cli, CliError, ExitStatus};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    // Rendered whole first: the generator panics when its output is closed.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ragicamp", &mut text);
    out.write_all(&text)?;
    Ok(ExitStatus::OK)
}
