//! The scores that models give, when everything is answered: a generator and a
//! scoring model are never on a device together, and each is loaded once for
//! the whole study.

use super::{
    encoders::StudyEncoders,
    interruption::interrupt,
    lane::lock,
    listener::Hear,
    metric_models::MetricModels,
    report::ExperimentReport,
    rescoring::{RescoreError, Rescored, rescore},
    scoring::Scorer,
    study_run::Shared,
};
use crate::{
    artifacts::ExperimentDir,
    domain::{FailureClass, Phase},
};
use serde_json::{Map, Value};
use std::time::Instant;

impl Shared<'_> {
    /// Scores the experiments that wait for a model, and ends them. Where the
    /// run is to stop, they stay as they are, to be gone on with.
    pub fn score_later(&self) {
        let mut waiting: Vec<ExperimentReport> = lock(&self.report)
            .experiments
            .iter()
            .filter(|report| !report.later.is_empty())
            .cloned()
            .collect();
        if waiting.is_empty() {
            return;
        }
        // Only to be told of a signal; nobody listens at the other end.
        let (tell, _inbox) = crossbeam_channel::unbounded();
        let signals = self.hub.attach(tell);
        let mut models = MetricModels::new(
            self.study.scoring.clone(),
            StudyEncoders::new(
                &self.options.worker,
                &self.options.devices[0],
                self.options.bases.clone(),
                &self.dir.path().join("encoders.log"),
            ),
        );
        for report in &mut waiting {
            let is_over = || signals.is_stopping() || self.is_closed();
            let dir = self.dir.experiment(&report.name);
            if let Some(metrics) = complete_meanwhile(&dir) {
                report.phase = Phase::Complete;
                report.metrics = metrics;
            } else if !is_over() {
                self.audience.remark(&format!(
                    "{}: scoring by {}",
                    report.name,
                    report.later.join(", ")
                ));
                let mut scorer = Scorer {
                    shelf: &self.shelf,
                    resources: self.resources,
                    judge: None,
                    models: Some(&mut models),
                };
                let start = Instant::now();
                let rescored = rescore(&dir, &report.later, &mut scorer, &|| !is_over());
                report.seconds += start.elapsed().as_secs_f64();
                self.take(report, rescored);
            } else {
                report.interrupted = true;
            }
            if report.interrupted {
                // It waits, and its state says that nobody is at it.
                if let Err(error) = interrupt(&dir) {
                    self.audience.remark(&format!("{}: {error}", report.name));
                }
                continue;
            }
            self.audience.hear(&report.finished());
        }
        let mut run = lock(&self.report);
        run.signal = run.signal.or(signals.received());
        for report in waiting {
            let old = run.experiments.iter_mut();
            if let Some(old) = old
                .rev()
                .find(|old| old.name == report.name && !old.later.is_empty())
            {
                *old = report;
            }
        }
    }

    fn take(&self, report: &mut ExperimentReport, rescored: Result<Rescored, RescoreError>) {
        match rescored {
            Ok(Rescored::Done {
                phase,
                metrics,
                uncomputed,
            }) => {
                report.phase = phase;
                report.metrics = metrics;
                for (name, why) in uncomputed {
                    self.audience
                        .remark(&format!("{}: {name} is not computed: {why}", report.name));
                }
            }
            Ok(Rescored::LeftAlone(why)) => report.skipped = Some(why),
            Ok(Rescored::Interrupted) => report.interrupted = true,
            Err(RescoreError::Artifact(error)) if error.class() == FailureClass::Environment => {
                report.interrupted = true;
                self.audience.remark(&format!("the study stops: {error}"));
                lock(&self.report)
                    .environment
                    .get_or_insert_with(|| super::generation::failure_of(&error));
                self.hub.stop();
            }
            Err(error) => {
                // It stays without these metrics, and says so.
                report.phase = Phase::ComputingMetrics;
                self.audience
                    .remark(&format!("{}: not scored: {error}", report.name));
            }
        }
    }
}

/// The scores of an experiment that another run has scored since it was
/// answered here.
fn complete_meanwhile(dir: &ExperimentDir) -> Option<Map<String, Value>> {
    let state = dir.state().ok()??;
    let results = dir.results().ok()??;
    (state.phase == Phase::Complete).then_some(results.metrics)
}
