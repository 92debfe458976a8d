//! `ragicamp repro`: runs an experiment again, and says what differs.

use super::{
    CliError, ExitStatus,
    run::{self, How, artifact, say},
    study_file,
};
use crate::{
    artifacts::{ExperimentDir, StudyDir, now},
    domain::Prediction,
    runner::{Ingredients, Manner, Resources, environment},
};
use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

/// Differences that are printed.
const MOST: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp repro outputs/baseline/EXPERIMENT
  ragicamp repro outputs/baseline/EXPERIMENT --device cpu --output /tmp/again

Says first what of the program, the machine, the data and the model is no longer what it
was. The experiment then runs beside itself, in outputs/.repro; nothing of it is touched.
Exit code 1 when an answer or a score differs.")]
pub struct ReproArgs {
    /// The experiment's directory.
    #[arg(value_name = "EXPERIMENT_DIR")]
    directory: PathBuf,
    /// Where the second run goes.
    #[arg(long, value_name = "DIR", env = "RAGICAMP_OUTPUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// An answer that is another one now.
#[derive(Debug, Serialize)]
struct Changed {
    idx: usize,
    question: String,
    before: Option<String>,
    now: Option<String>,
}

pub fn run(args: &ReproArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let directory = args.directory.canonicalize().map_err(|_| {
        CliError::usage(anyhow!(
            "there is no directory {}",
            args.directory.display()
        ))
    })?;
    let first = ExperimentDir::new(&directory);
    let is_experiment = first.exists() && !directory.join("study.yaml").exists();
    let Some(study) = directory.parent().filter(|_| is_experiment) else {
        return Err(CliError::usage(anyhow!(
            "{} is no experiment's directory: name one like outputs/STUDY/EXPERIMENT",
            args.directory.display()
        )));
    };
    let mut file = study_file::open_directory(study)?;
    let name = first.name();
    let Some(spec) = file.study.experiments.iter().find(|spec| spec.name == name) else {
        return Err(CliError::usage(anyhow!(
            "{} has no experiment {name} any more",
            study.join("study.yaml").display()
        )));
    };
    let spec = spec.clone();
    let before = answers(&first)?;
    if before.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{name} has no answers yet: finish it with `ragicamp resume {}`",
            study.display()
        )));
    }
    let was = ingredients(&first)?;
    let since = match run::lanes(&args.how)?.first() {
        Some(lane) => was.differences(&Ingredients::here(
            &spec,
            environment(lane),
            &mut Resources::new(file.bases.clone()),
            &args.how.cache.path(),
        )),
        None => Vec::new(),
    };
    if !args.how.json {
        for difference in &since {
            say(out, &format!("no longer the same: {difference}"))?;
        }
    }
    let aside = args.output.clone().unwrap_or_else(|| aside(study, &name));
    if StudyDir::at(&aside).experiment(&name).exists() {
        return Err(CliError::usage(anyhow!(
            "--output {}: there is an experiment {name} already; name a directory for the second run",
            aside.display()
        )));
    }
    file.study.output_dir = aside.display().to_string();
    let status = run::execute(&mut file, &[spec], &args.how, Manner::default(), true)?;
    if args.how.dry_run {
        return Ok(status);
    }
    let second = StudyDir::at(&aside).experiment(&name);
    let again = answers(&second)?;
    // What only shows when it is loaded.
    let then: Vec<String> = was
        .differences(&ingredients(&second)?)
        .into_iter()
        .filter(|difference| !since.contains(difference))
        .collect();
    let changed = changed(&before, &again);
    let same = before.len() - changed.iter().filter(|one| one.before.is_some()).count();
    let scores = scores(&first, &second)?;
    if args.how.json {
        let all = [since, then].concat();
        let text = json!({
            "experiment": name,
            "output": second.path,
            "no_longer_the_same": all,
            "same": same,
            "changed": changed,
            "metrics": scores,
        });
        say(out, &text.to_string())?;
    } else {
        for difference in &then {
            say(out, &format!("not the same: {difference}"))?;
        }
        for one in changed.iter().take(MOST) {
            say(out, &format!("question {}: {}", one.idx, one.question))?;
            say(out, &format!("  before: {}", shown(one.before.as_deref())))?;
            say(out, &format!("  now:    {}", shown(one.now.as_deref())))?;
        }
        if changed.len() > MOST {
            say(out, &format!("... and {} more", changed.len() - MOST))?;
        }
        for (metric, [before, now]) in &scores {
            say(out, &format!("{metric}: {before} before, {now} now"))?;
        }
        say(
            out,
            &format!(
                "{same} of {} answers are the same; the second run is in {}",
                before.len(),
                second.path.display()
            ),
        )?;
    }
    let differs = !changed.is_empty() || scores.values().any(|[before, now]| before != now);
    Ok(ExitStatus(status.0.max(u8::from(differs))))
}

/// Beside the study, where no command takes it for one.
fn aside(study: &Path, name: &str) -> PathBuf {
    let outputs = study.parent().unwrap_or(Path::new("."));
    let when: String = now()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(15)
        .collect();
    outputs
        .join(".repro")
        .join(StudyDir::at(study).name())
        .join(format!("{name}-{when}"))
}

/// What an experiment was made of and on; nothing where an older version of
/// the program did not write it down.
fn ingredients(dir: &ExperimentDir) -> Result<Ingredients, CliError> {
    let metadata = dir.metadata().map_err(artifact)?;
    Ok(metadata
        .map(|metadata| Ingredients::of(&metadata))
        .unwrap_or_default())
}

fn answers(dir: &ExperimentDir) -> Result<BTreeMap<usize, Prediction>, CliError> {
    dir.answered().map_err(artifact)
}

fn changed(
    before: &BTreeMap<usize, Prediction>,
    now: &BTreeMap<usize, Prediction>,
) -> Vec<Changed> {
    let all: BTreeMap<usize, &Prediction> = before
        .iter()
        .chain(now)
        .map(|(idx, record)| (*idx, record))
        .collect();
    all.into_iter()
        .filter_map(|(idx, record)| {
            let text = |records: &BTreeMap<usize, Prediction>| {
                records.get(&idx).map(|record| record.prediction.clone())
            };
            let (before, now) = (text(before), text(now));
            (before != now).then(|| Changed {
                idx,
                question: record.question.clone(),
                before,
                now,
            })
        })
        .collect()
}

/// Each mean score before and now.
fn scores(
    first: &ExperimentDir,
    second: &ExperimentDir,
) -> Result<BTreeMap<String, [Value; 2]>, CliError> {
    let metrics = |dir: &ExperimentDir| -> Result<Map<String, Value>, CliError> {
        let results = dir.results().map_err(artifact)?;
        Ok(results.map(|results| results.metrics).unwrap_or_default())
    };
    let (before, now) = (metrics(first)?, metrics(second)?);
    Ok(before
        .iter()
        .filter(|(name, value)| value.is_number() && crate::metrics::find(name).is_some())
        .map(|(name, value)| {
            let now = now.get(name).cloned().unwrap_or(Value::Null);
            (name.clone(), [value.clone(), now])
        })
        .collect())
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(|| "no answer".to_owned(), |text| format!("{text:?}"))
}
