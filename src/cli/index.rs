//! `ragicamp index`: indexes by themselves.

mod build;
mod eval;
mod found;
mod list;
mod search;

use super::{CliError, ExitStatus, cache_dir::CacheDir, encoders};
use crate::{
    domain::FailureClass,
    index::{Cache, IndexError, Unknown},
    runner::StudyEncoders,
    study::nearest,
};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Build, list, check, drop and search indexes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp index build study.yaml
  ragicamp index build --corpus passages.jsonl --kind dense --embedding minilm
  ragicamp index list
  ragicamp index search wiki_minilm 'Who plays the piano?' -k 5
  ragicamp index eval wiki_minilm --queries queries.jsonl --qrels qrels.tsv

An index is identified by what is in it: the corpus, how it is cut, and the embedding model. It is
built once, and every study that asks for the same finds it. A build that was killed goes on where
it stopped when it is asked for again.

NAME is a retriever's name, or the beginning of a directory's name that `index list` shows.")]
pub struct IndexArgs {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, Subcommand)]
enum IndexCommand {
    /// Build the indexes of a study, or one of a corpus.
    Build(Box<build::BuildArgs>),
    /// Say which indexes there are.
    List(list::ListArgs),
    /// Check that files are as they were written.
    Verify(list::VerifyArgs),
    /// Remove an index.
    Drop(list::DropArgs),
    /// Find passages for a question.
    Search(search::SearchArgs),
    /// Measure how well passages are found, on files in BEIR's layout.
    Eval(eval::EvalArgs),
}

pub fn run(args: &IndexArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    match &args.command {
        IndexCommand::Build(args) => build::run(args, out),
        IndexCommand::List(args) => list::list(args, out),
        IndexCommand::Verify(args) => list::verify(args, out),
        IndexCommand::Drop(args) => list::drop(args, out),
        IndexCommand::Search(args) => search::run(args, out),
        IndexCommand::Eval(args) => eval::run(args, out),
    }
}

/// Where models run, for the commands that need some.
#[derive(Debug, Args)]
struct Where {
    /// Where models run: cpu, cuda, cuda:N or auto.
    #[arg(long, default_value = "auto", env = "RAGICAMP_DEVICE")]
    device: String,
    #[command(flatten)]
    cache: CacheDir,
}

impl Where {
    /// Encoders in workers of their own; relative paths of models start from
    /// `bases`.
    fn encoders(&self, bases: Vec<PathBuf>) -> Result<StudyEncoders, CliError> {
        super::run::check_device(&self.device)?;
        encoders::at(&self.cache, &self.device, bases)
    }

    /// What was computed before; without it everything is computed.
    fn kept(&self) -> Option<Cache> {
        match Cache::open(&self.cache.path()) {
            Ok(cache) => Some(cache),
            Err(error) => {
                eprintln!("nothing is cached: {error}");
                None
            }
        }
    }
}

/// The directory that relative paths on the command line start from.
fn here() -> Vec<PathBuf> {
    std::env::current_dir().into_iter().collect()
}

fn wrong(error: IndexError) -> CliError {
    if matches!(error, IndexError::Interrupted) {
        return CliError {
            status: ExitStatus(130),
            error: Some(anyhow!("{error}")),
        };
    }
    let failure = crate::domain::Failure::from(error);
    match failure.class {
        FailureClass::Permanent => CliError::usage(anyhow!("{}", failure.message)),
        _ => CliError::environment(anyhow!("{}", failure.message)),
    }
}

fn unknown(error: Unknown) -> CliError {
    let hint = match &error {
        Unknown::Several { .. } => "write more of the one that is meant".to_owned(),
        Unknown::Nothing { name, known, .. } => {
            match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "`ragicamp index list` shows what there is".to_owned(),
            }
        }
    };
    CliError::usage(anyhow!("{error}; {hint}"))
}

/// A file's text, without the byte order mark that some editors put in front.
fn read(path: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(CliError::usage)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
