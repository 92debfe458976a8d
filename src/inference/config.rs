use super::{
    borrowed::BORROWED,
    bounds::Size,
    gguf::GgufFile,
    rope::{RopeConfig, RopeScaling},
};
use crate::{
    domain::{Failure, FailureClass},
    hub::{ModelFiles, WeightFiles},
};
use serde_json::Value;

/// The architectures (`model_type`) that the decoder knows.
pub const SUPPORTED: [&str; 11] = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "granite",
    "smollm3",
    "gemma3",
];

/// The non-linearity of the gated feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

/// What the attention of one layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Keys that a query sees, itself included; `None` means all before it.
    pub window: Option<usize>,
    /// Which of the model's rope tables applies; `None` leaves rope out.
    pub rope: Option<usize>,
}

/// A decoder, described by its `config.json`: the families differ in these
/// values only.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `model_type`.
    pub family: String,
    /// Tokens in the embedding table.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens in a context at most.
    pub max_positions: usize,
    /// Epsilon of the RMS norms.
    pub norm_eps: f64,
    /// Norm weights are stored minus one (Gemma).
    pub norm_plus_one: bool,
    /// Norms after attention and feed-forward too (Gemma 2 and 3).
    pub post_norms: bool,
    /// RMS norm on the heads of queries and keys (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// Bias on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on attention's output projection.
    pub output_bias: bool,
    /// Bias on the feed-forward projections.
    pub mlp_bias: bool,
    /// One tensor for query, key and value, and one for gate and up (Phi-3).
    pub fused: bool,
    /// The feed-forward non-linearity.
    pub activation: Activation,
    /// The head is the embedding table; `None` where the configuration does
    /// not say, so that the weights decide.
    pub tied: Option<bool>,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f64,
    /// Attention scores are multiplied by this.
    pub query_scale: f64,
    /// What a block adds to the residual stream is multiplied by this.
    pub residual_scale: f64,
    /// Logits are multiplied by this.
    pub logit_scale: f64,
    /// Attention scores are squashed into this range.
    pub attention_softcap: Option<f64>,
    /// Logits are squashed into this range.
    pub logit_softcap: Option<f64>,
    /// The rope tables.
    pub ropes: Vec<RopeConfig>,
    /// One entry per layer.
    pub layers: Vec<LayerKind>,
    /// End-of-sequence tokens; generation_config.json may tell more.
    pub eos: Vec<u32>,
    /// Prefix of the tensors' names.
    pub prefix: &'static str,
}

impl ModelConfig {
    /// Whether sequences of these many tokens in all are rotated by the
    /// angles for long ones, so that their keys differ from those of others.
    pub(super) fn rotates_as_long(&self, capacity: usize) -> bool {
        self.ropes.iter().any(|rope| match rope.scaling {
            RopeScaling::Long { original, .. } => capacity > original,
            _ => false,
        })
    }

    /// The configuration in a model's files.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the model and what is
    /// wrong.
    pub fn of_files(files: &ModelFiles) -> Result<Self, Failure> {
        let label = &files.label;
        if let WeightFiles::Gguf(path) = &files.weights {
            return Self::of_gguf(&GgufFile::open(label, path)?);
        }
        let Some(source) = &files.config else {
            return Err(permanent(format!("{label} has no config.json")));
        };
        Self::parse(&source.read()?).map_err(|failure| Failure {
            message: format!("{label}: {}", failure.message),
            ..failure
        })
    }

    /// Understands a `config.json`.
    ///
    /// # Errors
    /// One sentence (class `permanent`) for what is missing, senseless or not
    /// supported.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| permanent(format!("config.json is no JSON: {error}")))?;
        let family = value
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| permanent("config.json has no model_type".to_owned()))?
            .to_owned();
        let known: Vec<&str> = SUPPORTED.into_iter().chain(BORROWED).collect();
        if !known.contains(&family.as_str()) {
            return Err(permanent(format!(
                "the architecture {family} is not supported; supported are {}",
                known.join(", ")
            )));
        }
        let (keys, prefix) = match value.get("text_config") {
            Some(text) if family == "gemma3" => (Keys(text), "language_model.model"),
            _ => (Keys(&value), "model"),
        };
        keys.config(family, prefix)
    }

    /// Whether candle-transformers computes it.
    pub(super) fn is_borrowed(&self) -> bool {
        BORROWED.contains(&self.family.as_str())
    }

    /// Whether it is computed in f32 on every device. In half precision most
    /// models of candle-transformers count positions in it too, which is wrong
    /// from 256 (bf16) or 2,048 (f16) on, or mix it with f32 and fail.
    pub(super) fn is_in_full(&self) -> bool {
        self.is_borrowed() && !matches!(self.family.as_str(), "helium" | "qwen3_moe")
    }

    /// Bytes of keys and values per token, in all layers.
    pub const fn kv_bytes_per_token(&self, bytes_per_value: usize) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * bytes_per_value
    }

    /// Rows of the joint query, key and value projection.
    pub const fn qkv_rows(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

pub(super) fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}

