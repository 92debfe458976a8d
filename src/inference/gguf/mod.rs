//! GGUF files: weights, configuration, tokenizer and chat template in one.
//!
//! The format is specified in ggml's `docs/gguf.md`; what the keys and tensors
//! of an architecture mean is what llama.cpp makes of them.

mod config;
mod file;
mod header;
mod names;
mod pre_tokenizer;
mod tokenizer;

pub use file::{GgufFile, Stretch, kind_name};
pub use names::{gguf_name, interleaved_row, is_interleaved};
pub use tokenizer::{GgufText, text};
