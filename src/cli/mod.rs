//! The command line: one file per subcommand, with its arguments and the call.
//!
//! Results go to standard output, everything else to standard error.

#[cfg(feature = "index")]
mod cache;
mod cache_dir;
mod cancel;
mod compare;
mod completions;
mod doctor;
mod encoders;
mod errors;
mod evaluate;
mod exit;
mod experiments;
mod export;
mod fetch;
#[cfg(feature = "inference")]
mod generate;
mod health;
#[cfg(feature = "index")]
mod index;
mod local_files;
mod logging;
mod man;
mod metric_names;
mod metrics;
#[cfg(feature = "inference")]
mod model_name;
mod progress;
mod report;
mod repro;
mod resume;
mod run;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod show;
mod status;
mod study_file;
mod submit;
mod summary;
mod table;
mod verify;
mod words;
mod worker;

pub use exit::{CliError, ExitStatus};

use clap::{Parser, Subcommand};
use std::io::Write;

/// Studies of question answering, with and without retrieval, that finish.
#[derive(Debug, Parser)]
#[command(
    name = "ragicamp",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Examples:
  ragicamp run conf/study/quickstart.yaml             run a study, or go on with it
  ragicamp run study.yaml --dry-run                   what would happen, and what it needs
  ragicamp run study.yaml --filter '*_8bit' --limit 2 a part of it
  ragicamp resume outputs/quickstart                  retry what failed or is unfinished
  ragicamp submit study.yaml --partition gpu --gpus 1 the same on a Slurm cluster
  ragicamp health outputs/quickstart --show-failed    what failed, and why
  ragicamp errors outputs/quickstart/EXPERIMENT       the errors of one experiment
  ragicamp index search NAME 'Who?'                   what a retriever finds
  ragicamp compare outputs/quickstart --top 5         what was best, and how sure that is
  ragicamp metrics outputs/quickstart -m rouge_l      score what is answered once more
  ragicamp generate --model hf:a/b --prompt 'Who?'    what a model says by itself
  ragicamp doctor                                     what this machine has

Exit codes: 0 all complete; 1 finished, something failed; 2 usage or configuration;
3 the filter selects nothing; 4 environment (disk, device); 130/138/143 interrupted, resumable."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a study, or go on with it.
    Run(Box<run::RunArgs>),
    /// Retry what failed and finish what is unfinished; needs no YAML.
    Resume(Box<resume::ResumeArgs>),
    /// Hand a study to a cluster; again: what is outstanding.
    Submit(Box<submit::SubmitArgs>),
    /// Say how a submitted study stands, in the queue and on disk.
    Status(status::StatusArgs),
    /// End a submitted study's tasks; what was answered is kept.
    Cancel(cancel::CancelArgs),
    /// Say how studies stand, and what is wrong.
    Health(health::HealthArgs),
    /// Show an experiment's questions, prompts and answers.
    Show(show::ShowArgs),
    /// Check that a study's files are what was written, and say what is true.
    Verify(verify::VerifyArgs),
    /// Run a complete experiment again beside itself, and say what differs.
    Repro(Box<repro::ReproArgs>),
    /// Compare a study's experiments: rankings, groups, tests against a baseline.
    Compare(Box<compare::CompareArgs>),
    /// Compute or add metrics of finished experiments, without asking a model again.
    Metrics(metrics::MetricsArgs),
    /// Score a file of predictions.
    Evaluate(evaluate::EvaluateArgs),
    /// Write a study's results as one HTML page.
    Report(report::ReportArgs),
    /// Write every prediction with its configuration as CSV or Parquet.
    Export(export::ExportArgs),
    /// Find the errors in a log: cause, class, advice.
    Errors(errors::ErrorsArgs),
    /// Serve studies, errors and live events over HTTP, read-only.
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Bring a study's models to this machine, check its data, build its indexes.
    Fetch(fetch::FetchArgs),
    /// Build, list, check, drop and search indexes.
    #[cfg(feature = "index")]
    Index(Box<index::IndexArgs>),
    /// Say what is kept of what was computed before, or forget it.
    #[cfg(feature = "index")]
    Cache(cache::CacheArgs),
    /// Complete prompts with a model on this machine.
    #[cfg(feature = "inference")]
    Generate(Box<generate::GenerateArgs>),
    /// Say what this machine has, and what a model would need.
    Doctor(doctor::DoctorArgs),
    /// Print the JSON schema of study files, for editors.
    Schema,
    /// Print shell completions.
    Completions(completions::CompletionsArgs),
    /// Print the manual page.
    Man,
    /// Serve a model to the supervisor (internal).
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

impl Cli {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What went wrong, with the exit code that belongs to it.
    pub fn run(self) -> Result<ExitStatus, CliError> {
        // Not locked: a run's events are printed by its lanes, which are threads.
        let mut out = std::io::stdout();
        let status = match self.command {
            Command::Run(args) => run::run(&args),
            Command::Resume(args) => resume::run(&args),
            Command::Submit(args) => submit::run(&args, &mut out),
            Command::Status(args) => status::run(&args, &mut out),
            Command::Cancel(args) => cancel::run(&args, &mut out),
            Command::Health(args) => Ok(ExitStatus(health::run(&args, &mut out)?)),
            Command::Show(args) => Ok(ExitStatus(show::run(&args, &mut out)?)),
            Command::Verify(args) => verify::run(&args, &mut out),
            Command::Repro(args) => repro::run(&args, &mut out),
            Command::Compare(args) => compare::run(&args, &mut out),
            Command::Metrics(args) => metrics::run(&args, &mut out),
            Command::Evaluate(args) => evaluate::run(&args, &mut out),
            Command::Report(args) => report::run(&args, &mut out),
            Command::Export(args) => export::run(&args, &mut out),
            Command::Errors(args) => Ok(ExitStatus(errors::run(&args, &mut out)?)),
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(args),
            Command::Fetch(args) => fetch::run(&args, &mut out),
            #[cfg(feature = "index")]
            Command::Index(args) => index::run(&args, &mut out),
            #[cfg(feature = "index")]
            Command::Cache(args) => cache::run(&args, &mut out),
            #[cfg(feature = "inference")]
            Command::Generate(args) => generate::run(&args, &mut out),
            Command::Doctor(args) => doctor::run(&args, &mut out),
            Command::Schema => schema::run(&mut out),
            Command::Completions(args) => completions::run(&args, &mut out),
            Command::Man => man::run(&mut out),
            Command::Worker(args) => worker::run(&args),
        }?;
        // What is left of a last line can be lost too.
        out.flush()?;
        Ok(status)
    }
}
