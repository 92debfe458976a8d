//! What retrieval is made of and needs no disk: texts cut into passages,
//! rankings fused into one, and rankings judged.

mod chunking;
mod fusion;
mod judgement;
#[cfg(test)]
mod tests;
mod tokens;

pub use chunking::{Chunk, Chunking, ChunkingError, Strategy};
pub use fusion::{reciprocal_rank_fusion, weighted_fusion};
pub use judgement::{Judgements, RankingScores, document_of};
pub use tokens::TokenBorders;
