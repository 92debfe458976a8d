use super::{
    attention::{Heads, HostCache, LayerAttention, Rope},
    attention_device::{DeviceCache, LayerTensors},
    config::{Activation, LayerKind, ModelConfig},
    host,
    linear::{Linear, Precision, Stored, float_name},
    matrix::PackedMatrix,
    pack::Pack,
    rope::RopeTable,
    weights::Weights,
};
use crate::domain::{Failure, FailureClass};
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// The embedding table.
enum Embedding {
    /// `[vocab, hidden]` on the device.
    Table(Tensor),
    /// Shared with the head.
    Packed(Arc<PackedMatrix>),
}

struct Layer {
    kind: LayerKind,
    attention_norm: Tensor,
    qkv: Linear,
    qk_norm: Option<(Tensor, Tensor)>,
    output: Linear,
    after_attention: Option<Tensor>,
    feed_norm: Tensor,
    gate_up: Linear,
    down: Linear,
    after_feed: Option<Tensor>,
}

/// Keys and values of the running sequences.
enum Cache {
    Host(HostCache),
    Device(DeviceCache),
}

/// How weights are kept and computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The type of activations, norms and biases.
    pub compute: DType,
    /// How the linear layers' weights are kept.
    pub precision: Precision,
    /// Attend with candle's operations even on the processor.
    pub tensor_attention: bool,
}

/// A decoder-only transformer over ragged packs of tokens.
pub struct Decoder {
    config: ModelConfig,
    device: Device,
    compute: DType,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    ropes: Vec<RopeTable>,
    cache: Cache,
    stored: Vec<(String, Stored)>,
}

