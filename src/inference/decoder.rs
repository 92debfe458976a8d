use super::{
    attention::{HostCache, LayerAttention, Rope},
    attention_device::{DeviceCache, LayerTensors},
    blocks::BlockTable,
    config::{Activation, LayerKind, ModelConfig},
    host,
    linear::{Linear, Stored},
    matrix::PackedMatrix,
    pack::Pack,
    rope::RopeTable,
    sampling::likeliest,
    weights::FloatTable,
};
use candle_core::{DType, Device, Result, Tensor};
use std::sync::Arc;

#[cfg(feature = "cuda")]
use super::cuda::{Angles, RaggedCache};

/// The embedding table.
pub(super) enum Embedding {
    /// `[vocab, hidden]` on the device.
    Table(Tensor),
    /// Shared with the head.
    Packed(Arc<PackedMatrix>),
    /// Quantised rows in the model's file.
    Blocks(BlockTable),
    /// Floats in the model's file.
    Floats(FloatTable),
}

pub(super) struct Layer {
    pub(super) kind: LayerKind,
    pub(super) attention_norm: Tensor,
    pub(super) qkv: Linear,
    pub(super) qk_norm: Option<(Tensor, Tensor)>,
    pub(super) output: Linear,
    pub(super) after_attention: Option<Tensor>,
    pub(super) feed_norm: Tensor,
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
    pub(super) after_feed: Option<Tensor>,
}

/// Keys and values of the running sequences.
pub(super) enum Cache {
    Host(Box<dyn HostCache>),
    Device(DeviceCache),
    #[cfg(feature = "cuda")]
    Ragged(RaggedCache),
}

/// A decoder-only transformer over ragged packs of tokens.
pub struct Decoder {
    pub(super) config: ModelConfig,
    pub(super) device: Device,
    pub(super) compute: DType,
    pub(super) embedding: Embedding,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    pub(super) head: Linear,
    pub(super) ropes: Vec<RopeTable>,
    #[cfg(feature = "cuda")]
    pub(super) angles: Angles,
    pub(super) cache: Cache,
    pub(super) stored: Vec<(String, Stored)>,
}

