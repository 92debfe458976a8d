use super::{failure::Failure, failure::FailureClass, retrieval::Retrieved};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happened to a question in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is an answer.
    Answered,
    /// It was tried and failed.
    Failed,
    /// It was not tried, because the experiment was aborted.
    Aborted,
}

/// What an experiment answered to a question: one record of
/// `predictions.json` and of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The question's idx.
    pub idx: usize,
    /// The question's text. Old files call it `query`.
    #[serde(alias = "query", default)]
    pub question: String,
    /// The answer, or `[ERROR: ...]` / `[ABORTED: ...]` when there is none.
    #[serde(default)]
    pub prediction: String,
    /// Gold answers.
    #[serde(default)]
    pub expected: Vec<String>,
    /// The prompt as it went to the model, before its chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Why there is no answer; `None` exactly when there is one.
    #[serde(default)]
    pub error: Option<String>,
    /// The failure's class when there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_class: Option<FailureClass>,
    /// True when it was never tried because the run was aborted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// Passages in the prompt, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retrieved: Vec<Retrieved>,
    /// Size of the batch it was answered in.
    #[serde(default)]
    pub batch_size: usize,
    /// Which attempt at the experiment this was, from 1.
    #[serde(default)]
    pub attempt: u32,
    /// Prompt tokens.
    #[serde(default)]
    pub tokens_in: usize,
    /// Generated tokens.
    #[serde(default)]
    pub tokens_out: usize,
    /// From dispatch of the batch to this answer, in milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// Scores of this answer by metric; filled in by the metrics phase.
    #[serde(default)]
    pub metrics: Map<String, Value>,
    /// Keys that newer or other versions wrote.
    #[serde(flatten, default)]
    pub extra: Map<String, Value>,
}

impl Prediction {
    /// What happened to the question. Records of old files name no attempt and
    /// may have no `error` key, so there the markers in the text count too; a
    /// model is free to answer with such a text.
    pub fn outcome(&self) -> Outcome {
        let marked = |marker: &str| self.attempt == 0 && self.prediction.starts_with(marker);
        if self.aborted || marked("[ABORTED:") {
            Outcome::Aborted
        } else if self.error.is_some() || marked("[ERROR:") {
            Outcome::Failed
        } else {
            Outcome::Answered
        }
    }

    /// Settled means answered: a failed question is outstanding.
    pub fn is_answered(&self) -> bool {
        self.outcome() == Outcome::Answered
    }

    /// The text kept for a question that was tried and failed.
    pub fn error_marker(failure: &Failure) -> String {
        format!("[ERROR: {}]", failure.first_line())
    }

    /// The text kept for a question that was given up with the run.
    pub fn aborted_marker(consecutive_failures: u32) -> String {
        format!("[ABORTED: {consecutive_failures} consecutive failures]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Prediction {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn markers_count_in_old_records_only() {
        let old = record(r#"{"idx": 0, "prediction": "[ERROR: out of memory]"}"#);
        assert_eq!(old.outcome(), Outcome::Failed);
        let old = record(r#"{"idx": 0, "prediction": "[ABORTED: 5 consecutive failures]"}"#);
        assert_eq!(old.outcome(), Outcome::Aborted);
        let answer = record(r#"{"idx": 0, "prediction": "[ERROR: is a tag", "attempt": 1}"#);
        assert!(answer.is_answered(), "a model may say so");
        let failed = record(r#"{"idx": 0, "prediction": "", "error": "x", "attempt": 1}"#);
        assert_eq!(failed.outcome(), Outcome::Failed);
    }
}
