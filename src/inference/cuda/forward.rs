use super::{
    super::{
        config::Activation,
        decoder::{Cache, Decoder},
        pack::Pack,
    },
    cache::{FusedLayer, FusedRope, RaggedCache},
    kernels::{Argument, Kernels, of, of_option},
};
use candle_core::{DType, Result, Tensor};

/// Fewer positions are not worth a table of their own.
const LEAST_POSITIONS: usize = 4096;

/// Angles of positions on the device.
#[derive(Default)]
pub struct Angles {
    /// How many positions.
    positions: usize,
    /// Cosines and sines of each rope.
    tables: Vec<(Tensor, Tensor)>,
}

impl Decoder {
    /// All layers by our own kernels: the normed state `[wanted, hidden]` of
    /// the wanted rows, or `None` when none are wanted.
    ///
    /// # Errors
    /// When the device fails.
    pub(in super::super) fn forward_fused(
        &self,
        cache: &RaggedCache,
        pack: &Pack,
    ) -> Result<Option<Tensor>> {
        let kernels = cache.kernels();
        let angles = &self.angles;
        let places = self
            .ropes
            .iter()
            .map(|rope| {
                let places = rope.places(pack, angles.positions);
                Tensor::from_vec(places, pack.rows(), &self.device)
            })
            .collect::<Result<Vec<_>>>()?;
        let plan = cache.plan(pack)?;
        let wanted = Tensor::from_slice(&pack.wanted, pack.wanted.len(), &self.device)?;
        let mut x = self.embed(&pack.tokens)?;
        let Some(first) = self.layers.first() else {
            return Ok(None);
        };
        let mut normed = self.normed(&x, &first.attention_norm)?;
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.product(&normed)?;
            let what = FusedLayer {
                layer: index,
                bias: layer.qkv.bias(),
                qk_norm: layer.qk_norm.as_ref().map(|(q, k)| (q, k)),
                eps: self.config.norm_eps,
                rope: layer.kind.rope.map(|rope| {
                    let (cos, sin) = &angles.tables[rope];
                    FusedRope {
                        cos,
                        sin,
                        places: &places[rope],
                    }
                }),
                scale: self.config.query_scale,
                softcap: self.config.attention_softcap,
                window: layer.kind.window,
            };
            let mut attended = cache.attend(&qkv, &plan, &what)?;
            if index == last {
                // Beyond the last layer's keys only wanted rows matter.
                if pack.wanted.is_empty() {
                    return Ok(None);
                }
                x = x.index_select(&wanted, 0)?;
                attended = attended.index_select(&wanted, 0)?;
            }
            let added = layer.output.forward(&attended)?;
            let post = layer.after_attention.as_ref();
            (x, normed) = self.add_norm(kernels, &x, &added, post, &layer.feed_norm)?;
            let gate_up = layer.gate_up.forward(&normed)?;
            let added = layer.down.forward(&self.gated_fused(kernels, &gate_up)?)?;
            let post = layer.after_feed.as_ref();
            let next = self.layers.get(index + 1);
            let next = next.map_or(&self.norm, |layer| &layer.attention_norm);
            (x, normed) = self.add_norm(kernels, &x, &added, post, next)?;
        }
        Ok(Some(normed))
    }

    /// Takes the angles of as many positions to the device as a pack needs.
    ///
    /// # Errors
    /// When the device fails.
    pub(in super::super) fn reach(&mut self, pack: &Pack) -> Result<()> {
        let ends = pack.spans.iter().map(|span| span.past + span.len);
        let needed = ends.max().unwrap_or(0);
        if needed <= self.angles.positions {
            return Ok(());
        }
        let positions = needed.next_power_of_two().max(LEAST_POSITIONS);
        let mut tables = Vec::new();
        for (rope, config) in self.ropes.iter_mut().zip(&self.config.ropes) {
            let half = config.dim / 2;
            let (cos, sin) = rope.table(positions);
            let rows = cos.len().checked_div(half).unwrap_or(0);
            tables.push((
                Tensor::from_vec(cos, (rows, half), &self.device)?,
                Tensor::from_vec(sin, (rows, half), &self.device)?,
            ));
        }
        self.angles = Angles { positions, tables };
        Ok(())
    }

    /// `x + added`, and the norm of the sum.
    fn add_norm(
        &self,
        kernels: &Kernels,
        x: &Tensor,
        added: &Tensor,
        post: Option<&Tensor>,
        weights: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, hidden) = x.dims2()?;
        let (summed, normed) = (kernels.room((rows, hidden))?, kernels.room((rows, hidden))?);
        kernels.launch(
            &kernels.add_norm,
            (rows, 1, 1),
            256,
            hidden * 4,
            &[
                of(x)?,
                of(added)?,
                of_option(post)?,
                of(weights)?,
                of(&summed)?,
                of(&normed)?,
                Argument::Int(hidden),
                Argument::Float(self.config.norm_eps),
                Argument::Float(self.config.residual_scale),
            ],
        )?;
        Ok((summed, normed))
    }

    /// `[rows, 2 intermediate]` to `[rows, intermediate]`.
    fn gated_fused(&self, kernels: &Kernels, gate_up: &Tensor) -> Result<Tensor> {
        let (rows, width) = (gate_up.dim(0)?, self.config.intermediate);
        let out = kernels.room((rows, width))?;
        let kind = match self.config.activation {
            Activation::Silu => 0,
            Activation::GeluTanh => 1,
            Activation::Gelu => 2,
        };
        kernels.launch(
            &kernels.gated,
            ((rows * width / 8).div_ceil(256), 1, 1),
            256,
            0,
            &[
                of(gate_up)?,
                of(&out)?,
                Argument::Int(rows),
                Argument::Int(width),
                Argument::Int(kind),
            ],
        )?;
        Ok(out)
    }

    /// The likeliest token of each row of logits as [`Decoder::forward`] gives
    /// them; `None` where one is not finite.
    pub(in super::super) fn greedy_fused(
        &self,
        cache: &RaggedCache,
        logits: &Tensor,
    ) -> Result<Vec<Option<u32>>> {
        let kernels = cache.kernels();
        let (rows, vocab) = logits.dims2()?;
        let tokens = kernels.room_of(rows, DType::U32)?;
        kernels.launch(
            &kernels.greedy,
            (rows, 1, 1),
            1024,
            0,
            &[of(logits)?, of(&tokens)?, Argument::Int(vocab)],
        )?;
        let tokens = tokens.to_vec1::<u32>()?;
        Ok(tokens
            .into_iter()
            .map(|token| (token != u32::MAX).then_some(token))
            .collect())
    }

    /// The cache, where it is one for our own kernels.
    pub(in super::super) const fn ragged(&self) -> Option<&RaggedCache> {
        match &self.cache {
            Cache::Ragged(cache) => Some(cache),
            _ => None,
        }
    }
}