impl Decoder {
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
            #[cfg(feature = "cuda")]
            Cache::Ragged(cache) => cache.begin(capacities),
        }
    }

    /// Bytes of keys and values that sequences of these many tokens take.
    pub fn cache_bytes(&self, capacities: &[usize]) -> usize {
        match &self.cache {
            Cache::Host(cache) => cache.bytes(capacities),
            Cache::Device(cache) => cache.bytes(capacities),
            #[cfg(feature = "cuda")]
            Cache::Ragged(cache) => cache.bytes(capacities),
        }
    }

    /// Bytes of one key or value.
    pub fn value_bytes(&self) -> usize {
        match &self.cache {
            Cache::Host(cache) => cache.value_bytes(),
            _ => self.compute.size_in_bytes(),
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
            #[cfg(feature = "cuda")]
            Cache::Ragged(_) => Ok(None),
        }
    }

    /// Keeps a finished sequence, so that later ones can begin with what they
    /// share with it, in place of the one that was kept before. False where
    /// the device does not.
    pub fn keep(&mut self, slot: usize) -> bool {
        match &mut self.cache {
            Cache::Host(cache) => {
                cache.keep(slot);
                true
            }
            Cache::Device(_) => false,
            #[cfg(feature = "cuda")]
            Cache::Ragged(cache) => cache.keep(slot),
        }
    }

    /// Gives back the memory of the sequence that was kept.
    pub fn forget(&mut self) {
        match &mut self.cache {
            Cache::Host(cache) => cache.forget(),
            Cache::Device(_) => {}
            #[cfg(feature = "cuda")]
            Cache::Ragged(cache) => cache.forget(),
        }
    }

    /// Gives back the memory of all running sequences.
    pub fn clear(&mut self) {
        match &mut self.cache {
            Cache::Host(cache) => cache.begin(&[]),
            Cache::Device(cache) => cache.clear(),
            #[cfg(feature = "cuda")]
            Cache::Ragged(cache) => cache.clear(),
        }
    }

    /// Runs all tokens of a pack through the model: what the head says of the
    /// wanted rows, `[wanted, vocab]`, or `None` when none are wanted. It is
    /// for [`Decoder::logits`] and [`Decoder::greedy`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&mut self, pack: &Pack) -> Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if self.ragged().is_some() {
            self.reach(pack)?;
        }
        #[cfg(feature = "cuda")]
        if let Some(cache) = self.ragged() {
            return match self.forward_fused(cache, pack)? {
                Some(normed) => self.head.forward(&normed).map(Some),
                None => Ok(None),
            };
        }
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
            _ => Vec::new(),
        };
        let mut x = self.embed(&pack.tokens)?;
        let wanted = Tensor::from_slice(&pack.wanted, pack.wanted.len(), &self.device)?;
        let last = self.layers.len() - 1;
        let mut normed = self.normed(&x, &self.layers[0].attention_norm)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&normed)?;
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
                            Rope {
                                half: *half,
                                cos,
                                sin,
                            }
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
                #[cfg(feature = "cuda")]
                Cache::Ragged(_) => candle_core::bail!("the fused pass was left out"),
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
            (x, normed) = self.add_and_norm(&x, added, &layer.feed_norm)?;
            let gate_up = layer.gate_up.forward(&normed)?;
            let mut added = layer.down.forward(&self.gated(&gate_up)?)?;
            if let Some(norm) = &layer.after_feed {
                added = self.normed(&added, norm)?;
            }
            let next = self.layers.get(index + 1);
            let norm = next.map_or(&self.norm, |next| &next.attention_norm);
            (x, normed) = self.add_and_norm(&x, added, norm)?;
        }
        self.head.forward(&normed).map(Some)
    }

    /// The likeliest token of each row; `None` where a logit is not finite.
    /// Scaling and squashing keep the order, so they are left out.
    ///
    /// # Errors
    /// When the device fails.
    pub fn greedy(&self, said: &Tensor) -> Result<Vec<Option<u32>>> {
        #[cfg(feature = "cuda")]
        if let Some(cache) = self.ragged() {
            return self.greedy_fused(cache, said);
        }
        likeliest(said)
    }

    /// The logits in f32, `[rows, vocab]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, said: &Tensor) -> Result<Tensor> {
        let mut logits = said.to_dtype(DType::F32)?;
        if self.config.logit_scale != 1.0 {
            logits = (logits * self.config.logit_scale)?;
        }
        if let Some(cap) = self.config.logit_softcap {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(logits)
    }

    pub(super) fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
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
            Embedding::Floats(table) => table.rows(tokens, hidden)?.to_dtype(self.compute)?,
            Embedding::Blocks(table) => table
                .rows(tokens, hidden, &self.device)?
                .to_dtype(self.compute)?,
        };
        if self.config.embedding_scale == 1.0 {
            Ok(x)
        } else {
            x * self.config.embedding_scale
        }
    }

    pub(super) fn normed(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let eps = self.config.norm_eps as f32;
        if self.is_on_host() {
            let out = host::with_f32(weights, |weights| {
                host::with_f32(x, |x| Ok(host::rms_norm(x, weights, eps)))
            })?;
            return Tensor::from_vec(out, x.shape(), &self.device);
        }
        candle_nn::ops::rms_norm(&x.contiguous()?, weights, eps)
    }

    /// Whether the loops of our own serve.
    fn is_on_host(&self) -> bool {
        self.device.is_cpu() && self.compute == DType::F32
    }

    /// What is added to `x`, and the norm of it.
    fn add_and_norm(
        &self,
        x: &Tensor,
        added: Tensor,
        weights: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let scale = self.config.residual_scale;
        if self.is_on_host() {
            let eps = self.config.norm_eps as f32;
            let (sums, normed) = host::with_f32(weights, |weights| {
                host::with_f32(x, |x| {
                    host::with_f32(&added, |added| {
                        Ok(host::add_and_norm(x, added, scale as f32, weights, eps))
                    })
                })
            })?;
            let tensor = |values| Tensor::from_vec(values, x.shape(), &self.device);
            return Ok((tensor(sums)?, tensor(normed)?));
        }
        let sums = if scale == 1.0 {
            (x + added)?
        } else {
            (x + (added * scale)?)?
        };
        let normed = self.normed(&sums, weights)?;
        Ok((sums, normed))
    }

    /// `[rows, 2 intermediate]` to `[rows, intermediate]`.
    fn gated(&self, gate_up: &Tensor) -> Result<Tensor> {
        let width = self.config.intermediate;
        if self.config.activation == Activation::Silu && self.is_on_host() {
            let rows = gate_up.dim(0)?;
            let out = host::with_f32(gate_up, |values| Ok(host::swiglu(values, width)))?;
            return Tensor::from_vec(out, (rows, width), &self.device);
        }
        let gate = gate_up.narrow(1, 0, width)?.contiguous()?;
        let up = gate_up.narrow(1, width, width)?.contiguous()?;
        let gate = match self.config.activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gelu_tanh(&gate)?,
            Activation::Gelu => gate.gelu_erf()?,
        };
        gate * up
    }
}

#[cfg(test)]
thread_local! {
    /// Whether GELU is what llama.cpp's table says, which is of f16 and in
    /// f16: with it, what remains between both is rounding in f32.
    pub static LOOKS_GELU_UP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    #[cfg(test)]
    if LOOKS_GELU_UP.get() {
        let halved = |x: &Tensor| x.to_dtype(DType::F16)?.to_dtype(DType::F32);
        return halved(&halved(x)?.gelu()?);
    }
    x.gelu()
}
