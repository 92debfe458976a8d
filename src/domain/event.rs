use super::failure::FailureClass;
use serde::{Deserialize, Serialize};

/// Where an experiment stands; `interrupted` is a flag beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The directory and the question list are being made.
    Init,
    /// Questions are being answered.
    Generating,
    /// Every question is answered.
    Generated,
    /// Answers are being scored, or a metric is missing.
    ComputingMetrics,
    /// Everything is there.
    Complete,
    /// A question has no answer, or nothing could be started.
    Failed,
}

impl Phase {
    /// The word in `state.json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Generating => "generating",
            Self::Generated => "generated",
            Self::ComputingMetrics => "computing_metrics",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What happens while a study runs: one line of `events.jsonl` and of
/// `--json`, and what the terminal draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    StudyStarted {
        /// The study's name.
        study: String,
        /// Experiments in this run.
        experiments: usize,
        /// Of them complete already.
        complete: usize,
    },
    /// An experiment began.
    ExperimentStarted {
        /// Its name.
        experiment: String,
        /// Questions in all.
        total: usize,
        /// Answered in earlier attempts.
        answered: usize,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// The device it runs on, as `cuda:1`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    /// A model is being loaded.
    ModelLoading {
        /// The experiment that needs it.
        experiment: String,
        /// The model.
        model: String,
        /// Its quantisation.
        quantization: String,
    },
    /// A model is loaded.
    ModelLoaded {
        /// The experiment that needs it.
        experiment: String,
        /// Seconds it took; 0 when the worker was warm.
        seconds: f64,
        /// True when a worker that served an earlier experiment was kept.
        warm: bool,
    },
    /// A batch went to the worker.
    BatchDispatched {
        /// The experiment.
        experiment: String,
        /// The batch's epoch.
        epoch: u64,
        /// Questions in it.
        size: usize,
    },
    /// A batch failed as a whole.
    BatchFailed {
        /// The experiment.
        experiment: String,
        /// Questions in it that had no answer yet.
        size: usize,
        /// The failure's class.
        class: FailureClass,
        /// The first line of the error.
        message: String,
    },
    /// The batch size changed.
    BatchSizeChanged {
        /// The experiment.
        experiment: String,
        /// The old size.
        from: usize,
        /// The new size.
        to: usize,
        /// Why.
        reason: String,
    },
    /// Answers are on disk.
    Progress {
        /// The experiment.
        experiment: String,
        /// Questions with a durable answer.
        answered: usize,
        /// Questions recorded as failed.
        unanswered: usize,
        /// Questions in all.
        total: usize,
        /// Tokens in and out since the experiment started.
        tokens: usize,
        /// The batch size now.
        batch_size: usize,
    },
    /// A question was given up.
    QuestionFailed {
        /// The experiment.
        experiment: String,
        /// The question's idx.
        idx: usize,
        /// The failure's class.
        class: FailureClass,
        /// The first line of the error.
        message: String,
    },
    /// A new worker replaces one that died, hung or lost its device.
    WorkerRestarted {
        /// The experiment.
        experiment: String,
        /// The new worker's number.
        worker: u64,
        /// Why.
        reason: String,
    },
    /// Too many failures in a row: the rest is recorded as aborted.
    Aborted {
        /// The experiment.
        experiment: String,
        /// Failures in a row.
        consecutive_failures: u32,
        /// The last error's first line.
        message: String,
    },
    /// An experiment's phase changed.
    PhaseChanged {
        /// The experiment.
        experiment: String,
        /// The new phase.
        phase: Phase,
    },
    /// An experiment ended.
    ExperimentFinished {
        /// Its name.
        experiment: String,
        /// The phase it ended in.
        phase: Phase,
        /// Questions with an answer.
        answered: usize,
        /// Questions in all.
        total: usize,
        /// The first line of the error, when it failed.
        error: Option<String>,
        /// Seconds this attempt took.
        seconds: f64,
    },
    /// An experiment was left alone.
    ExperimentSkipped {
        /// Its name.
        experiment: String,
        /// Why: complete, owned by another run, dataset unavailable.
        reason: String,
    },
    /// The run ended.
    StudyFinished {
        /// The study's name.
        study: String,
        /// Experiments that are complete.
        complete: usize,
        /// Experiments that failed.
        failed: usize,
        /// Experiments that are left.
        left: usize,
        /// Seconds the run took.
        seconds: f64,
    },
}
