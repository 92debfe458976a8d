//! What retrieval is made of and needs no disk: texts cut into passages, and
//! rankings fused into one.

mod chunking;
mod fusion;
#[cfg(test)]
mod tests;

pub use chunking::{Chunk, Chunking, ChunkingError, Strategy};
pub use fusion::reciprocal_rank_fusion;
