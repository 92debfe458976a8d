use super::failure::Failure;
use serde::{Deserialize, Serialize};

/// A passage that was put into a prompt, as `predictions.json` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    /// The passage's id in its index.
    pub id: String,
    /// The retriever's score; comparable within one query only.
    pub score: f64,
}

/// A passage with its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// The passage's id in its index.
    pub id: String,
    /// Title of the document it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text.
    pub text: String,
    /// The retriever's score; 0 outside of a search.
    #[serde(default)]
    pub score: f64,
}

/// Finds passages for a question.
pub trait Retriever: Send {
    /// The `top_k` best passages, best first; ties broken by id so that the
    /// order never depends on the machine.
    ///
    /// # Errors
    /// When the index can not be read.
    fn retrieve(&self, query: &str, top_k: usize) -> Result<Vec<Passage>, Failure>;
}

/// Turns texts into vectors.
pub trait Embedder {
    /// One vector per text, in order, of [`Embedder::dimension`] floats.
    ///
    /// # Errors
    /// A failure of the batch.
    fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Failure>;

    /// Length of a vector.
    fn dimension(&self) -> usize;
}

/// Scores how well a passage fits a query (a cross-encoder).
pub trait PairScorer {
    /// One score per pair, in order.
    ///
    /// # Errors
    /// A failure of the batch.
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure>;
}
