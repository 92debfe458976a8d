use super::{
    super::pack::Pack,
    kernels::{Argument, Kernels, of, of_option, pointer},
    plan::{Plan, Start},
};
use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// What one layer asks of its attention.
pub struct FusedLayer<'a> {
    /// Which layer it is.
    pub layer: usize,
    /// What is added to queries, keys and values, `[(queries + 2 keys) * dim]`.
    pub bias: Option<&'a Tensor>,
    /// Weights of the norms on the heads of queries and keys, `[dim]`.
    pub qk_norm: Option<(&'a Tensor, &'a Tensor)>,
    /// Epsilon of these norms.
    pub eps: f64,
    /// How heads are turned.
    pub rope: Option<FusedRope<'a>>,
    /// Multiplier of scores.
    pub scale: f64,
    /// Range that scores are squashed into.
    pub softcap: Option<f64>,
    /// Keys that a query sees, itself included.
    pub window: Option<usize>,
}

/// How the heads of a pack are turned.
#[derive(Clone, Copy)]
pub struct FusedRope<'a> {
    /// Cosines in f32, `[positions, rotated / 2]`.
    pub cos: &'a Tensor,
    /// Sines.
    pub sin: &'a Tensor,
    /// Which of them each row takes, `[rows]`.
    pub places: &'a Tensor,
}

/// Keys and values of one layer, each `[tokens, key heads, dim]`.
type Layer = (Tensor, Tensor);

/// Keys and values of the running sequences in a GPU's memory, one sequence
/// after the other without padding.
pub struct RaggedCache {
    kernels: Arc<Kernels>,
    device: Device,
    layers: usize,
    /// Where each slot's sequence begins, and the end of the last.
    bases: Vec<usize>,
    all: Vec<Layer>,
    /// What of a finished sequence later ones may begin with.
    kept: Vec<Layer>,
}

impl RaggedCache {
    /// An empty cache.
    pub const fn new(kernels: Arc<Kernels>, layers: usize, device: Device) -> Self {
        Self {
            kernels,
            device,
            layers,
            bases: Vec::new(),
            all: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The kernels.
    pub const fn kernels(&self) -> &Arc<Kernels> {
        &self.kernels
    }

    /// Makes slots for sequences of these many tokens, in this order.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn begin(&mut self, capacities: &[usize]) -> Result<()> {
        self.clear();
        let mut end = 0;
        self.bases.push(end);
        for capacity in capacities {
            end += capacity;
            self.bases.push(end);
        }
        for _ in 0..self.layers {
            self.all.push((self.room(end)?, self.room(end)?));
        }
        Ok(())
    }

    fn room(&self, tokens: usize) -> Result<Tensor> {
        let heads = self.kernels.heads();
        self.kernels.room((tokens.max(1), heads.keys, heads.dim))
    }

    /// Gives the memory of all running sequences back.
    pub fn clear(&mut self) {
        self.all.clear();
        self.bases.clear();
    }

    /// Bytes that sequences of these many tokens take.
    pub fn bytes(&self, capacities: &[usize]) -> usize {
        2 * self.layers * self.token_bytes() * capacities.iter().sum::<usize>()
    }

    fn token_bytes(&self) -> usize {
        let heads = self.kernels.heads();
        heads.keys * heads.dim * self.kernels.dtype().size_in_bytes()
    }

    /// Keeps a finished sequence, in place of the one that was kept before;
    /// false where there is no memory for it.
    pub fn keep(&mut self, slot: usize) -> bool {
        self.kept.clear();
        let (start, end) = (self.bases[slot], self.bases[slot + 1]);
        let part = |from: &Tensor| -> Result<Tensor> {
            let to = self.room(end - start)?;
            let offset = (start * self.token_bytes()) as u64;
            let bytes = (end - start) * self.token_bytes();
            self.kernels
                .copy(pointer(&to)?, pointer(from)? + offset, bytes)?;
            Ok(to)
        };
        let copies: Result<Vec<Layer>> = self
            .all
            .iter()
            .map(|(keys, values)| Ok((part(keys)?, part(values)?)))
            .collect();
        match copies {
            Ok(copies) => {
                self.kept = copies;
                true
            }
            Err(_) => false,
        }
    }

    /// Gives the memory of the kept sequence back.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    /// Plans the attention of a pack.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn plan(&self, pack: &Pack) -> Result<Plan> {
        Plan::new(&self.kernels, pack, &self.bases, &self.device)
    }

