use super::{
    super::{
        config::Activation,
        decoder::{Cache, Decoder},
        pack::Pack,
    },
    cache::{FusedLayer, RaggedCache},
    kernels::{Argument, Kernels, of, of_option},
};
use candle_core::{Result, Tensor};

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
        ropes: &[(usize, Vec<f32>, Vec<f32>)],
    ) -> Result<Option<Tensor>> {
        let kernels = cache.kernels();
        let rows = pack.rows();
        let ropes = ropes
            .iter()
            .map(|(half, cos, sin)| {
                let tensor =
                    |values: &Vec<f32>| Tensor::from_slice(values, (rows, *half), &self.device);
                Ok((tensor(cos)?, tensor(sin)?))
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
                    let (cos, sin) = &ropes[rope];
                    (cos, sin)
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

    /// The cache, where it is one for our own kernels.
    pub(in super::super) const fn ragged(&self) -> Option<&RaggedCache> {
        match &self.cache {
            Cache::Ragged(cache) => Some(cache),
            _ => None,
        }
    }
}
