//! ragicamp.
pub mod domain;
