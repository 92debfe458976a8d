//! Architectures that our decoder does not know and candle-transformers has.
//!
//! Its models take rectangles of tokens, `[sequences, tokens]`, so a pack must
//! hold sequences of one length that began together; the engine sees to that.

use super::{
    bounds::Size,
    config::{ModelConfig, permanent},
    linear::{Stored, float_name},
    pack::Pack,
    weights::Weights,
};
use crate::{domain::Failure, hub::ModelFiles, hub::WeightFiles};
use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::{
    helium, mixtral, olmo, olmo2, phi, qwen2_moe, qwen3_moe, starcoder2,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The architectures (`model_type`) that are computed by candle-transformers.
pub const BORROWED: [&str; 8] = [
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmo",
    "olmo2",
    "phi",
    "starcoder2",
    "helium",
];

/// A model of candle-transformers.
trait CandleNetwork: Send + Sync {
    /// The logits after the last token of each row of `tokens [rows, tokens]`,
    /// which follow `past` others.
    fn forward(&mut self, tokens: &Tensor, past: usize) -> Result<Tensor>;

    /// The same weights with the same keys and values.
    fn copy(&self) -> Box<dyn CandleNetwork>;
}

macro_rules! network {
    ($($model:ty),* $(,)?) => {$(
        impl CandleNetwork for $model {
            fn forward(&mut self, tokens: &Tensor, past: usize) -> Result<Tensor> {
                self.forward(tokens, past)
            }

            fn copy(&self) -> Box<dyn CandleNetwork> {
                Box::new(self.clone())
            }
        }
    )*};
}

network!(
    mixtral::Model,
    qwen2_moe::Model,
    qwen3_moe::ModelForCausalLM,
    olmo::Model,
    olmo2::Model,
    starcoder2::Model,
    helium::Model,
);

impl CandleNetwork for phi::Model {
    fn forward(&mut self, tokens: &Tensor, _past: usize) -> Result<Tensor> {
        // It counts for itself.
        self.forward(tokens)
    }

    fn copy(&self) -> Box<dyn CandleNetwork> {
        Box::new(self.clone())
    }
}

/// A decoder of candle-transformers, for batches of equal lengths.
pub struct BorrowedModel {
    config: ModelConfig,
    device: Device,
    compute: DType,
    /// Without keys and values; not all models can drop theirs.
    fresh: Box<dyn CandleNetwork>,
    running: Option<Box<dyn CandleNetwork>>,
    /// Sequences that began together.
    rows: usize,
    stored: Vec<(String, Stored)>,
}

impl BorrowedModel {
    /// Builds the model and reads its weights.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with the key or tensor that is missing
    /// or of another shape, or the device's failure.
    pub fn load(
        files: &ModelFiles,
        config: ModelConfig,
        weights: &Weights,
        compute: DType,
        device: &Device,
    ) -> std::result::Result<Self, Failure> {
        let label = &files.label;
        let WeightFiles::Safetensors(paths) = &files.weights else {
            return Err(permanent(format!(
                "{label}: the architecture {} is read from safetensors only",
                config.family
            )));
        };
        let Some(source) = &files.config else {
            return Err(permanent(format!("{label} has no config.json")));
        };
        // With CUDA compiled in, candle takes kernels for these experts that
        // only GPUs have, not for f32, and that give no numbers in f16.
        let on_gpu_only = cfg!(feature = "cuda") && config.family == "qwen3_moe";
        if on_gpu_only && compute != DType::BF16 {
            return Err(permanent(format!(
                "{label}: this build computes the architecture {} on GPUs in bf16 only; write dtype: bf16, or take a build without CUDA",
                config.family
            )));
        }
        let keys = Keys::of(&source.read()?, &config).map_err(permanent)?;
        // SAFETY: as for all weights: nobody writes to them while they are
        // mapped; their headers were checked when `weights` opened them.
        let tensors = unsafe { VarBuilder::from_mmaped_safetensors(paths, compute, device) };
        let fresh = tensors
            .and_then(|tensors| keys.network(&config.family, tensors))
            .map_err(|error| super::classify::at_load(label, &error))?;
        tracing::warn!(
            "{label}: the architecture {} is computed by candle-transformers: only prompts of equal length are one batch, and nothing is shared between prompts",
            config.family
        );
        if config.is_in_full() && !device.is_cpu() {
            tracing::warn!(
                "{label}: the architecture {} is computed in f32",
                config.family
            );
        }
        let stored = weights
            .shapes()
            .map(|(name, shape)| {
                let count = shape.iter().product();
                let stored = Stored {
                    kind: float_name(compute).to_owned(),
                    weights: count,
                    bytes: count * compute.size_in_bytes(),
                };
                (name.clone(), stored)
            })
            .collect();
        Ok(Self {
            config,
            device: device.clone(),
            compute,
            fresh,
            running: None,
            rows: 0,
            stored,
        })
    }

    /// The configuration.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The type of activations.
    pub const fn compute(&self) -> DType {
        self.compute
    }

    /// What each weight tensor became.
    pub fn stored(&self) -> &[(String, Stored)] {
        &self.stored
    }

    /// Makes room for sequences that begin together.
    pub fn begin(&mut self, sequences: usize) {
        self.rows = sequences;
        self.running = None;
    }

    /// Gives back the memory of all running sequences.
    pub fn clear(&mut self) {
        self.begin(0);
    }

    /// The logits of the last token of each sequence of a pack. All begin in
    /// it, or each of those that still run brings one token.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&mut self, pack: &Pack) -> Result<Tensor> {
        let Some(first) = pack.spans.first() else {
            bail!("there is nothing to compute");
        };
        let (past, len) = (first.past, first.len);
        if pack
            .spans
            .iter()
            .any(|span| (span.past, span.len) != (past, len))
        {
            bail!("the sequences are not of one length");
        }
        // Sequences that have ended go on with any token: their keys and
        // values can not be taken out.
        let mut tokens = vec![0_u32; self.rows * len];
        for span in &pack.spans {
            tokens[span.slot * len..(span.slot + 1) * len]
                .copy_from_slice(&pack.tokens[span.start..span.start + len]);
        }
        let tokens = Tensor::from_vec(tokens, (self.rows, len), &self.device)?;
        let network = self.running.get_or_insert_with(|| self.fresh.copy());
        let logits = network.forward(&tokens, past)?;
        let vocab = logits.dim(candle_core::D::Minus1)?;
        let logits = logits.reshape((self.rows, vocab))?;
        let slots: Vec<u32> = pack.spans.iter().map(|span| span.slot as u32).collect();
        logits.index_select(&Tensor::new(slots, &self.device)?, 0)
    }
}