/// Typed look-ups in a JSON object.
struct Keys<'a>(&'a Value);

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn usize(&self, key: &str) -> Option<usize> {
        self.get(key)?
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
    }

    /// A size, if it is there.
    fn size(&self, key: &str, size: Size) -> Result<Option<usize>, Failure> {
        self.usize(key)
            .map(|number| size.check(number))
            .transpose()
            .map_err(|wrong| permanent(format!("config.json: {key} is {wrong}")))
    }

    /// A size that must be there.
    fn need(&self, key: &str, size: Size) -> Result<usize, Failure> {
        self.size(key, size)?.ok_or_else(|| {
            permanent(format!(
                "config.json has no {key}, or it is no whole number"
            ))
        })
    }

    fn f64(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    fn config(&self, family: String, prefix: &'static str) -> Result<ModelConfig, Failure> {
        let gemma = family.starts_with("gemma");
        let newer_gemma = gemma && family != "gemma";
        let granite = family == "granite";
        let hidden = self.need("hidden_size", Size::Width)?;
        let heads = self.need("num_attention_heads", Size::Heads)?;
        let kv_heads = self
            .size("num_key_value_heads", Size::Heads)?
            .unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(permanent(format!(
                "config.json: num_attention_heads ({heads}) is no multiple of num_key_value_heads ({kv_heads})"
            )));
        }
        let head_dim = self
            .size("head_dim", Size::HeadWidth)?
            .unwrap_or(hidden / heads);
        if Size::HeadWidth.check(head_dim).is_err() || !head_dim.is_multiple_of(2) {
            return Err(permanent(format!(
                "config.json: a head width of {head_dim} is not possible"
            )));
        }
        let max_positions = self.need("max_position_embeddings", Size::Positions)?;
        // Models of candle-transformers read the rest themselves.
        let borrowed = BORROWED.contains(&family.as_str());
        let ropes = if borrowed {
            Vec::new()
        } else {
            self.ropes(&family, head_dim, max_positions)?
        };
        let query_scale = if granite {
            self.f64("attention_multiplier").unwrap_or(1.0)
        } else if newer_gemma {
            self.f64("query_pre_attn_scalar")
                .unwrap_or(head_dim as f64)
                .powf(-0.5)
        } else {
            (head_dim as f64).powf(-0.5)
        };
        let attention_bias = self.bool("attention_bias").unwrap_or(false);
        let tied = match self.bool("tie_word_embeddings") {
            Some(tied) => Some(tied),
            None if gemma => Some(true),
            None => None,
        };
        Ok(ModelConfig {
            vocab: self.need("vocab_size", Size::Vocabulary)?,
            hidden,
            intermediate: self.need("intermediate_size", Size::Inner)?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            norm_eps: self.f64("rms_norm_eps").unwrap_or(1e-6),
            norm_plus_one: gemma,
            post_norms: newer_gemma,
            qk_norm: family == "qwen3" || family.starts_with("gemma3"),
            qkv_bias: family == "qwen2" || attention_bias,
            output_bias: family != "qwen2" && attention_bias,
            mlp_bias: self.bool("mlp_bias").unwrap_or(false),
            fused: family == "phi3",
            activation: if borrowed {
                Activation::Silu
            } else {
                self.activation(gemma)?
            },
            tied,
            embedding_scale: if gemma {
                (hidden as f64).sqrt()
            } else if granite {
                self.f64("embedding_multiplier").unwrap_or(1.0)
            } else {
                1.0
            },
            query_scale,
            residual_scale: if granite {
                self.f64("residual_multiplier").unwrap_or(1.0)
            } else {
                1.0
            },
            logit_scale: if granite {
                self.f64("logits_scaling").unwrap_or(1.0).recip()
            } else {
                1.0
            },
            attention_softcap: self.f64("attn_logit_softcapping"),
            logit_softcap: self.f64("final_logit_softcapping"),
            layers: self.layers(&family, ropes.len())?,
            ropes,
            eos: token_ids(self.get("eos_token_id")),
            prefix,
            family,
        })
    }

    fn activation(&self, gemma: bool) -> Result<Activation, Failure> {
        // Gemma 1 names `hidden_act: gelu` and means the approximation.
        let name = self
            .str("hidden_activation")
            .or_else(|| self.str("hidden_act"));
        match name {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some("gelu") | None if gemma => Ok(Activation::GeluTanh),
            Some("gelu") => Ok(Activation::Gelu),
            None => Ok(Activation::Silu),
            Some(other) => Err(permanent(format!(
                "config.json: the activation {other} is not supported"
            ))),
        }
    }

    fn layers(&self, family: &str, ropes: usize) -> Result<Vec<LayerKind>, Failure> {
        let count = self.need("num_hidden_layers", Size::Layers)?;
        let window = match self.bool("use_sliding_window") {
            Some(false) => None,
            // Qwen writes a window that only this switch turns on.
            None if family.starts_with("qwen") => None,
            _ => self.usize("sliding_window").filter(|window| *window > 0),
        };
        let types: Option<Vec<&str>> = self
            .get("layer_types")
            .and_then(Value::as_array)
            .map(|types| types.iter().filter_map(Value::as_str).collect());
        let slides = |layer: usize| match (&types, family) {
            (Some(types), _) if types.len() == count => types[layer] == "sliding_attention",
            (_, "gemma2") => layer.is_multiple_of(2),
            (_, "gemma3" | "gemma3_text") => {
                let pattern = self.usize("sliding_window_pattern").unwrap_or(6).max(1);
                !(layer + 1).is_multiple_of(pattern)
            }
            (_, "qwen2" | "qwen3") => layer >= self.usize("max_window_layers").unwrap_or(count),
            (_, "smollm3") => false,
            _ => true,
        };
        let no_rope: Vec<u64> = self
            .get("no_rope_layers")
            .and_then(Value::as_array)
            .map(|flags| flags.iter().filter_map(Value::as_u64).collect())
            .unwrap_or_default();
        let interval = self.usize("no_rope_layer_interval").unwrap_or(4).max(1);
        let has_rope = |layer: usize| {
            if family != "smollm3" {
                true
            } else if no_rope.len() == count {
                no_rope[layer] == 1
            } else {
                !(layer + 1).is_multiple_of(interval)
            }
        };
        Ok((0..count)
            .map(|layer| {
                let sliding = slides(layer);
                LayerKind {
                    window: window.filter(|_| sliding),
                    rope: has_rope(layer).then_some(if sliding && ropes > 1 { 1 } else { 0 }),
                }
            })
            .collect())
    }

    /// The rope tables: one, or for Gemma 3 the global and the local one.
    fn ropes(
        &self,
        family: &str,
        head_dim: usize,
        max_positions: usize,
    ) -> Result<Vec<RopeConfig>, Failure> {
        let parameters = self.get("rope_parameters");
        let nested = |kind: &str| parameters.and_then(|all| all.get(kind));
        let default_theta = match family {
            "gemma3" | "gemma3_text" => 1_000_000.0,
            _ => 10_000.0,
        };
        let make = |parameters: Option<&Value>, theta: f64| -> Result<RopeConfig, Failure> {
            let scaling = parameters.or_else(|| self.get("rope_scaling"));
            let theta = parameters
                .and_then(|p| p.get("rope_theta"))
                .and_then(Value::as_f64)
                .unwrap_or(theta);
            let partial = parameters
                .and_then(|p| p.get("partial_rotary_factor"))
                .and_then(Value::as_f64)
                .or_else(|| self.f64("partial_rotary_factor"))
                .unwrap_or(1.0);
            let dim = (head_dim as f64 * partial) as usize / 2 * 2;
            if dim == 0 || dim > head_dim {
                return Err(permanent(format!(
                    "config.json: a partial_rotary_factor of {partial} is not possible"
                )));
            }
            let original = scaling
                .and_then(|s| s.get("original_max_position_embeddings"))
                .and_then(Value::as_u64)
                .map(|n| n as usize)
                .or_else(|| self.usize("original_max_position_embeddings"));
            Ok(RopeConfig {
                dim,
                theta,
                scaling: RopeScaling::parse(scaling, original, max_positions).map_err(permanent)?,
            })
        };
        let theta = self.f64("rope_theta").unwrap_or(default_theta);
        if family.starts_with("gemma3") {
            let local = RopeConfig {
                dim: head_dim,
                theta: nested("sliding_attention")
                    .and_then(|p| p.get("rope_theta"))
                    .and_then(Value::as_f64)
                    .or_else(|| self.f64("rope_local_base_freq"))
                    .unwrap_or(10_000.0),
                scaling: RopeScaling::None,
            };
            Ok(vec![make(nested("full_attention"), theta)?, local])
        } else {
            // transformers 5 may nest the values by layer type here too.
            Ok(vec![make(
                nested("full_attention")
                    .or_else(|| nested("sliding_attention"))
                    .or(parameters),
                theta,
            )?])
        }
    }
}

/// A token id, or a list of them.
pub fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(id) => one(id).into_iter().collect(),
        None => Vec::new(),
    }
}
