//! The experiments below a directory, as `compare`, `report`, `export` and
//! `metrics` look at them.

use super::{CliError, run::artifact};
use crate::{
    analysis::{ExperimentRow, ItemScore, Measured},
    artifacts::{ArtifactError, ExperimentDir, StudyDir},
    domain::{ExperimentSpec, Phase},
    metrics,
    study::nearest,
};
use anyhow::anyhow;
use serde_json::Map;
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

/// An experiment as its directory tells it.
pub struct Stored {
    pub dir: ExperimentDir,
    pub row: ExperimentRow,
    /// Seconds of work over all attempts.
    pub seconds: Option<f64>,
}

/// The directories of the experiments in `directory`: a study's, or that of
/// one experiment.
///
/// # Errors
/// When there is no such directory, or no experiment in it.
pub fn directories(directory: &Path) -> Result<Vec<ExperimentDir>, CliError> {
    if !directory.is_dir() {
        let what = if directory.exists() {
            "it is a file"
        } else {
            "there is no such directory"
        };
        return Err(CliError::usage(anyhow!(
            "{}: {what}; name a study's directory, like outputs/STUDY",
            directory.display()
        )));
    }
    let one = ExperimentDir::new(directory);
    if one.exists() && !directory.join("study.yaml").exists() {
        return Ok(vec![one]);
    }
    let study = StudyDir::at(directory);
    let names = study.experiments().map_err(artifact)?;
    if names.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{} holds no experiment: name a study's directory, like outputs/STUDY",
            directory.display()
        )));
    }
    Ok(names.iter().map(|name| study.experiment(name)).collect())
}

/// The experiments in `directory`. One whose files can not be read is named on
/// standard error and left out.
///
/// # Errors
/// As [`directories`].
pub fn read(directory: &Path) -> Result<Vec<Stored>, CliError> {
    let mut stored = Vec::new();
    for dir in directories(directory)? {
        match Stored::read(dir) {
            Ok(one) => stored.push(one),
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    Ok(stored)
}

impl Stored {
    fn read(dir: ExperimentDir) -> Result<Self, ArtifactError> {
        let state = dir.state()?;
        let phase = state.as_ref().map_or(Phase::Init, |state| state.phase);
        let answered = state.as_ref().map_or(0, |state| state.predictions_complete);
        let total = state.as_ref().map_or(0, |state| state.total_questions);
        let results = dir.results()?;
        let spec: Option<ExperimentSpec> = dir
            .metadata()?
            .and_then(|metadata| serde_json::from_value(metadata.spec).ok());
        let seconds = results.as_ref().map(|results| results.duration_seconds);
        let (metrics, about) = results.map_or_else(
            || (Map::new(), Map::new()),
            |results| (results.metrics, results.metadata),
        );
        let row = match &spec {
            Some(spec) => ExperimentRow::new(spec, phase, answered, total, metrics),
            None => ExperimentRow::described(&dir.name(), &about, phase, answered, total, metrics),
        };
        Ok(Self { dir, row, seconds })
    }

    /// The experiment with its scores by question.
    ///
    /// # Errors
    /// When `predictions.json` can not be read.
    pub fn measured(&self, metric: &str) -> Result<Measured, ArtifactError> {
        let scores = self.dir.scores(metric)?;
        Ok(Measured {
            row: self.row.clone(),
            scores: scores
                .into_iter()
                .map(|(idx, question, score)| ItemScore {
                    idx,
                    question: fingerprint(&question),
                    score,
                })
                .collect(),
        })
    }
}

fn fingerprint(question: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    question.hash(&mut hasher);
    hasher.finish()
}

/// The metrics that have a mean in one of the experiments, by name.
pub fn metric_names(stored: &[Stored]) -> BTreeSet<&str> {
    const COUNTS: [&str; 4] = ["n_scored", "n_failed", "n_without_gold", "coverage"];
    stored
        .iter()
        .flat_map(|one| &one.row.metrics)
        .filter(|(name, value)| {
            value.is_number() && !COUNTS.contains(&name.as_str()) && !is_beside(name)
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Whether the key stands beside a metric: `f1_n`, `llm_judge_failed`.
fn is_beside(name: &str) -> bool {
    ["_n", "_failed"].iter().any(|end| name.ends_with(end))
}

/// The metric that is meant: the one that was named, else f1, else exact
/// match, else the first.
///
/// # Errors
/// When no experiment has it.
pub fn metric(
    stored: &[Stored],
    named: Option<&str>,
    directory: &Path,
) -> Result<String, CliError> {
    let known = metric_names(stored);
    let place = directory.display();
    if known.is_empty() {
        return Err(CliError::usage(anyhow!(
            "no experiment in {place} has scores yet: `ragicamp resume {place}` finishes them, \
             `ragicamp metrics {place} -m f1` scores what is answered"
        )));
    }
    match named {
        Some(named) if known.contains(named) => Ok(named.to_owned()),
        Some(named) => {
            let hint = match nearest(named, known.iter().copied()) {
                _ if metrics::find(named).is_some() => {
                    format!("`ragicamp metrics {place} -m {named}` adds it")
                }
                Some(meant) => format!("did you mean '{meant}'?"),
                None => "nobody knows it".to_owned(),
            };
            let known: Vec<&str> = known.into_iter().collect();
            Err(CliError::usage(anyhow!(
                "no experiment in {place} has the metric '{named}'; they have {}; {hint}",
                known.join(", ")
            )))
        }
        None => Ok(["f1", "exact_match"]
            .into_iter()
            .find(|name| known.contains(name))
            .or_else(|| known.first().copied())
            .unwrap_or_default()
            .to_owned()),
    }
}
