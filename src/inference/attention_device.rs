//! Attention by candle's tensor operations, for GPUs.
//!
//! Decoding is one batched matmul over all sequences; prompts go one by one,
//! in blocks of queries, so that scores never fill the memory.

use super::{attention::Heads, pack::Pack, prefix::Donor};
use candle_core::{D, DType, Device, Result, Tensor};

/// Query rows per block of a prompt.
const BLOCK: usize = 512;

/// The finite stand-in for minus infinity: a softmax over a row of true
/// infinities would be NaN.
const MASKED: f32 = -1e30;

/// What one layer asks of its attention, as tensors.
pub struct LayerTensors<'a> {
    /// Which layer it is.
    pub layer: usize,
    /// Weights of the norms on the heads of queries and keys, `[dim]`.
    pub qk_norm: Option<(&'a Tensor, &'a Tensor)>,
    /// Epsilon of these norms.
    pub eps: f32,
    /// Cosines and sines of the pack's rows, `[rows, rotated / 2]`.
    pub rope: Option<(&'a Tensor, &'a Tensor)>,
    /// Multiplier of scores.
    pub scale: f64,
    /// Range that scores are squashed into.
    pub softcap: Option<f64>,
    /// Keys that a query sees, itself included.
    pub window: Option<usize>,
}

/// Keys and values of the running sequences, in device memory. Running
/// sequences fill the first slots without gaps.
pub struct DeviceCache {
    heads: Heads,
    layers: usize,
    dtype: DType,
    device: Device,
    capacity: usize,
    used: usize,
    /// Per layer, `[slots, key heads, capacity, dim]`.
    keys: Vec<Tensor>,
    values: Vec<Tensor>,
}

impl DeviceCache {
    /// An empty cache.
    pub const fn new(heads: Heads, layers: usize, dtype: DType, device: Device) -> Self {
        Self {
            heads,
            layers,
            dtype,
            device,
            capacity: 0,
            used: 0,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Makes slots for sequences of these many tokens, in this order.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn begin(&mut self, capacities: &[usize]) -> Result<()> {
        self.clear();
        self.capacity = capacities.iter().copied().max().unwrap_or(0);
        self.used = capacities.len();
        let shape = (self.used, self.heads.keys, self.capacity, self.heads.dim);
        for _ in 0..self.layers {
            self.keys
                .push(Tensor::zeros(shape, self.dtype, &self.device)?);
            self.values
                .push(Tensor::zeros(shape, self.dtype, &self.device)?);
        }
        Ok(())
    }

    /// Gives all memory back.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.used = 0;
    }

    /// Bytes that sequences of these many tokens take.
    pub fn bytes(&self, capacities: &[usize]) -> usize {
        let longest = capacities.iter().copied().max().unwrap_or(0);
        2 * self.layers
            * self.heads.keys
            * self.heads.dim
            * self.dtype.size_in_bytes()
            * longest
            * capacities.len()
    }

    /// Frees a slot by moving the last sequence into it; returns the slot that
    /// the last sequence had.
    ///
    /// # Errors
    /// When the device fails.
    pub fn release(&mut self, slot: usize) -> Result<usize> {
        let last = self.used - 1;
        if slot != last {
            for tensor in self.keys.iter().chain(&self.values) {
                let moved = tensor.narrow(0, last, 1)?.force_contiguous()?;
                tensor.slice_set(&moved, 0, slot)?;
            }
        }
        self.used = last;
        Ok(last)
    }

    /// Stores the new keys and values and attends: `qkv`
    /// `[rows, (queries + 2 keys) * dim]` to `[rows, queries * dim]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attend(&self, qkv: &Tensor, pack: &Pack, what: &LayerTensors<'_>) -> Result<Tensor> {
        let Heads { queries, keys, dim } = self.heads;
        let rows = pack.rows();
        let part = |start: usize, heads: usize| {
            qkv.narrow(1, start * dim, heads * dim)?
                .reshape((rows, heads, dim))?
                .contiguous()
        };
        let query = self.prepare(part(0, queries)?, what.qk_norm.map(|(q, _)| q), what)?;
        let query = (query * what.scale)?;
        let key = self.prepare(part(queries, keys)?, what.qk_norm.map(|(_, k)| k), what)?;
        let value = part(queries + keys, keys)?;
        let decodes = pack
            .spans
            .iter()
            .enumerate()
            .all(|(index, span)| span.len == 1 && span.slot == index && span.prefix.is_none())
            && pack.spans.len() == self.used;
        if decodes {
            self.decode(&query, &key, &value, pack, what)
        } else {
            self.prefill(&query, &key, &value, pack, what)
        }
    }

