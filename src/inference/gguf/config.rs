use super::{GgufFile, names::is_interleaved};
use crate::{
    domain::Failure,
    inference::{
        bounds::Size,
        config::{Activation, LayerKind, ModelConfig},
        rope::{RopeConfig, RopeScaling},
    },
};
use candle_core::quantized::GgmlDType;

/// The architectures (`general.architecture`) that the decoder knows.
const SUPPORTED: [&str; 9] = [
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "granite", "smollm3",
];

impl ModelConfig {
    /// Understands the keys of a GGUF file, as llama.cpp does.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with the key or tensor that is
    /// missing, senseless or not supported.
    pub(in crate::inference) fn of_gguf(file: &GgufFile) -> Result<Self, Failure> {
        let family = file.need_text("general.architecture")?;
        if !SUPPORTED.contains(&family) {
            return Err(file.permanent(&format!(
                "has the architecture {family} (general.architecture), which is not supported; supported are {}",
                SUPPORTED.join(", ")
            )));
        }
        Keys { file, family }.config()
    }
}

/// Look-ups of an architecture's keys.
struct Keys<'a> {
    file: &'a GgufFile,
    family: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    fn number(&self, key: &str) -> Result<Option<usize>, Failure> {
        self.file.number(&self.key(key))
    }

    /// A size, if it is there.
    fn size(&self, key: &str, size: Size) -> Result<Option<usize>, Failure> {
        self.number(key)?
            .map(|number| size.check(number))
            .transpose()
            .map_err(|wrong| {
                let key = self.key(key);
                self.file.permanent(&format!("has a {key} of {wrong}"))
            })
    }

    /// A size that must be there.
    fn need(&self, key: &str, size: Size) -> Result<usize, Failure> {
        self.size(key, size)?.ok_or_else(|| {
            self.file
                .permanent(&format!("has no key {}", self.key(key)))
        })
    }

    fn real(&self, key: &str) -> Result<Option<f64>, Failure> {
        self.file.real(&self.key(key))
    }

    fn config(&self) -> Result<ModelConfig, Failure> {
        let (file, family) = (self.file, self.family);
        let gemma = family.starts_with("gemma");
        let newer_gemma = gemma && family != "gemma";
        let granite = family == "granite";
        if self.number("expert_count")?.unwrap_or(0) > 0 {
            return Err(file.permanent(&format!(
                "is a mixture of experts ({}), which is not supported",
                self.key("expert_count")
            )));
        }
        let hidden = self.need("embedding_length", Size::Width)?;
        let heads = self.need("attention.head_count", Size::Heads)?;
        let kv_heads = self
            .size("attention.head_count_kv", Size::Heads)?
            .unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(file.permanent(&format!(
                "has {heads} heads and {kv_heads} key heads ({}), which do not fit",
                self.key("attention.head_count_kv")
            )));
        }
        let head_dim = self
            .size("attention.key_length", Size::HeadWidth)?
            .unwrap_or(hidden / heads);
        let value_dim = self.number("attention.value_length")?.unwrap_or(head_dim);
        if Size::HeadWidth.check(head_dim).is_err()
            || !head_dim.is_multiple_of(2)
            || value_dim != head_dim
        {
            return Err(file.permanent(&format!(
                "has keys of width {head_dim} and values of width {value_dim} ({}), which is not supported",
                self.key("attention.value_length")
            )));
        }
        let layers = self.need("block_count", Size::Layers)?;
        let max_positions = self.need("context_length", Size::Positions)?;
        let embeddings = file.stretch("token_embd.weight")?.shape;
        let ropes = self.ropes(head_dim, max_positions)?;
        let plain_scale = (head_dim as f64).powf(-0.5);
        let query_scale = match family {
            "granite" => match self.real("attention.scale")? {
                Some(scale) if scale != 0.0 => scale,
                _ => plain_scale,
            },
            // The 27B models, which llama.cpp knows by their layers.
            "gemma2" if layers == 46 => ((hidden / heads) as f64).powf(-0.5),
            "gemma3" if layers == 62 => ((hidden / heads) as f64).powf(-0.5),
            _ => plain_scale,
        };
        let softcap = |key: &str, default: Option<f64>| -> Result<Option<f64>, Failure> {
            Ok(self.real(key)?.or(default).filter(|cap| *cap != 0.0))
        };
        let gemma2 = family == "gemma2";
        let has = |tensor: &str| file.has_tensor(tensor);
        let scale = |key: &str| -> Result<f64, Failure> {
            let found = if granite { self.real(key)? } else { None };
            Ok(found.filter(|scale| *scale != 0.0).unwrap_or(1.0))
        };
        Ok(ModelConfig {
            vocab: embeddings.first().copied().unwrap_or(0),
            hidden,
            intermediate: self.need("feed_forward_length", Size::Inner)?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            norm_eps: self
                .real("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| {
                    file.permanent(&format!(
                        "has no key {}",
                        self.key("attention.layer_norm_rms_epsilon")
                    ))
                })?,
            // The converters add the one to Gemma's norms.
            norm_plus_one: false,
            post_norms: newer_gemma,
            qk_norm: matches!(family, "qwen3" | "gemma3"),
            qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
            output_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_down.bias"),
            fused: has("blk.0.attn_qkv.weight"),
            activation: if gemma {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            tied: None,
            embedding_scale: if gemma {
                (hidden as f64).sqrt()
            } else {
                scale("embedding_scale")?
            },
            query_scale,
            residual_scale: scale("residual_scale")?,
            logit_scale: scale("logit_scale")?.recip(),
            attention_softcap: if gemma2 {
                softcap("attn_logit_softcapping", Some(50.0))?
            } else {
                None
            },
            logit_softcap: match family {
                "gemma2" => softcap("final_logit_softcapping", Some(30.0))?,
                "gemma3" => softcap("final_logit_softcapping", None)?,
                _ => None,
            },
            layers: self.layers(layers, ropes.len())?,
            ropes,
            eos: Vec::new(),
            prefix: "model",
            family: family.to_owned(),
        })
    }

    fn layers(&self, count: usize, ropes: usize) -> Result<Vec<LayerKind>, Failure> {
        let window = match self.family {
            "gemma2" => Some(self.number("attention.sliding_window")?.unwrap_or(4096)),
            "gemma3" | "phi3" => self.number("attention.sliding_window")?,
            _ => None,
        }
        .filter(|window| *window > 0);
        let slides = |layer: usize| match self.family {
            "gemma2" => layer.is_multiple_of(2),
            "gemma3" => !(layer + 1).is_multiple_of(6),
            _ => true,
        };
        Ok((0..count)
            .map(|layer| {
                let sliding = window.is_some() && slides(layer);
                let has_rope = self.family != "smollm3" || !(layer + 1).is_multiple_of(4);
                LayerKind {
                    window: window.filter(|_| sliding),
                    rope: has_rope.then_some(if sliding && ropes > 1 { 1 } else { 0 }),
                }
            })
            .collect())
    }

    /// The rope tables: one, or for Gemma 3 the global and the local one.
    fn ropes(&self, head_dim: usize, max_positions: usize) -> Result<Vec<RopeConfig>, Failure> {
        let dim = self.number("rope.dimension_count")?.unwrap_or(head_dim);
        let partial_is_fine = !is_interleaved(self.family);
        if dim == 0
            || dim > head_dim
            || !dim.is_multiple_of(2)
            || dim != head_dim && !partial_is_fine
        {
            return Err(self.file.permanent(&format!(
                "rotates {dim} of {head_dim} values of a head ({}), which is not supported",
                self.key("rope.dimension_count")
            )));
        }
        let theta = self.real("rope.freq_base")?.unwrap_or(10_000.0);
        let global = RopeConfig {
            dim,
            theta,
            scaling: self.scaling(dim, max_positions)?,
        };
        if self.family != "gemma3" {
            return Ok(vec![global]);
        }
        let local = RopeConfig {
            dim,
            theta: self.real("rope.freq_base_swa")?.unwrap_or(10_000.0),
            scaling: RopeScaling::None,
        };
        Ok(vec![global, local])
    }

    fn scaling(&self, dim: usize, max_positions: usize) -> Result<RopeScaling, Failure> {
        let attention = self.real("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let original = self
            .number("rope.scaling.original_context_length")?
            .filter(|original| *original > 0);
        let short = self.factors("rope_factors_short.weight", dim)?;
        let long = self.factors("rope_factors_long.weight", dim)?;
        if let (Some(short), Some(long)) = (short, long) {
            return Ok(RopeScaling::Long {
                short,
                long,
                original: original.unwrap_or(max_positions),
                attention,
            });
        }
        if let Some(factors) = self.factors("rope_freqs.weight", dim)? {
            return Ok(RopeScaling::Factors { factors });
        }
        let factor = match self.real("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.real("rope.scale_linear")?,
        }
        .filter(|factor| *factor != 0.0);
        let key = self.key("rope.scaling.type");
        match (self.file.text(&key), factor) {
            // llama.cpp takes a factor without a kind for a linear one.
            (Some("linear") | None, Some(factor)) if factor != 1.0 => {
                Ok(RopeScaling::Linear { factor })
            }
            (Some("yarn"), Some(factor)) => {
                let ramp = |key: &str, default: f64| -> Result<f64, Failure> {
                    Ok(self.real(key)?.unwrap_or(default))
                };
                Ok(RopeScaling::Yarn {
                    factor,
                    beta_fast: ramp("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: ramp("rope.scaling.yarn_beta_slow", 1.0)?,
                    original: original.unwrap_or(max_positions) as f64,
                    attention: attention * (1.0 + 0.1 * factor.ln()),
                    truncate: true,
                })
            }
            (Some("none" | "linear" | "yarn") | None, _) => Ok(RopeScaling::None),
            (Some(other), _) => Err(self.file.permanent(&format!(
                "asks for the rope scaling {other} ({key}), which is not supported"
            ))),
        }
    }

    /// A divisor per frequency, from a tensor.
    fn factors(&self, name: &str, dim: usize) -> Result<Option<Vec<f64>>, Failure> {
        if !self.file.has_tensor(name) {
            return Ok(None);
        }
        let stretch = self.file.stretch(name)?;
        if stretch.kind != GgmlDType::F32 || stretch.shape != [dim / 2] {
            return Err(self.file.permanent(&format!(
                "has a tensor {name} of shape {:?}, but there are {} frequencies",
                stretch.shape,
                dim / 2
            )));
        }
        let factors = self
            .file
            .bytes(stretch.bytes)
            .chunks_exact(4)
            .map(|bytes| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            .collect();
        Ok(Some(factors))
    }
}
