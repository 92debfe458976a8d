use serde::{Deserialize, Serialize};

/// One item of a dataset, as it stands in `questions.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Position in the experiment's question list; the id everywhere else.
    pub idx: usize,
    /// The text that is asked. Old files call it `query`.
    #[serde(alias = "query")]
    pub question: String,
    /// Gold answers; empty when the dataset has none for this question.
    #[serde(default)]
    pub expected: Vec<String>,
    /// The dataset's own id, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Ids of the passages that hold the answer, where the dataset tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supporting: Vec<String>,
    /// The passages that the question is about, where the study names their
    /// key (`fields.context`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
}
