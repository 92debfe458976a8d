//! The last part of an experiment: what its answers are worth.

use super::{
    experiment::{ExperimentRun, Stop, Verdict, about, records},
    kept_scores::KeptScores,
    scoring::Scorer,
};
use crate::{
    artifacts::{ArtifactError, Results, State},
    domain::{Phase, Prediction, Question, ScoringModel},
    metrics,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Instant};

/// What is done about the metrics of an experiment.
#[derive(Default)]
struct Sorted {
    /// Computed now.
    now: Vec<String>,
    /// As they were.
    kept: Vec<String>,
    /// Computed when no generator is on the device any more.
    later: Vec<String>,
}

impl ExperimentRun<'_, '_> {
    pub(super) fn score(
        &mut self,
        state: &mut State,
        questions: &[Question],
        best: &mut BTreeMap<usize, Prediction>,
        start: Instant,
    ) -> Result<Verdict, Stop> {
        self.enter(state, Phase::ComputingMetrics)?;
        let before = KeptScores::read(&self.dir, &state.metrics_computed, best)?;
        let Sorted { now, kept, later } = self.sorted(&state.metrics_requested, &before);
        let predictions = records(questions, best);
        let mut evaluation = self.evaluate(&now, questions, &predictions)?;
        for (idx, scores) in &evaluation.per_item {
            if let Some(prediction) = best.get_mut(idx) {
                prediction.metrics.clone_from(scores);
            }
        }
        for metric in &kept {
            before.keep(metric, best, &mut evaluation.aggregate);
        }
        self.count(state, questions, best);
        self.lease.check()?;
        self.render(questions, best, &evaluation.aggregate)?;
        self.dir.write_results(&Results::new(
            &self.spec.name,
            &self.dir.path,
            evaluation.aggregate,
            state.predictions_complete,
            self.worked_before + start.elapsed().as_secs_f64(),
            about(self.spec),
        ))?;
        // What was added, and can not be computed for the answers of today, is
        // no reason to lack something.
        let asked = |name: &String| self.settings.metrics.contains(name);
        let is_missing = |name: &String| evaluation.uncomputed.iter().any(|(one, _)| one == name);
        let requested = std::mem::take(&mut state.metrics_requested);
        state.metrics_requested = requested
            .into_iter()
            .filter(|name| asked(name) || !is_missing(name))
            .filter(|name| [&now, &kept, &later].iter().any(|part| part.contains(name)))
            .collect();
        state.metrics_computed = state
            .metrics_requested
            .iter()
            .filter(|name| evaluation.computed.contains(name) || kept.contains(name))
            .cloned()
            .collect();
        let missing = evaluation.uncomputed.iter().find(|(name, _)| asked(name));
        if let Some((name, reason)) = missing {
            state.error = Some(format!("the metric {name} is not computed: {reason}"));
            self.dir.write_state(state)?;
        } else if later.is_empty() {
            // An experiment that got complete has no error any more.
            self.dir.retire_error_log()?;
            self.enter(state, Phase::Complete)?;
        } else {
            self.dir.write_state(state)?;
        }
        let mut report = self.report(state, None, start);
        report.later = later;
        Ok(Verdict::Next(report))
    }

    /// What is to be done about the metrics that were asked for, by the study or
    /// by `ragicamp metrics`.
    fn sorted(&mut self, requested: &[String], before: &KeptScores) -> Sorted {
        let mut sorted = Sorted::default();
        for name in requested {
            let model = ScoringModel::of(name);
            let is_of_study = self.settings.metrics.contains(name);
            // Passages are found again only for what is missing: that may take
            // long, and their index may be another one by now.
            let is_costly = model.is_some() || metrics::reads_passages(name);
            let part = if before.has(name) && (is_costly || !is_of_study) {
                &mut sorted.kept
            } else if let Some(which) = model {
                let is_had = is_of_study || self.resources.is_here(self.models.get(which));
                if !is_had {
                    self.ears.remark(&format!(
                        "{}: the metric {name} is dropped: its answers have changed, and {} is not here",
                        self.spec.name,
                        self.models.get(which)
                    ));
                    continue;
                }
                &mut sorted.later
            } else {
                &mut sorted.now
            };
            part.push(name.clone());
        }
        sorted
    }

    fn evaluate(
        &mut self,
        metric_names: &[String],
        questions: &[Question],
        predictions: &[Prediction],
    ) -> Result<metrics::Evaluation, Stop> {
        let index = match self.dir.metadata() {
            Ok(metadata) => metadata.map_or(Value::Null, |metadata| metadata.index),
            Err(ArtifactError::Malformed { .. }) => Value::Null,
            Err(error) => return Err(error.into()),
        };
        let (lease, signals) = (&mut self.lease, self.signals);
        let (mut stopped, mut lost) = (false, None);
        let scored = Scorer {
            shelf: self.shelf,
            resources: self.resources,
            judge: self.judge.as_deref_mut(),
            models: None,
        }
        .score(
            Some(self.spec),
            &index,
            metric_names,
            questions,
            predictions,
            &mut || {
                // A judge may take long, and costs.
                if let Err(error @ ArtifactError::LeaseLost { .. }) = lease.keep_alive() {
                    lost = Some(error);
                }
                stopped = signals.is_stopping();
                !stopped && lost.is_none()
            },
        );
        if let Ok(mut shelf) = self.shelf() {
            shelf.release_models();
        }
        if let Some(error) = lost {
            return Err(error.into());
        }
        if stopped {
            return Err(Stop::Interrupted);
        }
        Ok(scored?)
    }
}
