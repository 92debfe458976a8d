use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Which of an index's parts a passage is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The words (BM25).
    Sparse,
    /// The vectors.
    Dense,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Where its text is.
    pub side: Side,
    /// Its number there.
    pub row: u64,
    /// Its id.
    pub id: String,
    /// How well it fits; comparable within one query only.
    pub score: f64,
}

impl Hit {
    /// Best first, equal scores by id, so that the order never depends on the
    /// machine.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| self.id.cmp(&other.id))
    }
}