impl Decoder {
    /// Loads the weights.
    ///
    /// # Errors
    /// One sentence (class `permanent`) with the tensor's name when one is
    /// missing or has a wrong shape; the device's failure when it has no room.
    pub fn load(
        config: ModelConfig,
        weights: &Weights,
        layout: Layout,
        device: &Device,
    ) -> std::result::Result<Self, Failure> {
        let loader = Loader {
            config: &config,
            weights,
            layout,
            device,
        };
        let prefix = config.prefix;
        let layers = (0..config.layers.len())
            .into_par_iter()
            .map(|index| loader.layer(index))
            .collect::<std::result::Result<Vec<_>, Failure>>()?;
        let norm = loader.norm(&format!("{prefix}.norm.weight"), config.hidden)?;
        let table_name = format!("{prefix}.embed_tokens.weight");
        let table = weights.tensor(&table_name, &[config.vocab, config.hidden])?;
        let head_name = if prefix == "model" {
            "lm_head.weight"
        } else {
            "language_model.lm_head.weight"
        };
        let tied = config.tied.unwrap_or_else(|| !weights.has(head_name));
        let (head_weights, head_name) = if tied {
            (table.clone(), table_name.as_str())
        } else {
            (
                weights.tensor(head_name, &[config.vocab, config.hidden])?,
                head_name,
            )
        };
        let head = Linear::new(&head_weights, None, layout.precision, device)
            .map_err(|error| loader.failure(head_name, &error))?;
        drop(head_weights);
        let mut stored = Vec::new();
        let embedding = match head.packed() {
            Some(packed) if tied => Embedding::Packed(packed),
            _ => {
                let keep = match layout.precision {
                    Precision::Float(dtype) => dtype,
                    // Look-ups cost nothing: the table stays as it came.
                    _ => table.dtype(),
                };
                let table = table
                    .to_dtype(keep)
                    .and_then(|table| table.to_device(device))
                    .map_err(|error| loader.failure(&table_name, &error))?;
                let count = config.vocab * config.hidden;
                stored.push((
                    table_name.clone(),
                    Stored {
                        kind: float_name(keep),
                        weights: count,
                        bytes: count * keep.size_in_bytes(),
                    },
                ));
                Embedding::Table(table)
            }
        };
        let head_label = if tied && stored.is_empty() {
            table_name
        } else {
            "lm_head.weight".to_owned()
        };
        stored.push((head_label, head.stored().clone()));
        for (index, layer) in layers.iter().enumerate() {
            let parts = [
                ("self_attn.qkv_proj", &layer.qkv),
                ("self_attn.o_proj", &layer.output),
                ("mlp.gate_up_proj", &layer.gate_up),
                ("mlp.down_proj", &layer.down),
            ];
            for (name, linear) in parts {
                let name = format!("{prefix}.layers.{index}.{name}.weight");
                stored.push((name, linear.stored().clone()));
            }
        }
        let ropes = config
            .ropes
            .iter()
            .map(RopeTable::new)
            .collect::<std::result::Result<Vec<_>, String>>()
            .map_err(|message| Failure::new(FailureClass::Permanent, message))?;
        let heads = Heads {
            queries: config.heads,
            keys: config.kv_heads,
            dim: config.head_dim,
        };
        let cache = if device.is_cpu() && !layout.tensor_attention {
            Cache::Host(HostCache::new(heads, config.layers.len()))
        } else {
            Cache::Device(DeviceCache::new(
                heads,
                config.layers.len(),
                layout.compute,
                device.clone(),
            ))
        };
        Ok(Self {
            config,
            device: device.clone(),
            compute: layout.compute,
            embedding,
            layers,
            norm,
            head,
            ropes,
            cache,
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

    /// Makes slots for sequences of these many tokens; the slot of each is its
    /// place in the list.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn begin(&mut self, capacities: &[usize]) -> Result<()> {
        match &mut self.cache {
            Cache::Host(cache) => {
                cache.begin(capacities);
                Ok(())
            }
            Cache::Device(cache) => cache.begin(capacities),
        }
    }

    /// Bytes of keys and values that sequences of these many tokens take.
    pub fn cache_bytes(&self, capacities: &[usize]) -> usize {
        match &self.cache {
            Cache::Host(cache) => cache.bytes(capacities),
            Cache::Device(cache) => cache.bytes(capacities),
        }
    }

    /// Frees a finished sequence's slot. Returns the slot of the sequence that
    /// was moved into it, if one was.
    ///
    /// # Errors
    /// When the device fails.
    pub fn release(&mut self, slot: usize) -> Result<Option<usize>> {
        match &mut self.cache {
            Cache::Host(cache) => {
                cache.release(slot);
                Ok(None)
            }
            Cache::Device(cache) => cache.release(slot).map(Some),
        }
    }

    /// Gives back the memory of all sequences.
    pub fn clear(&mut self) {
        match &mut self.cache {
            Cache::Host(cache) => cache.begin(&[]),
            Cache::Device(cache) => cache.clear(),
        }
    }

    /// Runs all tokens of a pack through the model: the logits `[wanted,
    /// vocab]` of the wanted rows in f32, or `None` when none are wanted.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&mut self, pack: &Pack) -> Result<Option<Tensor>> {
        let half_of = |rope: &super::rope::RopeConfig| rope.dim / 2;
        let rows = pack.rows();
        let ropes: Vec<(usize, Vec<f32>, Vec<f32>)> = self
            .ropes
            .iter_mut()
            .zip(&self.config.ropes)
            .map(|(table, config)| {
                let (cos, sin) = table.rows(pack);
                (half_of(config), cos, sin)
            })
            .collect();
        let rope_tensors = match &self.cache {
            Cache::Host(_) => Vec::new(),
            Cache::Device(_) => ropes
                .iter()
                .map(|(half, cos, sin)| {
                    let tensor = |values: &Vec<f32>| {
                        Tensor::from_slice(values, (rows, *half), &self.device)?
                            .to_dtype(self.compute)
                    };
                    Ok((tensor(cos)?, tensor(sin)?))
                })
                .collect::<Result<Vec<_>>>()?,
        };
        let mut x = self.embed(&pack.tokens)?;
        let wanted = Tensor::from_slice(&pack.wanted, pack.wanted.len(), &self.device)?;
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&self.normed(&x, &layer.attention_norm)?)?;
            let eps = self.config.norm_eps as f32;
            let attended = match &mut self.cache {
                Cache::Host(cache) => {
                    let norms = match &layer.qk_norm {
                        Some((q, k)) => Some((q.to_vec1::<f32>()?, k.to_vec1::<f32>()?)),
                        None => None,
                    };
                    let what = LayerAttention {
                        layer: index,
                        qk_norm: norms.as_ref().map(|(q, k)| (q.as_slice(), k.as_slice())),
                        eps,
                        rope: layer.kind.rope.map(|rope| {
                            let (half, cos, sin) = &ropes[rope];
                            Rope { half: *half, cos, sin }
                        }),
                        scale: self.config.query_scale as f32,
                        softcap: self.config.attention_softcap.map(|cap| cap as f32),
                        window: layer.kind.window,
                    };
                    let out = host::with_f32(&qkv, |qkv| Ok(cache.attend(qkv, pack, &what)))?;
                    let width = self.config.heads * self.config.head_dim;
                    Tensor::from_vec(out, (rows, width), &self.device)?
                }
                Cache::Device(cache) => {
                    let what = LayerTensors {
                        layer: index,
                        qk_norm: layer.qk_norm.as_ref().map(|(q, k)| (q, k)),
                        eps,
                        rope: layer.kind.rope.map(|rope| {
                            let (cos, sin) = &rope_tensors[rope];
                            (cos, sin)
                        }),
                        scale: self.config.query_scale,
                        softcap: self.config.attention_softcap,
                        window: layer.kind.window,
                    };
                    cache.attend(&qkv, pack, &what)?
                }
            };
            let attended = if index == last {
                // Beyond the last layer's keys only wanted rows matter.
                if pack.wanted.is_empty() {
                    return Ok(None);
                }
                x = x.index_select(&wanted, 0)?;
                attended.index_select(&wanted, 0)?
            } else {
                attended
            };
            let mut added = layer.output.forward(&attended)?;
            if let Some(norm) = &layer.after_attention {
                added = self.normed(&added, norm)?;
            }
            x = self.add(&x, added)?;
            let gate_up = layer.gate_up.forward(&self.normed(&x, &layer.feed_norm)?)?;
            let mut added = layer.down.forward(&self.gated(&gate_up)?)?;
            if let Some(norm) = &layer.after_feed {
                added = self.normed(&added, norm)?;
            }
            x = self.add(&x, added)?;
        }
        let logits = self.head.forward(&self.normed(&x, &self.norm)?)?;
        let mut logits = logits.to_dtype(DType::F32)?;
        if self.config.logit_scale != 1.0 {
            logits = (logits * self.config.logit_scale)?;
        }
        if let Some(cap) = self.config.logit_softcap {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(Some(logits))
    }

    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let hidden = self.config.hidden;
        let x = match &self.embedding {
            Embedding::Table(table) => {
                let tokens = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
                table.index_select(&tokens, 0)?.to_dtype(self.compute)?
            }
            Embedding::Packed(packed) => {
                let mut rows = vec![0.0; tokens.len() * hidden];
                for (token, row) in tokens.iter().zip(rows.chunks_exact_mut(hidden)) {
                    packed.copy_row(*token as usize, row);
                }
                Tensor::from_vec(rows, (tokens.len(), hidden), &self.device)?
            }
        };
        if self.config.embedding_scale == 1.0 {
            Ok(x)
        } else {
            x * self.config.embedding_scale
        }
    }

    fn normed(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, weights, self.config.norm_eps as f32)
    }

    fn add(&self, x: &Tensor, added: Tensor) -> Result<Tensor> {
        if self.config.residual_scale == 1.0 {
            x + added
        } else {
            x + (added * self.config.residual_scale)?
        }
    }

    /// `[rows, 2 intermediate]` to `[rows, intermediate]`.
    fn gated(&self, gate_up: &Tensor) -> Result<Tensor> {
        let width = self.config.intermediate;
        if self.config.activation == Activation::Silu
            && self.device.is_cpu()
            && self.compute == DType::F32
        {
            let rows = gate_up.dim(0)?;
            let out = host::with_f32(gate_up, |values| Ok(host::swiglu(values, width)))?;
            return Tensor::from_vec(out, (rows, width), &self.device);
        }
        let gate = gate_up.narrow(1, 0, width)?.contiguous()?;
        let up = gate_up.narrow(1, width, width)?.contiguous()?;
        let gate = match self.config.activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
            Activation::Gelu => gate.gelu_erf()?,
        };
        gate * up
    }
}

