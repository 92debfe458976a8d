use super::{
    attention::{Heads, Slots},
    attention_device::DeviceCache,
    classify,
    config::ModelConfig,
    decoder::{Cache, Decoder, Embedding, Layer},
    gguf::kind_name,
    linear::{Linear, Place, Precision, Stored, float_name},
    rope::RopeTable,
    weight_cache::{Form, WeightCache},
    weights::Weights,
};
use crate::domain::{Failure, FailureClass};
use candle_core::{DType, Device, Tensor};
use half::f16;
use rayon::prelude::*;

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
        cache: Option<WeightCache>,
    ) -> Result<Self, Failure> {
        let heads = Heads {
            queries: config.heads,
            keys: config.kv_heads,
            dim: config.head_dim,
        };
        let place = place(&config, heads, layout, device)
            .map_err(|error| classify::at_load("the kernels", &error))?;
        let loader = Loader {
            config: &config,
            weights,
            layout,
            device,
            place: &place,
            cache,
        };
        let prefix = config.prefix;
        let layers = (0..config.layers.len())
            .into_par_iter()
            .map(|index| loader.layer(index))
            .collect::<Result<Vec<_>, Failure>>()?;
        let norm = loader.norm(&format!("{prefix}.norm.weight"), config.hidden)?;
        let table_name = format!("{prefix}.embed_tokens.weight");
        let head_name = if prefix == "model" {
            "lm_head.weight"
        } else {
            "language_model.lm_head.weight"
        };
        let tied = config.tied.unwrap_or_else(|| !weights.has(head_name));
        let head_name = if tied { &table_name } else { head_name };
        let head = loader.matrix(&[(head_name.to_owned(), config.vocab)], config.hidden, None)?;
        let mut stored = Vec::new();
        let blocks = weights.block_table(&table_name, &[config.vocab, config.hidden])?;
        let embedding = match (head.packed(), blocks) {
            (Some(packed), _) if tied => Embedding::Packed(packed),
            (_, Some(blocks)) => {
                stored.push((
                    table_name.clone(),
                    Stored {
                        kind: kind_name(blocks.kind()).to_owned(),
                        weights: config.vocab * config.hidden,
                        bytes: blocks.bytes(),
                    },
                ));
                Embedding::Blocks(blocks)
            }
            _ if device.is_cpu()
                && layout.precision != Precision::Float(DType::F32)
                && let Some(table) =
                    weights.float_table(&table_name, &[config.vocab, config.hidden])? =>
            {
                let count = config.vocab * config.hidden;
                stored.push((
                    table_name.clone(),
                    Stored {
                        kind: float_name(table.dtype()).to_owned(),
                        weights: count,
                        bytes: count * table.dtype().size_in_bytes(),
                    },
                ));
                Embedding::Floats(table)
            }
            _ => {
                let table = weights.tensor(&table_name, &[config.vocab, config.hidden])?;
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
                        kind: float_name(keep).to_owned(),
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
        if let Some(cache) = loader.cache {
            cache.save();
        }
        let ropes = config
            .ropes
            .iter()
            .map(RopeTable::new)
            .collect::<Result<Vec<_>, String>>()
            .map_err(|message| Failure::new(FailureClass::Permanent, message))?;
        let in_full = stored.iter().all(|(_, stored)| stored.kind == "F32");
        let cache = cache_of(&place, heads, &config, layout, in_full);
        Ok(Self {
            config,
            device: device.clone(),
            compute: layout.compute,
            embedding,
            layers,
            norm,
            head,
            ropes,
            #[cfg(feature = "cuda")]
            angles: super::cuda::Angles::default(),
            cache,
            stored,
        })
    }
}

/// A device with the kernels that we have for it.
#[cfg(feature = "cuda")]
fn place(
    config: &ModelConfig,
    heads: Heads,
    layout: Layout,
    device: &Device,
) -> candle_core::Result<Place> {
    use super::cuda::Kernels;
    let kernels = match device {
        Device::Cuda(cuda)
            if !layout.tensor_attention
                && Kernels::run_on(cuda)
                && Kernels::fit(heads, layout.compute, config.hidden, config.intermediate) =>
        {
            Some(Kernels::new(cuda, heads, layout.compute)?)
        }
        _ => None,
    };
    Ok(Place {
        kernels,
        ..Place::plain(device.clone())
    })
}

/// A device by candle's kernels.
#[cfg(not(feature = "cuda"))]
fn place(_: &ModelConfig, _: Heads, _: Layout, device: &Device) -> candle_core::Result<Place> {
    Ok(Place::plain(device.clone()))
}

/// The cache that the attention of this place wants. On the processor keys and
/// values have the precision of the weights: `in_full` is f32, anything else
/// f16, as in llama.cpp, for half of the memory.
fn cache_of(
    place: &Place,
    heads: Heads,
    config: &ModelConfig,
    layout: Layout,
    in_full: bool,
) -> Cache {
    let layers = config.layers.len();
    #[cfg(feature = "cuda")]
    if let Some(kernels) = &place.kernels {
        let (kernels, device) = (std::sync::Arc::clone(kernels), place.device.clone());
        return Cache::Ragged(super::cuda::RaggedCache::new(kernels, layers, device));
    }
    if place.device.is_cpu() && !layout.tensor_attention {
        return Cache::Host(match in_full {
            true => Box::new(Slots::<f32>::new(heads, layers)),
            false => Box::new(Slots::<f16>::new(heads, layers)),
        });
    }
    let device = place.device.clone();
    Cache::Device(DeviceCache::new(heads, layers, layout.compute, device))
}

/// Turns tensors into layers.
struct Loader<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    layout: Layout,
    device: &'a Device,
    place: &'a Place,
    cache: Option<WeightCache>,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<Layer, Failure> {
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
    fn linear(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Linear, Failure> {
        let named = |end: &str| {
            parts
                .iter()
                .map(|(name, rows)| (format!("{name}.{end}"), *rows))
                .collect::<Vec<_>>()
        };
        let label = parts.first().map_or("", |(name, _)| name.as_str());
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
        self.matrix(&named("weight"), inputs, bias)
    }

    /// A linear layer of these tensors, one below the other, from the cache
    /// where it is there.
    fn matrix(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: Option<Tensor>,
    ) -> Result<Linear, Failure> {
        let label = parts.first().map_or("", |(name, _)| name.as_str());
        let make = |bias| {
            let rows = self.weights.rows(parts, inputs)?;
            let made = Linear::of_rows(rows, bias, self.layout.precision, self.place)
                .map_err(|error| self.failure(label, &error))?;
            self.weights.forget(parts);
            Ok(made)
        };
        let (Some(cache), Some(kind)) = (&self.cache, self.layout.precision.kind(inputs)) else {
            return make(bias);
        };
        let form = Form {
            kind,
            outputs: parts.iter().map(|(_, rows)| rows).sum(),
            inputs,
        };
        let failure = |error| self.failure(label, &error);
        if let Some(kept) = cache.find(label, form) {
            let found = Linear::of_kept(form, kept, bias.clone(), self.place).map_err(failure)?;
            if let Some(layer) = found {
                return Ok(layer);
            }
        }
        let made = make(bias)?;
        if let Some(bytes) = made.to_keep().map_err(failure)? {
            cache.keep(label, form, &bytes);
        }
        Ok(made)
    }

    fn norm(&self, name: &str, width: usize) -> Result<Tensor, Failure> {
        let weights = self.weights.tensor(name, &[width])?;
        let make = || {
            let weights = weights.to_dtype(DType::F32)?;
            let weights = if self.config.norm_plus_one {
                (weights + 1.0)?
            } else {
                weights
            };
            weights
                .to_dtype(self.layout.compute)?
                .to_device(self.device)
        };
        make().map_err(|error| self.failure(name, &error))
    }

    fn failure(&self, name: &str, error: &candle_core::Error) -> Failure {
        classify::at_load(name, error)
    }
}
