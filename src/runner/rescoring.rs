use super::{
    experiment::about,
    kept_scores::{BESIDE_A_MEAN, KeptScores, results_of},
    scoring::Scorer,
    tables::render_tables,
};
use crate::{
    artifacts::{
        ArtifactError, Claim, Durability, ExperimentDir, Lease, LeaseOptions, Results, State,
        StudyDir,
    },
    domain::{ExperimentSpec, Failure, FailureClass, Phase, Prediction, Question},
    metrics::Evaluation,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// What became of an experiment whose answers were to be scored again.
#[derive(Debug)]
pub enum Rescored {
    /// They were.
    Done {
        /// Where it stands now.
        phase: Phase,
        /// All its aggregates, old ones too.
        metrics: Map<String, Value>,
        /// What is not computed, or not for every item, and why.
        uncomputed: Vec<(String, String)>,
    },
    /// It was left as it is, and why.
    LeftAlone(String),
    /// It was to stop before everything was scored, and nothing was written.
    Interrupted,
}

/// Why an experiment could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum RescoreError {
    /// Its files.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The passages of its questions can not be found again.
    #[error(transparent)]
    Retrieval(#[from] Failure),
}

/// Computes the named metrics over what an experiment has answered, and
/// writes them beside those that are there; no model answers anything. The
/// experiment is held by its lease meanwhile. `go_on` is asked now and then.
///
/// # Errors
/// When its files can not be read or written, or its passages not be found.
pub fn rescore(
    dir: &ExperimentDir,
    metric_names: &[String],
    scorer: &mut Scorer<'_>,
    go_on: &dyn Fn() -> bool,
) -> Result<Rescored, RescoreError> {
    if let Some(reason) = unfinished(dir.state()?.as_ref()) {
        return Ok(Rescored::LeftAlone(reason));
    }
    let lease = match dir.claim(&LeaseOptions::default())? {
        Claim::Mine(lease) => lease,
        Claim::Held(owner) => {
            return Ok(Rescored::LeftAlone(format!("it is being run by {owner}")));
        }
    };
    // Somebody may have gone on with it between the look and the claim.
    let state = match dir.state()? {
        Some(state) if unfinished(Some(&state)).is_none() => state,
        _ => {
            let reason = "another run has taken it up".to_owned();
            return Ok(Rescored::LeftAlone(reason));
        }
    };
    Rescoring {
        dir,
        lease,
        state,
        metric_names,
    }
    .run(scorer, go_on)
}

fn unfinished(state: Option<&State>) -> Option<String> {
    match state {
        None => Some("it has no state.json".to_owned()),
        Some(state) => match state.phase {
            Phase::Init | Phase::Generating => Some(format!(
                "it is {}; `ragicamp resume` finishes it",
                state.phase
            )),
            Phase::Generated | Phase::ComputingMetrics | Phase::Complete | Phase::Failed => None,
        },
    }
}

/// The best record of every question.
type Records = BTreeMap<usize, Prediction>;

/// One experiment, held.
struct Rescoring<'a> {
    dir: &'a ExperimentDir,
    lease: Lease,
    state: State,
    metric_names: &'a [String],
}

