use super::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

/// What a text is to an embedding model. Some were trained with a prefix of
/// its own for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRole {
    /// Something looked for.
    Query,
    /// Something that may be found.
    Passage,
}

/// Turns texts into vectors.
pub trait Embedder {
    /// One vector per text, in order, of [`Embedder::dimension`] floats; of
    /// length one where the model normalises.
    ///
    /// # Errors
    /// A failure of the batch.
    fn embed(&mut self, texts: &[&str], role: TextRole) -> Result<Vec<Vec<f32>>, Failure>;

    /// Length of a vector.
    fn dimension(&self) -> usize;

    /// What decides the vectors: the model, its revision or the hash of its
    /// weights, and how it is pooled. Equal identities give equal vectors.
    fn identity(&self) -> &str;
}

/// Scores how well a passage fits a query (a cross-encoder).
pub trait PairScorer {
    /// One score per pair of query and passage, in order.
    ///
    /// # Errors
    /// A failure of the batch.
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure>;

    /// What decides the scores, as [`Embedder::identity`].
    fn identity(&self) -> &str;
}

/// Vectors in a file, one after another, little-endian.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VectorFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Bytes before the first vector.
    pub start: u64,
    /// How many vectors there are.
    pub rows: usize,
    /// Numbers of each.
    pub dimension: usize,
    /// Whether numbers are f16; else f32.
    pub half: bool,
}

/// Searches many vectors exactly: every one of them against every query.
pub trait NearestRows {
    /// For every query the `limit` rows with the greatest inner products, best
    /// first, each with its product as single precision has it.
    ///
    /// # Errors
    /// A failure of the batch.
    fn nearest(
        &mut self,
        queries: &[Vec<f32>],
        limit: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>, Failure>;
}

/// Gives encoders by the names that studies use (`minilm`,
/// `hf:org/name@revision`, `hf:./directory`). A model is loaded when it is
/// first asked for, or later.
pub trait Encoders {
    /// An embedding model.
    ///
    /// # Errors
    /// When the model is missing or can not be loaded.
    fn embedder(&mut self, model: &str) -> Result<&mut dyn Embedder, Failure>;

    /// A cross-encoder.
    ///
    /// # Errors
    /// As [`Encoders::embedder`].
    fn scorer(&mut self, model: &str) -> Result<&mut dyn PairScorer, Failure>;

    /// The vectors of a model on the device that it runs on, where so many
    /// queries are searched for faster there; `None` where they are not.
    fn vectors(
        &mut self,
        model: &str,
        file: &VectorFile,
        queries: usize,
    ) -> Option<&mut dyn NearestRows> {
        let _ = (model, file, queries);
        None
    }

    /// Gives up every model that is loaded, and its memory.
    fn release(&mut self);
}
