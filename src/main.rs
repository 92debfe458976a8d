//! The program `ragicamp`: parses, calls, and maps the outcome to an exit code.

use clap::Parser;
use ragicamp::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    match Cli::parse().run() {
        Ok(status) => ExitCode::from(status.0),
        Err(error) => {
            if error.error.is_some() {
                eprintln!("error: {error}");
            }
            ExitCode::from(error.status.0)
        }
    }
}
