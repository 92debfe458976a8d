use crate::domain::{Event, Failure, Phase};
use serde_json::{Map, Value};

/// What became of one experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentReport {
    /// Its name.
    pub name: String,
    /// The phase it is in.
    pub phase: Phase,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions in all.
    pub total: usize,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Its scores, where no `results.json` has them.
    pub metrics: Map<String, Value>,
    /// True when a signal ended it.
    pub interrupted: bool,
    /// Why it was left alone: complete before, owned by another run.
    pub skipped: Option<String>,
    /// The metrics that it lacks until their models are asked, after the study's
    /// last answer.
    pub later: Vec<String>,
    /// Seconds this run spent on it.
    pub seconds: f64,
}

impl ExperimentReport {
    /// What is told when nothing more is done for it.
    pub fn finished(&self) -> Event {
        Event::ExperimentFinished {
            experiment: self.name.clone(),
            phase: self.phase,
            answered: self.answered,
            total: self.total,
            error: self.failure.as_ref().map(ToString::to_string),
            seconds: self.seconds,
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunReport {
    /// In the order of the run. What was never reached is not in it.
    pub experiments: Vec<ExperimentReport>,
    /// Experiments that were selected.
    pub selected: usize,
    /// The signal that ended the run.
    pub signal: Option<i32>,
    /// Why the study was stopped: nothing could be kept any more.
    pub environment: Option<Failure>,
    /// A bug of ours was caught.
    pub bug: bool,
    /// Model loads.
    pub loads: usize,
    /// Seconds.
    pub seconds: f64,
}

impl RunReport {
    /// Experiments that are complete now.
    pub fn complete(&self) -> usize {
        self.count(|report| report.phase == Phase::Complete)
    }

    /// Experiments that failed or lack metrics.
    pub fn failed(&self) -> usize {
        self.count(|report| {
            !report.interrupted
                && report.skipped.is_none()
                && matches!(report.phase, Phase::Failed | Phase::ComputingMetrics)
        })
    }

    /// Experiments that are neither: not reached, interrupted, or owned by
    /// another run.
    pub fn left(&self) -> usize {
        self.selected
            .saturating_sub(self.complete())
            .saturating_sub(self.failed())
    }

    fn count(&self, is: impl Fn(&ExperimentReport) -> bool) -> usize {
        self.experiments.iter().filter(|report| is(report)).count()
    }

    /// The exit code of the program for this outcome.
    pub fn exit_code(&self) -> u8 {
        if self.bug {
            101
        } else if self.environment.is_some() {
            4
        } else if let Some(signal) = self.signal {
            u8::try_from(128 + signal).unwrap_or(130)
        } else if self.failed() > 0 {
            1
        } else {
            0
        }
    }
}