    fn prepare(&self, x: Tensor, norm: Option<&Tensor>, what: &LayerTensors<'_>) -> Result<Tensor> {
        let x = match norm {
            Some(weights) => candle_nn::ops::rms_norm(&x, weights, what.eps)?,
            None => x,
        };
        let Some((cos, sin)) = what.rope else {
            return Ok(x);
        };
        let dim = self.heads.dim;
        let rotated = cos.dim(1)? * 2;
        if rotated == dim {
            return candle_nn::rotary_emb::rope_thd(&x.unsqueeze(0)?, cos, sin)?.squeeze(0);
        }
        let turned = x.narrow(2, 0, rotated)?.contiguous()?.unsqueeze(0)?;
        let turned = candle_nn::rotary_emb::rope_thd(&turned, cos, sin)?.squeeze(0)?;
        Tensor::cat(&[&turned, &x.narrow(2, rotated, dim - rotated)?], 2)
    }

    /// One new token of every running sequence.
    fn decode(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        pack: &Pack,
        what: &LayerTensors<'_>,
    ) -> Result<Tensor> {
        let Heads { queries, keys, dim } = self.heads;
        let (count, group) = (pack.spans.len(), queries / keys);
        let (all_keys, all_values) = (&self.keys[what.layer], &self.values[what.layer]);
        let places: Vec<u32> = pack
            .spans
            .iter()
            .flat_map(|span| {
                (0..keys)
                    .map(move |head| ((span.slot * keys + head) * self.capacity + span.past) as u32)
            })
            .collect();
        let places = Tensor::from_vec(places, (count * keys, 1), &self.device)?
            .broadcast_as((count * keys, dim))?
            .contiguous()?;
        let flat = |cache: &Tensor| cache.flatten(0, 2);
        flat(all_keys)?.scatter_set(&places, &key.reshape((count * keys, dim))?, 0)?;
        flat(all_values)?.scatter_set(&places, &value.reshape((count * keys, dim))?, 0)?;
        let length = pack
            .spans
            .iter()
            .map(|span| span.past + 1)
            .max()
            .unwrap_or(0);
        let mask: Vec<f32> = pack
            .spans
            .iter()
            .flat_map(|span| {
                let first = what.window.map_or(0, |w| (span.past + 1).saturating_sub(w));
                (0..length).map(move |position| {
                    if (first..=span.past).contains(&position) {
                        0.0
                    } else {
                        MASKED
                    }
                })
            })
            .collect();
        let mask = Tensor::from_vec(mask, (count, 1, 1, length), &self.device)?;
        let seen = |cache: &Tensor| cache.narrow(0, 0, count)?.narrow(2, 0, length);
        let query = query.reshape((count, keys, group, dim))?;
        self.mix(&query, &seen(all_keys)?, &seen(all_values)?, &mask, what)?
            .reshape((count, queries * dim))
    }