impl Rescoring<'_> {
    fn run(
        mut self,
        scorer: &mut Scorer<'_>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Rescored, RescoreError> {
        let (spec, index) = match self.dir.metadata()? {
            Some(metadata) => (serde_json::from_value(metadata.spec).ok(), metadata.index),
            None => (None, Value::Null),
        };
        let spec: Option<ExperimentSpec> = spec;
        let (mut best, mut aggregate) = self.answers()?;
        let questions = self.questions(&mut best)?;
        let before = KeptScores::read(self.dir, &self.state.metrics_computed, &best)?;
        self.count(&best, questions.len());
        let predictions: Vec<Prediction> = questions
            .iter()
            .filter_map(|question| best.get(&question.idx))
            .cloned()
            .collect();
        let (lease, mut stopped, mut lost) = (&mut self.lease, false, None);
        let evaluation = scorer.score(
            spec.as_ref(),
            &index,
            self.metric_names,
            &questions,
            &predictions,
            // A judge may take long, and costs.
            &mut || {
                if let Err(error @ ArtifactError::LeaseLost { .. }) = lease.keep_alive() {
                    lost = Some(error);
                }
                stopped |= !go_on();
                !stopped && lost.is_none()
            },
        );
        if let Some(error) = lost {
            return Err(error.into());
        }
        if stopped {
            self.lease.release()?;
            return Ok(Rescored::Interrupted);
        }
        let mut evaluation = evaluation?;
        let kept = self.kept(&mut evaluation, &before);
        self.merge(&evaluation, &kept, &mut best, &mut aggregate);
        self.lease.check()?;
        self.dir.unseal()?;
        let failed = self.state.phase == Phase::Failed;
        if !failed {
            // A kill between the files leaves metrics outstanding, not wrong.
            self.state.phase = Phase::ComputingMetrics;
            self.dir.write_state(&self.state)?;
        }
        self.dir
            .write_predictions(&questions, &best, &aggregate, Durability::Durable)?;
        if failed {
            self.dir.write_state(&self.state)?;
        } else {
            self.write_results(spec.as_ref(), &aggregate)?;
            self.conclude(&evaluation, &kept)?;
        }
        self.dir.seal()?;
        self.lease.release()?;
        Ok(Rescored::Done {
            phase: self.state.phase,
            metrics: aggregate,
            uncomputed: evaluation.uncomputed,
        })
    }

    /// Counts what is answered. What another program called complete may hold
    /// errors in the place of answers: it is not.
    fn count(&mut self, best: &Records, questions: usize) {
        let state = &mut self.state;
        let answered = best.values().filter(|record| record.is_answered()).count();
        state.total_questions = state.total_questions.max(questions);
        state.predictions_complete = answered;
        state.unanswered = best.len() - answered;
        let left = state.total_questions.saturating_sub(answered);
        if left > 0 && state.phase != Phase::Failed {
            state.phase = Phase::Failed;
            state.error = Some(format!(
                "{left} of {} questions have no answer",
                state.total_questions
            ));
            state.failure_class = Some(FailureClass::Transient);
        }
    }

    /// The best record of every question, with the scores it has, and the
    /// aggregates.
    fn answers(&self) -> Result<(Records, Map<String, Value>), ArtifactError> {
        let mut best = self.dir.records()?.best;
        let file = match self.dir.predictions() {
            Ok(file) => file,
            // The journal has the answers; the scores are computed again.
            Err(ArtifactError::Malformed { .. }) if !best.is_empty() => None,
            Err(error) => return Err(error),
        };
        let mut aggregate = Map::new();
        if let Some(mut file) = file {
            aggregate = std::mem::take(&mut file.aggregate_metrics);
            for (idx, rendered) in file.best() {
                match best.get_mut(&idx) {
                    Some(record) if record.prediction == rendered.prediction => {
                        record.metrics = rendered.metrics;
                    }
                    Some(_) => {}
                    None => {
                        best.insert(idx, rendered);
                    }
                }
            }
        }
        aggregate.extend(results_of(self.dir, &best));
        Ok((best, aggregate))
    }

    /// The experiment's questions: those on its list, to which it was cut down
    /// where the study asks fewer than before, or those that its records tell
    /// of.
    fn questions(&self, best: &mut Records) -> Result<Vec<Question>, ArtifactError> {
        if let Some(file) = self.dir.questions()? {
            let listed: HashSet<usize> = file.questions.iter().map(|one| one.idx).collect();
            best.retain(|idx, _| listed.contains(idx));
            return Ok(file.questions);
        }
        let told = best.values().map(|record| Question {
            idx: record.idx,
            question: record.question.clone(),
            expected: record.expected.clone(),
            id: None,
            supporting: Vec::new(),
            context: Vec::new(),
        });
        Ok(told.collect())
    }

    /// The metrics that can not be computed now and have scores of the same
    /// answers, from when they could.
    fn kept(&self, evaluation: &mut Evaluation, before: &KeptScores) -> Vec<String> {
        let mut kept = Vec::new();
        for (name, why) in &mut evaluation.uncomputed {
            if before.has(name) && !evaluation.aggregate.contains_key(name) {
                why.push_str(" (the scores that are there stay)");
                kept.push(name.clone());
            }
        }
        kept
    }

    /// Puts the new scores in the place of old ones of the same names.
    fn merge(
        &self,
        evaluation: &Evaluation,
        kept: &[String],
        best: &mut BTreeMap<usize, Prediction>,
        aggregate: &mut Map<String, Value>,
    ) {
        let replaced = self.metric_names.iter();
        for name in replaced.filter(|name| !kept.contains(name)) {
            for record in best.values_mut() {
                record.metrics.shift_remove(name);
            }
            for end in BESIDE_A_MEAN {
                aggregate.shift_remove(&format!("{name}{end}"));
            }
        }
        for (idx, scores) in &evaluation.per_item {
            if let Some(record) = best.get_mut(idx) {
                record.metrics.extend(scores.clone());
            }
        }
        aggregate.extend(evaluation.aggregate.clone());
    }

    fn write_results(
        &self,
        spec: Option<&ExperimentSpec>,
        aggregate: &Map<String, Value>,
    ) -> Result<(), ArtifactError> {
        let before = match self.dir.results() {
            Ok(results) => results,
            Err(ArtifactError::Malformed { .. }) => None,
            Err(error) => return Err(error),
        };
        let duration = before
            .as_ref()
            .map_or(0.0, |before| before.duration_seconds);
        let metadata = match (spec, before) {
            (Some(spec), _) => about(spec),
            (None, Some(before)) => before.metadata,
            (None, None) => Map::new(),
        };
        self.dir.write_results(&Results::new(
            self.dir.name(),
            &self.dir.path,
            aggregate.clone(),
            self.state.predictions_complete,
            duration,
            metadata,
        ))
    }

    /// Writes what is computed now, and whether that is everything.
    fn conclude(&mut self, evaluation: &Evaluation, kept: &[String]) -> Result<(), ArtifactError> {
        let state = &mut self.state;
        let missing = |name: &String| {
            evaluation.uncomputed.iter().any(|(one, _)| one == name) && !kept.contains(name)
        };
        for name in self.metric_names {
            if !state.metrics_requested.contains(name) {
                state.metrics_requested.push(name.clone());
            }
        }
        state.metrics_computed.retain(|name| !missing(name));
        for name in &evaluation.computed {
            if !state.metrics_computed.contains(name) {
                state.metrics_computed.push(name.clone());
            }
        }
        let lacking = state
            .metrics_requested
            .iter()
            .find(|name| !state.metrics_computed.contains(name));
        if let Some(name) = lacking {
            let sentence = format!("the metric {name} is not computed");
            let reason = evaluation.uncomputed.iter().find(|(one, _)| one == name);
            let is_known = state
                .error
                .as_ref()
                .is_some_and(|why| why.starts_with(&sentence));
            state.error = match reason {
                Some((_, why)) => Some(format!("{sentence}: {why}")),
                None if is_known => state.error.take(),
                None => Some(format!("{sentence}: it was asked for before")),
            };
            return self.dir.write_state(state);
        }
        state.phase = Phase::Complete;
        state.error = None;
        state.interrupted = false;
        self.dir.retire_error_log()?;
        self.dir.write_state(state)
    }
}

/// Writes the tables of a study anew, what has a directory besides its grid
/// included, and seals its files.
///
/// # Errors
/// When the directory can not be listed, or a table not be written.
pub fn rewrite_tables(
    dir: &StudyDir,
    study: &str,
    specs: &[ExperimentSpec],
) -> Result<(), ArtifactError> {
    render_tables(dir, study, specs, &[])?;
    dir.seal()
}