    /// Stores the new keys and values and attends: `qkv`
    /// `[rows, (queries + 2 keys) * dim]` to `[rows, queries * dim]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attend(&self, qkv: &Tensor, plan: &Plan, what: &FusedLayer<'_>) -> Result<Tensor> {
        let heads = self.kernels.heads();
        let rows = qkv.dim(0)?;
        let (keys, values) = &self.all[what.layer];
        let query = self.kernels.room((rows, heads.queries * heads.dim))?;
        let half = match what.rope {
            Some(rope) => rope.cos.dim(1)?,
            None => 0,
        };
        self.kernels.launch(
            &self.kernels.place,
            ((rows * (heads.queries + 2 * heads.keys)).div_ceil(4), 1, 1),
            128,
            0,
            &[
                of(qkv)?,
                of_option(what.bias)?,
                of_option(what.qk_norm.map(|(query, _)| query))?,
                of_option(what.qk_norm.map(|(_, key)| key))?,
                Argument::Float(what.eps),
                of_option(what.rope.map(|rope| rope.cos))?,
                of_option(what.rope.map(|rope| rope.sin))?,
                of_option(what.rope.map(|rope| rope.places))?,
                Argument::Int(half),
                of(&plan.places)?,
                of(&query)?,
                of(keys)?,
                of(values)?,
                Argument::Int(rows),
            ],
        )?;
        self.copy_prefixes(plan, what.layer)?;
        #[cfg(feature = "flash-attn")]
        if let Some(flash) = plan.flash.as_ref().filter(|flash| flash.computes(what)) {
            return flash.attend(&self.kernels, &query, (keys, values), what.scale);
        }
        let out = self.kernels.room((rows, heads.queries * heads.dim))?;
        let end = [
            Argument::Float(what.scale),
            Argument::Float(what.softcap.unwrap_or(0.0)),
            Argument::Int(what.window.unwrap_or(0)),
        ];
        if let Some((items, count)) = &plan.by_rows {
            let mut arguments = vec![of(&query)?, of(keys)?, of(values)?, of(&out)?, of(items)?];
            arguments.extend(end);
            self.kernels.launch(
                &self.kernels.attend_by_rows,
                (*count, heads.keys, 1),
                128,
                self.kernels.attention_shared(64),
                &arguments,
            )?;
            if plan.by_keys.is_none() {
                return Ok(out);
            }
        }
        let Some(few) = &plan.by_keys else {
            return Ok(out);
        };
        let (results, sums) = match &few.partial {
            Some((results, sums)) => (Some(results), Some(sums)),
            None => (None, None),
        };
        let mut arguments = vec![of(&query)?, of(keys)?, of(values)?, of(&out)?];
        arguments.extend([of_option(results)?, of_option(sums)?, of(&few.items)?]);
        arguments.extend(end);
        self.kernels.launch(
            &self.kernels.attend_by_keys,
            (few.count, heads.keys, 1),
            128,
            self.kernels.attention_shared(16),
            &arguments,
        )?;
        if let (Some(results), Some(sums)) = (results, sums) {
            self.kernels.launch(
                &self.kernels.combine,
                (few.count / few.parts, heads.keys, 1),
                128,
                0,
                &[
                    of(results)?,
                    of(sums)?,
                    of(&few.items)?,
                    of(&out)?,
                    Argument::Int(few.parts),
                ],
            )?;
        }
        Ok(out)
    }

    /// What the sequences before one have stored, it may begin with.
    fn copy_prefixes(&self, plan: &Plan, layer: usize) -> Result<()> {
        let (keys, values) = &self.all[layer];
        for (to, from, len) in &plan.copies {
            let bytes = len * self.token_bytes();
            let offset = |tokens: usize| (tokens * self.token_bytes()) as u64;
            let sources = match from {
                Start::Cache(start) => [
                    pointer(keys)? + offset(*start),
                    pointer(values)? + offset(*start),
                ],
                Start::Kept => {
                    let (keys, values) = &self.kept[layer];
                    [pointer(keys)?, pointer(values)?]
                }
            };
            for (target, source) in [keys, values].into_iter().zip(sources) {
                self.kernels
                    .copy(pointer(target)? + offset(*to), source, bytes)?;
            }
        }
        Ok(())
    }
}