    /// Tokens of prompts.
    fn prefill(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        pack: &Pack,
        what: &LayerTensors<'_>,
    ) -> Result<Tensor> {
        let Heads { queries, keys, dim } = self.heads;
        let group = queries / keys;
        let (all_keys, all_values) = (&self.keys[what.layer], &self.values[what.layer]);
        let mut results = Vec::new();
        for span in &pack.spans {
            let heads_first = |x: &Tensor| {
                x.narrow(0, span.start, span.len)?
                    .transpose(0, 1)?
                    .unsqueeze(0)?
                    .contiguous()
            };
            let slot = |cache: &Tensor| cache.narrow(0, span.slot, 1);
            // The sequences before this one have stored what they bring.
            if let Some(prefix) = span.prefix
                && let Donor::Slot(donor) = prefix.donor
            {
                for cache in [all_keys, all_values] {
                    let shared = cache.narrow(0, donor, 1)?.narrow(2, 0, prefix.len)?;
                    slot(cache)?.slice_set(&shared.force_contiguous()?, 2, 0)?;
                }
            }
            slot(all_keys)?.slice_set(&heads_first(key)?, 2, span.past)?;
            slot(all_values)?.slice_set(&heads_first(value)?, 2, span.past)?;
            for start in (0..span.len).step_by(BLOCK) {
                let rows = BLOCK.min(span.len - start);
                let length = span.past + start + rows;
                let mask: Vec<f32> = (0..rows)
                    .flat_map(|row| {
                        let position = span.past + start + row;
                        let first = what.window.map_or(0, |w| (position + 1).saturating_sub(w));
                        (0..length).map(move |at| {
                            if (first..=position).contains(&at) {
                                0.0
                            } else {
                                MASKED
                            }
                        })
                    })
                    .collect();
                let mask = Tensor::from_vec(mask, (1, 1, rows, length), &self.device)?;
                // [rows, keys, group, dim] to [keys, group * rows, dim].
                let query = query
                    .narrow(0, span.start + start, rows)?
                    .reshape((rows, keys, group, dim))?
                    .permute((1, 2, 0, 3))?
                    .contiguous()?;
                let seen = |cache: &Tensor| slot(cache)?.squeeze(0)?.narrow(1, 0, length);
                let mixed =
                    self.mix_grouped(&query, &seen(all_keys)?, &seen(all_values)?, &mask, what)?;
                results.push(
                    mixed
                        .permute((2, 0, 1, 3))?
                        .reshape((rows, queries * dim))?,
                );
            }
        }
        Tensor::cat(&results, 0)
    }

    /// `query [n, keys, group, dim]` over `[n, keys, length, dim]`.
    fn mix(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: &Tensor,
        what: &LayerTensors<'_>,
    ) -> Result<Tensor> {
        let scores = query.matmul(&keys.t()?)?.to_dtype(DType::F32)?;
        let weights = soften(&scores, mask, what)?.to_dtype(self.dtype)?;
        weights.matmul(values)
    }

    /// `query [keys, group, rows, dim]` over `[keys, length, dim]`.
    fn mix_grouped(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: &Tensor,
        what: &LayerTensors<'_>,
    ) -> Result<Tensor> {
        let (heads, group, rows, dim) = query.dims4()?;
        let length = keys.dim(1)?;
        let query = query.reshape((heads, group * rows, dim))?;
        let scores = query
            .matmul(&keys.t()?)?
            .to_dtype(DType::F32)?
            .reshape((heads, group, rows, length))?;
        soften(&scores, mask, what)?
            .to_dtype(self.dtype)?
            .reshape((heads, group * rows, length))?
            .matmul(values)?
            .reshape((heads, group, rows, dim))
    }
}

fn soften(scores: &Tensor, mask: &Tensor, what: &LayerTensors<'_>) -> Result<Tensor> {
    let scores = match what.softcap {
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
        None => scores.clone(),
    };
    let scores = scores.broadcast_add(mask)?;
    debug_assert_eq!(scores.dim(D::Minus1)?, mask.dim(D::Minus1)?);
    candle_nn::ops::softmax_last_dim(&scores)
}