/// Turns tensors into layers.
struct Loader<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    layout: Layout,
    device: &'a Device,
}

type Loaded<T> = std::result::Result<T, Failure>;

impl Loader<'_> {
    fn layer(&self, index: usize) -> Loaded<Layer> {
        let config = self.config;
        let name = |part: &str| format!("{}.layers.{index}.{part}", config.prefix);
        let (queries, keys) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let qkv_parts = if config.fused {
            vec![("self_attn.qkv_proj", queries + 2 * keys)]
        } else {
            vec![
                ("self_attn.q_proj", queries),
                ("self_attn.k_proj", keys),
                ("self_attn.v_proj", keys),
            ]
        };
        let gate_up_parts = if config.fused {
            vec![("mlp.gate_up_proj", 2 * config.intermediate)]
        } else {
            vec![
                ("mlp.gate_proj", config.intermediate),
                ("mlp.up_proj", config.intermediate),
            ]
        };
        let full = |parts: Vec<(&str, usize)>| {
            parts
                .into_iter()
                .map(|(part, rows)| (name(part), rows))
                .collect::<Vec<_>>()
        };
        let norm = |part: &str| self.norm(&name(&format!("{part}.weight")), config.hidden);
        let optional = |part: &str| config.post_norms.then(|| norm(part)).transpose();
        let head_norm = |part: &str| self.norm(&name(part), config.head_dim);
        Ok(Layer {
            kind: config.layers[index],
            attention_norm: norm("input_layernorm")?,
            qkv: self.linear(&full(qkv_parts), config.hidden, config.qkv_bias)?,
            qk_norm: if config.qk_norm {
                Some((
                    head_norm("self_attn.q_norm.weight")?,
                    head_norm("self_attn.k_norm.weight")?,
                ))
            } else {
                None
            },
            output: self.linear(
                &full(vec![("self_attn.o_proj", config.hidden)]),
                queries,
                config.output_bias,
            )?,
            after_attention: optional("post_attention_layernorm")?,
            feed_norm: norm(if config.post_norms {
                "pre_feedforward_layernorm"
            } else {
                "post_attention_layernorm"
            })?,
            gate_up: self.linear(&full(gate_up_parts), config.hidden, config.mlp_bias)?,
            down: self.linear(
                &full(vec![("mlp.down_proj", config.hidden)]),
                config.intermediate,
                config.mlp_bias,
            )?,
            after_feed: optional("post_feedforward_layernorm")?,
        })
    }

    /// One linear layer of one or more tensors, one below the other.
    fn linear(&self, parts: &[(String, usize)], inputs: usize, bias: bool) -> Loaded<Linear> {
        let named = |end: &str| {
            parts
                .iter()
                .map(|(name, rows)| (format!("{name}.{end}"), *rows))
                .collect::<Vec<_>>()
        };
        let label = parts.first().map_or("", |(name, _)| name.as_str());
        let weights = self.weights.stacked(&named("weight"), &[inputs])?;
        let bias = if bias {
            let bias = self
                .weights
                .stacked(&named("bias"), &[])?
                .to_dtype(self.layout.compute)
                .and_then(|bias| bias.to_device(self.device))
                .map_err(|error| self.failure(label, &error))?;
            Some(bias)
        } else {
            None
        };
        Linear::new(&weights, bias, self.layout.precision, self.device)
            .map_err(|error| self.failure(label, &error))
    }

    fn norm(&self, name: &str, width: usize) -> Loaded<Tensor> {
        let weights = self.weights.tensor(name, &[width])?;
        let make = || {
            let weights = weights.to_dtype(DType::F32)?;
            let weights = if self.config.norm_plus_one {
                (weights + 1.0)?
            } else {
                weights
            };
            weights.to_dtype(self.layout.compute)?.to_device(self.device)
        };
        make().map_err(|error| self.failure(name, &error))
    }

    fn failure(&self, name: &str, error: &candle_core::Error) -> Failure {
        super::classify::at_load(name, error)
    }
}
