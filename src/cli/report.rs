//! `ragicamp report`: a study on one page.

use super::{
    CliError, ExitStatus,
    experiments::{self, Stored},
    run::{artifact, say},
    words::count,
};
use crate::{
    analysis::{FailureCause, Measured, Report},
    artifacts::{StudyDir, now},
    diagnosis::{Source, causes, load},
    domain::Phase,
    errortrace::mask_secrets,
};
use anyhow::Context;
use clap::Args;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

/// Write a study's results as one HTML page.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp report outputs/quickstart
  ragicamp report outputs/quickstart -o report.html --metric exact_match

The page needs no network and no script: plots are SVG, and it follows the reader's dark or
light setting. It shows the metric by configuration with intervals, with and without
retrieval, quality against speed, and failures by cause.")]
pub struct ReportArgs {
    /// A study's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to (default: DIR/report.html).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The metric of the plots (default: f1 where there is one).
    #[arg(long, short)]
    metric: Option<String>,
}

pub fn run(args: &ReportArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let stored = experiments::read(&args.directory)?;
    let metric = match experiments::metric(&stored, args.metric.as_deref(), &args.directory) {
        Ok(metric) => metric,
        // A study of which nothing is scored yet has failures to show.
        Err(_) if args.metric.is_none() => "f1".to_owned(),
        Err(error) => return Err(error),
    };
    let metrics: Vec<String> = experiments::metric_names(&stored)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let measured: Vec<Measured> = stored
        .iter()
        .map(|one| one.measured(&metric).map_err(artifact))
        .collect::<Result<_, _>>()?;
    let failures = failures(&stored);
    let page = Report {
        study: &StudyDir::at(&args.directory).name(),
        made: &made(&now()),
        metric: &metric,
        metrics: &metrics,
        experiments: &measured,
        speeds: speeds(&stored),
        failures: &failures,
    }
    .html();
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| args.directory.join("report.html"));
    write(&output, &page)?;
    say(
        out,
        &format!(
            "{}: {}",
            output.display(),
            count(stored.len(), "experiment")
        ),
    )?;
    Ok(ExitStatus::OK)
}

/// A timestamp to the minute.
fn made(timestamp: &str) -> String {
    let minutes: String = timestamp.chars().take("2025-12-10T03:58".len()).collect();
    format!("{} UTC", minutes.replace('T', " "))
}

fn write(path: &Path, page: &str) -> Result<(), CliError> {
    std::fs::write(path, page)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(CliError::usage)
}

/// Answers per second of work, where both are known.
fn speeds(stored: &[Stored]) -> BTreeMap<&str, f64> {
    stored
        .iter()
        .filter(|one| one.row.answered > 0)
        .filter_map(|one| {
            let seconds = one.seconds.filter(|seconds| *seconds > 0.0)?;
            Some((one.row.name.as_str(), one.row.answered as f64 / seconds))
        })
        .collect()
}

/// Why experiments failed, as `ragicamp errors` groups them.
fn failures(stored: &[Stored]) -> Vec<FailureCause> {
    let mut sources: Vec<Source> = Vec::new();
    for one in stored.iter().filter(|one| one.row.phase == Phase::Failed) {
        // A log that can not be read says nothing about the others.
        if let Err(error) = load(&one.dir.path, &mut sources) {
            eprintln!("{}: {error}", one.row.name);
        }
    }
    causes(&sources)
        .into_iter()
        .map(|cause| FailureCause {
            message: mask_secrets(&cause.message),
            class: cause.class.as_str().to_owned(),
            meaning: cause.description,
            advice: cause.suggestions,
            experiments: cause.names,
        })
        .collect()
}
