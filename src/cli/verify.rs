//! `ragicamp verify`: whether artifacts are what was written.

use super::{
    CliError, ExitStatus,
    run::{artifact, say, switch},
    words::count,
};
use crate::{
    artifacts::{ExperimentDir, StudyDir, studies},
    runner::{self, Verification},
};
use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Findings of one experiment that are printed.
const MOST: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp verify outputs/baseline
  ragicamp verify outputs/baseline/EXPERIMENT
  ragicamp verify outputs --json | jq '.studies[].findings'

Compares every file with the checksum that the run left in checksums.json, every record
with the journal and the questions, and computes every score again from its answer.
A run that was cut off has left no checksums yet: then only the rest is compared, and the
last line says so. Exit code 1 when anything is not as it was written.")]
pub struct VerifyArgs {
    /// A study's directory, an experiment's, or one with studies below it.
    directory: PathBuf,
    /// Print JSON.
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    json: bool,
}

#[derive(Serialize)]
struct Verified {
    study: String,
    path: PathBuf,
    #[serde(flatten)]
    verification: Verification,
}

pub fn run(args: &VerifyArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let mut verified = Vec::new();
    for (path, only) in places(&args.directory)? {
        let dir = StudyDir::at(&path);
        verified.push(Verified {
            study: dir.name(),
            verification: runner::verify(&dir, only.as_deref()).map_err(artifact)?,
            path,
        });
    }
    if args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "studies": verified }))
            .map_err(anyhow::Error::from)?;
        say(out, &text)?;
    } else {
        for one in &verified {
            print(one, out)?;
        }
    }
    let wrong = verified
        .iter()
        .any(|one| !one.verification.findings.is_empty());
    Ok(ExitStatus(u8::from(wrong)))
}

/// The studies that are meant, each with the one experiment that is, if so.
fn places(directory: &Path) -> Result<Vec<(PathBuf, Option<String>)>, CliError> {
    if !directory.is_dir() {
        return Err(CliError::usage(anyhow!(
            "there is no directory {}",
            directory.display()
        )));
    }
    let absolute = directory.canonicalize().map_err(anyhow::Error::from)?;
    let is_experiment =
        ExperimentDir::new(&absolute).exists() && !absolute.join("study.yaml").exists();
    if let (true, Some(study), Some(name)) =
        (is_experiment, absolute.parent(), absolute.file_name())
    {
        return Ok(vec![(
            study.to_owned(),
            Some(name.to_string_lossy().into_owned()),
        )]);
    }
    let found = studies(directory).map_err(artifact)?;
    if found.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{} holds no study: name a directory that a run made, as in outputs/STUDY",
            directory.display()
        )));
    }
    Ok(found.into_iter().map(|path| (path, None)).collect())
}

fn print(one: &Verified, out: &mut dyn Write) -> Result<(), CliError> {
    let Verification {
        experiments,
        files,
        records,
        predictions,
        scores,
        unsealed,
        findings,
        notes,
    } = &one.verification;
    for note in notes {
        say(out, &format!("{}: {note}", one.study))?;
    }
    let mut shown = 0;
    let mut last = None;
    for finding in findings {
        if last != Some(&finding.experiment) {
            last = Some(&finding.experiment);
            shown = 0;
            let whose = finding.experiment.as_deref();
            say(
                out,
                &format!("{}:", whose.unwrap_or("the study's own files")),
            )?;
        }
        shown += 1;
        match shown {
            ..=MOST => say(out, &format!("  {}", finding.what))?,
            more if more == MOST + 1 => say(out, "  ... and more (--json has all)")?,
            _ => {}
        }
    }
    let verdict = match findings.len() {
        0 if *unsealed > 0 => format!(
            "nothing contradicts anything else; {} without checksums, so nobody can say whether \
             all is as it was written",
            match unsealed {
                1 => "1 directory is".to_owned(),
                more => format!("{more} directories are"),
            }
        ),
        0 => "everything is as it was written".to_owned(),
        1 => "1 thing is not as it was written".to_owned(),
        more => format!("{more} things are not as they were written"),
    };
    say(
        out,
        &format!(
            "{}: {}, {} compared with their checksums, {} in the journal, {}, {} computed again: \
             {verdict}",
            one.study,
            count(*experiments, "experiment"),
            count(*files, "file"),
            count(*records, "record"),
            count(*predictions, "prediction"),
            count(*scores, "score"),
        ),
    )
}
