//! Models on this machine: one decoder for many families, batches of prompts
//! of any lengths, on the processor or an NVIDIA GPU, at full precision or
//! with weights of 8 or 4 bits.
//!
//! A batch is ragged: the tokens of all running sequences lie one after the
//! other in one `pack::Pack`, every linear layer is one matrix product over
//! it, and only attention knows where a sequence begins. In f32 on the
//! processor each row's arithmetic is the same whatever else is in the batch,
//! so a batch gives what each prompt gives alone.
//!
//! From the outside: [`load`] gives an [`Engine`], which is a
//! [`crate::domain::Generator`]; [`TextEmbedder`] and [`PairClassifier`] are
//! encoders.

mod attention;
mod attention_device;
mod attention_kernel;
mod blocks;
mod borrowed;
mod bounds;
mod classify;
mod config;
mod crew;
mod cuda;
mod decoder;
mod device;
mod encoder;
mod engine;
mod fingerprint;
mod fitting;
mod gguf;
mod gguf_weights;
mod half_matrix;
mod heap;
mod host;
mod instructions;
mod lanes;
mod linear;
mod loader;
mod logits;
mod mapped;
mod matrix;
mod memory;
mod nesting;
mod network;
mod operands;
mod pack;
mod parts;
mod prefix;
mod quantized;
mod rope;
mod row_search;
mod sampling;
mod sequence;
mod slots;
mod speed;
mod tags;
mod template;
mod text;
mod tokenizer;
mod weight_cache;
mod weights;

#[cfg(test)]
mod tests;

pub use borrowed::BORROWED;
pub use config::{Activation, LayerKind, ModelConfig, SUPPORTED};
#[cfg(all(feature = "cuda", feature = "failpoints"))]
pub use cuda::drill;
pub use device::Device;
pub use encoder::{EncoderEvent, PairClassifier, SUPPORTED_ENCODERS, TextEmbedder, TokenMatcher};
pub use engine::{Engine, EngineStats, Step};
pub use fingerprint::identity;
pub use logits::save_logits;
pub use memory::{Forecast, MemoryEstimate, available_host_bytes, estimate, memory_estimate};
pub use rope::{RopeConfig, RopeScaling};
pub use row_search::RowSearch;
pub use speed::{Speed, instruction_sets, measure_speed, threads};
pub use template::ChatTemplate;

use crate::{
    domain::{Dtype, Failure, Quantization},
    hub::ModelFiles,
};
use std::{num::NonZeroUsize, path::PathBuf};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// How weights are quantised.
    pub quantization: Quantization,
    /// The type that weights are computed in.
    pub dtype: Dtype,
    /// Where the model runs.
    pub device: Device,
    /// Prompt tokens per forward pass; `None` picks what suits the device.
    pub prefill_tokens: Option<usize>,
    /// Attend with candle's tensor operations on the processor too, as GPUs
    /// do; slower, for checking one against the other.
    pub tensor_attention: bool,
    /// Compute every prompt from its first token, even if another one begins
    /// alike; slower, for checking that this changes nothing.
    pub separate_prompts: bool,
    /// Directory below which quantised weights are kept for the next load.
    pub cache: Option<PathBuf>,
    /// Processes that share the device's memory, this one included; an
    /// automatic batch size leaves the others their part.
    pub sharers: Option<NonZeroUsize>,
}

impl LoadOptions {
    /// Whether prompts that begin alike share what they begin with.
    const fn shares_prefixes(&self) -> bool {
        !self.separate_prompts
    }

    /// Prompt tokens per forward pass.
    fn prefill_tokens(&self, on_cpu: bool) -> usize {
        self.prefill_tokens
            .unwrap_or(if on_cpu { 512 } else { 8192 })
            .max(1)
    }
}

/// Loads a model.
///
/// # Errors
/// One sentence that names the tensor, file or key that is wrong (class
/// `permanent`), or the device's failure.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Engine, Failure> {
    Engine::load(files, options)
}