/// A `config.json` with what candle-transformers needs and files leave out.
struct Keys(Value);

impl Keys {
    fn of(text: &[u8], config: &ModelConfig) -> std::result::Result<Self, String> {
        let value: Map<String, Value> = serde_json::from_slice(text)
            .map_err(|error| format!("config.json is no JSON: {error}"))?;
        let mut keys: Map<String, Value> = value
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        // transformers 5 nests what concerns rope.
        if let Some(Value::Object(rope)) = keys.get("rope_parameters").cloned() {
            for key in ["rope_theta", "partial_rotary_factor"] {
                if let Some(value) = rope.get(key) {
                    keys.entry(key).or_insert_with(|| value.clone());
                }
            }
            let kind = rope.get("rope_type").and_then(Value::as_str);
            if let Some(kind) = kind.filter(|kind| *kind != "default") {
                return Err(format!(
                    "config.json: rope_type {kind} is not supported for {}",
                    config.family
                ));
            }
        }
        if let Some(experts) = keys.get("num_local_experts").cloned() {
            keys.entry("num_experts").or_insert(experts);
        }
        // Without a window everything is seen.
        let slides = keys.get("use_sliding_window").and_then(Value::as_bool);
        if slides == Some(false) || (config.family.starts_with("qwen") && slides.is_none()) {
            keys.remove("sliding_window");
        }
        let missing = json!({
            "attention_bias": false,
            "bos_token_id": 0,
            "decoder_sparse_step": 1,
            "eos_token_id": 0,
            "head_dim": config.head_dim,
            "max_window_layers": 0,
            "mlp_bias": false,
            "norm_topk_prob": false,
            "num_key_value_heads": config.kv_heads,
            "partial_rotary_factor": 0.5,
            "qk_layernorm": false,
            "rope_theta": 10_000.0,
            "sliding_window": config.max_positions,
            "tie_word_embeddings": false,
            "use_bias": true,
            "use_flash_attn": false,
            "use_sliding_window": false,
        });
        if let Value::Object(missing) = missing {
            for (key, value) in missing {
                keys.entry(key).or_insert(value);
            }
        }
        let keys = Self(Value::Object(keys));
        keys.check()?;
        Ok(keys)
    }

    /// Bounds what candle-transformers makes things of without a look at the
    /// weights.
    fn check(&self) -> std::result::Result<(), String> {
        let number = |key: &str, size: Size| match self.0.get(key).and_then(Value::as_u64) {
            Some(number) => size
                .check(usize::try_from(number).unwrap_or(usize::MAX))
                .map_err(|why| format!("config.json: {key} is {why}")),
            None => Ok(usize::MAX),
        };
        number("max_position_embeddings", Size::Table)?;
        number("sliding_window", Size::Table)?;
        number("decoder_sparse_step", Size::Experts)?;
        let chosen = number("num_experts_per_tok", Size::Experts)?;
        for key in ["num_experts", "num_local_experts"] {
            let experts = number(key, Size::Experts)?;
            if chosen != usize::MAX && chosen > experts {
                return Err(format!(
                    "config.json: num_experts_per_tok is {chosen}, and {key} only {experts}"
                ));
            }
        }
        let turned = self.0.get("partial_rotary_factor").and_then(Value::as_f64);
        match turned {
            Some(part) if !(part > 0.0 && part <= 1.0) => Err(format!(
                "config.json: partial_rotary_factor is {part}, and has to be above 0 and at most 1"
            )),
            _ => Ok(()),
        }
    }

    fn parse<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_value(self.0).map_err(|error| {
            candle_core::Error::Msg(format!("config.json is not understood: {error}"))
        })
    }

    fn network(self, family: &str, tensors: VarBuilder<'_>) -> Result<Box<dyn CandleNetwork>> {
        Ok(match family {
            "mixtral" => Box::new(mixtral::Model::new(&self.parse()?, tensors)?),
            "qwen2_moe" => Box::new(qwen2_moe::Model::new(&self.parse()?, tensors)?),
            "qwen3_moe" => Box::new(qwen3_moe::ModelForCausalLM::new(&self.parse()?, tensors)?),
            "olmo" => Box::new(olmo::Model::new(&self.parse()?, tensors)?),
            "olmo2" => Box::new(olmo2::Model::new(&self.parse()?, tensors)?),
            "phi" => Box::new(phi::Model::new(&self.parse()?, tensors)?),
            "starcoder2" => Box::new(starcoder2::Model::new(&self.parse()?, tensors)?),
            "helium" => Box::new(helium::Model::new(&self.parse()?, tensors)?),
            other => bail!("the architecture {other} is not there"),
        })
    }
}
