//! Metrics whose scores models give.

use crate::domain::ScoringModel;
use std::collections::BTreeMap;

/// Scores of one answer that models gave, by metric: `None` where the metric
/// does not apply to it; or why there is none.
pub type GivenScores = BTreeMap<String, Result<Option<f64>, String>>;

/// The metrics whose score is a judge's verdict.
pub fn is_judged(name: &str) -> bool {
    matches!(name, "llm_judge" | "llm_judge_qa")
}

/// Whether a model gives the score, a judge or one on this machine.
pub fn is_given(name: &str) -> bool {
    is_judged(name) || ScoringModel::of(name).is_some()
}

/// Whether the metric looks at the passages that the answer was made of.
pub fn reads_passages(name: &str) -> bool {
    let stem = name.split('@').next().unwrap_or(name);
    matches!(
        stem,
        "answer_in_context"
            | "context_recall"
            | "recall"
            | "hit"
            | "mrr"
            | "ndcg"
            | "faithfulness"
            | "hallucination"
    )
}

/// Where `bertscore_precision`, `bertscore_recall` and `bertscore` (F1) stand
/// among the scores of a pair.
pub fn place_among_token_scores(name: &str) -> usize {
    match name {
        "bertscore_precision" => 0,
        "bertscore_recall" => 1,
        _ => 2,
    }
}
