use crate::domain::{AgentKind, ExperimentSpec};
use serde_json::Value;

/// What is done to a query before retrieval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryTransform {
    /// Search with a passage that the model makes up, too.
    Hyde,
    /// Search with the question in other words, too.
    Multiquery,
}

/// How an experiment's questions are answered: its agent with its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentPlan {
    /// The agent.
    pub kind: AgentKind,
    /// What is done to queries.
    pub transform: Option<QueryTransform>,
    /// Passages in a prompt.
    pub top_k: usize,
    /// Rounds of retrieval, at least one.
    pub max_iterations: usize,
    /// End the rounds as soon as the model finds the passages sufficient.
    pub stop_on_sufficient: bool,
    /// Retrieve when the model is less sure than this, from 0 to 1.
    pub retrieval_threshold: f64,
    /// Ask whether the passages support the answer.
    pub verify_answer: bool,
    /// Answer without passages when they do not.
    pub fallback_to_direct: bool,
}

impl AgentPlan {
    /// The plan of an experiment; what its options leave out has a default:
    /// 3 rounds that end early, a threshold of 0.5, no verification.
    pub fn of(spec: &ExperimentSpec) -> Self {
        let option = |key: &str| spec.options.get(key);
        let truth =
            |key: &str, default: bool| option(key).and_then(Value::as_bool).unwrap_or(default);
        let rounds = option("max_iterations")
            .and_then(Value::as_u64)
            .unwrap_or(3);
        Self {
            kind: spec.agent,
            transform: match option("query_transform").and_then(Value::as_str) {
                Some("hyde") => Some(QueryTransform::Hyde),
                Some("multiquery") => Some(QueryTransform::Multiquery),
                _ => None,
            },
            top_k: spec.top_k.unwrap_or(0),
            max_iterations: usize::try_from(rounds).unwrap_or(usize::MAX).max(1),
            stop_on_sufficient: truth("stop_on_sufficient", true),
            retrieval_threshold: option("retrieval_threshold")
                .and_then(Value::as_f64)
                .unwrap_or(0.5),
            verify_answer: truth("verify_answer", false),
            fallback_to_direct: truth("fallback_to_direct", false),
        }
    }

    /// Whether a question takes one generation and at most one retrieval, of
    /// the question itself.
    pub fn is_single_step(&self) -> bool {
        matches!(self.kind, AgentKind::DirectLlm | AgentKind::FixedRag) && self.transform.is_none()
    }
}
