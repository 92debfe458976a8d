//! Encoders: texts to vectors, and pairs of texts to scores, by a head that was
//! trained for it or token by token.
//!
//! The tokens of all texts of a batch lie one after the other without padding;
//! only attention knows where a text begins. In f32 on the processor a text's
//! result is the same whatever else is in the batch, to the last bit.

mod attention;
mod attention_device;
mod classifier;
mod config;
mod distances;
mod embedder;
mod head;
mod identity;
mod loader;
mod matcher;
mod packing;
mod rows;
mod runner;
mod sentence;
mod text;
mod transformer;

#[cfg(test)]
mod tests;

pub use classifier::PairClassifier;
pub use config::SUPPORTED_ENCODERS;
pub use embedder::TextEmbedder;
pub use matcher::TokenMatcher;
pub use runner::EncoderEvent;
