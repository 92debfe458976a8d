//! Searchable corpora on disk.
//!
//! An index is identified by what is in it: the corpus's checksum, the
//! chunking, and the analyser or the embedding model. It is built once, beside
//! its place, and moved there when it is whole; every later run, and every
//! experiment that asks for the same, opens it.
//!
//! [`open()`] opens what a retriever asks for and builds what of it is missing:
//! `bm25` has words, `passages` the texts, `dense` their vectors, `hnsw` graphs
//! over them. [`rank()`] goes from questions to rankings. [`Cache`] keeps what
//! was computed once, and [`Shelves`] lists, checks and drops what is there.

mod error;
mod progress;
mod query;

#[cfg(feature = "index")]
mod bm25;
#[cfg(feature = "index")]
mod cache;
#[cfg(feature = "index")]
mod corpus;
#[cfg(feature = "index")]
mod cutting;
#[cfg(feature = "index")]
mod dense;
#[cfg(feature = "index")]
mod embedding;
#[cfg(feature = "index")]
mod graph;
#[cfg(feature = "index")]
mod hit;
#[cfg(feature = "index")]
mod nearest;
#[cfg(feature = "index")]
mod open;
#[cfg(feature = "index")]
mod passages;
#[cfg(feature = "index")]
mod ranking;
#[cfg(feature = "index")]
mod shelves;
#[cfg(feature = "index")]
mod store;
#[cfg(all(test, feature = "index"))]
mod tests;
#[cfg(feature = "index")]
mod vectors;

pub use error::IndexError;
pub use progress::{BuildProgress, Tell};
pub use query::Query;

#[cfg(feature = "index")]
pub use cache::{Cache, CachePart, CacheShare, CacheStats};
#[cfg(feature = "index")]
pub use hit::{Hit, Side};
#[cfg(feature = "index")]
pub use open::{DEPTH, Index, Site, Tokens, open};
#[cfg(feature = "index")]
pub use ranking::{Ranking, Wanted, rank};
#[cfg(feature = "index")]
pub use shelves::{Shelved, ShelvedState, Shelves, Unknown};
