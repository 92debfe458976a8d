use super::{
    super::{
        attention::Rope, config::Activation, host, instructions::Instructions, linear::Linear,
        rope::RopeTable,
    },
    attention::{self, EncoderAttention},
    attention_device::{self, LayerOnDevice},
    config::{EncoderConfig, Family, Positions},
    distances::Distances,
    packing::TextPack,
    rows::{self, LayerNorm},
};
use candle_core::{DType, Device, Result, Tensor};

/// A linear layer whose bias is added by whatever comes next.
pub struct Projection {
    /// The weights.
    pub linear: Linear,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

/// A layer norm.
pub struct Norm {
    /// `[hidden]`.
    pub weight: Tensor,
    /// `[hidden]`; zeros where the model has none.
    pub bias: Tensor,
}

/// One layer. BERT's norms come after attention and feed-forward, ModernBERT's
/// before.
pub struct EncoderLayer {
    /// Before attention (ModernBERT, from the second layer on).
    pub attention_norm: Option<Norm>,
    /// Queries, keys and values.
    pub qkv: Projection,
    /// Attention's output.
    pub output: Projection,
    /// After attention, or before the feed-forward block.
    pub middle_norm: Norm,
    /// Up; twice as wide where it is gated.
    pub up: Projection,
    /// Down.
    pub down: Projection,
    /// After the feed-forward block (not ModernBERT).
    pub last_norm: Option<Norm>,
    /// How far a token sees to either side.
    pub reach: Option<usize>,
    /// Which of the rope tables applies.
    pub rope: Option<usize>,
}

/// Tables that tokens are looked up in.
pub struct Embeddings {
    /// `[vocab, hidden]`.
    pub words: Tensor,
    /// `[rows, hidden]`.
    pub positions: Option<Tensor>,
    /// `[segments, hidden]`.
    pub segments: Option<Tensor>,
    /// After the sum.
    pub norm: Norm,
}

/// The layers of an encoder.
pub struct Transformer {
    pub(super) config: EncoderConfig,
    pub(super) device: Device,
    pub(super) compute: DType,
    /// Loops of our own in host memory; else candle's operations.
    pub(super) on_host: bool,
    pub(super) embeddings: Embeddings,
    pub(super) layers: Vec<EncoderLayer>,
    /// After the last layer (ModernBERT).
    pub(super) final_norm: Option<Norm>,
    pub(super) ropes: Vec<RopeTable>,
    pub(super) distances: Option<Distances>,
    pub(super) instructions: Instructions,
}

/// The rotations of a pack: `[rows, half]` cosines and sines.
struct Rotation {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// The same on the device, where attention runs there.
    tensors: Option<(Tensor, Tensor)>,
}

impl Transformer {
    /// The configuration.
    pub const fn config(&self) -> &EncoderConfig {
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

    /// Runs a pack through all layers: the last rows `[rows, hidden]`, or
    /// those that are `wanted` only. `tell` hears after each layer.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(
        &mut self,
        pack: &TextPack,
        wanted: Option<&[u32]>,
        tell: &mut dyn FnMut(),
    ) -> Result<Tensor> {
        let rotations = self.rotations(pack)?;
        let mut x = self.embed(pack)?;
        let last = self.layers.len().saturating_sub(1);
        let wanted = match wanted {
            Some(rows) => Some(Tensor::from_slice(rows, rows.len(), &self.device)?),
            None => None,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let pre = match &layer.attention_norm {
                Some(norm) => self.normed(&x, norm)?,
                None => x.clone(),
            };
            let mut attended = self.attend(layer, &pre, pack, &rotations)?;
            // Beyond the last layer's attention only wanted rows matter.
            if index == last
                && let Some(wanted) = &wanted
            {
                attended = attended.index_select(wanted, 0)?;
                x = x.index_select(wanted, 0)?;
            }
            x = if self.config.family == Family::ModernBert {
                let x = self.added(&layer.output, &attended, &x, None)?;
                let up = self.activated(&layer.up, &self.normed(&x, &layer.middle_norm)?)?;
                self.added(&layer.down, &up, &x, None)?
            } else {
                let x = self.added(&layer.output, &attended, &x, Some(&layer.middle_norm))?;
                let up = self.activated(&layer.up, &x)?;
                self.added(&layer.down, &up, &x, layer.last_norm.as_ref())?
            };
            tell();
        }
        match &self.final_norm {
            Some(norm) => self.normed(&x, norm),
            None => Ok(x),
        }
    }

    fn rotations(&mut self, pack: &TextPack) -> Result<Vec<Rotation>> {
        let rows = pack.pack.rows();
        let half = self.config.head_dim() / 2;
        self.ropes
            .iter_mut()
            .map(|table| {
                let (cos, sin) = table.rows(&pack.pack);
                let tensor = |values: &[f32]| {
                    Tensor::from_slice(values, (rows, half), &self.device)?.to_dtype(self.compute)
                };
                let tensors = match self.on_host {
                    true => None,
                    false => Some((tensor(&cos)?, tensor(&sin)?)),
                };
                Ok(Rotation {
                    half,
                    cos,
                    sin,
                    tensors,
                })
            })
            .collect()
    }

    fn embed(&self, pack: &TextPack) -> Result<Tensor> {
        let rows = pack.pack.rows();
        let look_up = |table: &Tensor, ids: &[u32]| {
            let ids = Tensor::from_slice(ids, rows, &self.device)?;
            table.index_select(&ids, 0)?.to_dtype(self.compute)
        };
        let mut x = look_up(&self.embeddings.words, &pack.pack.tokens)?;
        if let (Some(table), Positions::Table { first, .. }) =
            (&self.embeddings.positions, &self.config.positions)
        {
            let ids: Vec<u32> = pack
                .pack
                .spans
                .iter()
                .flat_map(|span| (*first..*first + span.len).map(|place| place as u32))
                .collect();
            x = (x + look_up(table, &ids)?)?;
        }
        if let Some(table) = &self.embeddings.segments {
            let highest = self.config.segments as u32 - 1;
            let ids: Vec<u32> = pack.segments.iter().map(|id| *id.min(&highest)).collect();
            x = (x + look_up(table, &ids)?)?;
        }
        self.normed(&x, &self.embeddings.norm)
    }

    fn attend(
        &self,
        layer: &EncoderLayer,
        x: &Tensor,
        pack: &TextPack,
        rotations: &[Rotation],
    ) -> Result<Tensor> {
        let config = &self.config;
        let rotation = layer.rope.and_then(|rope| rotations.get(rope));
        let Some(packed) = layer.qkv.linear.packed().filter(|_| self.on_host) else {
            let qkv = biased(&layer.qkv, layer.qkv.linear.forward(x)?)?;
            return attention_device::attend(
                &qkv,
                &pack.pack,
                &LayerOnDevice {
                    heads: config.heads,
                    dim: config.head_dim(),
                    rope: rotation.and_then(|rotation| rotation.tensors.as_ref()),
                    reach: layer.reach,
                    distances: self.distances.as_ref(),
                },
            );
        };
        let qkv = host::with_f32(x, |x| Ok(packed.multiply(x)))?;
        let attended = with_bias(layer.qkv.bias.as_ref(), |bias| {
            let what = EncoderAttention {
                heads: config.heads,
                dim: config.head_dim(),
                bias: (!bias.is_empty()).then_some(bias),
                rope: rotation.map(|rotation| Rope {
                    half: rotation.half,
                    cos: &rotation.cos,
                    sin: &rotation.sin,
                }),
                reach: layer.reach,
                distances: self.distances.as_ref(),
            };
            attention::attend(self.instructions, &qkv, &pack.pack, &what)
        })?;
        Tensor::from_vec(attended, (pack.pack.rows(), config.hidden), &self.device)
    }

    /// `norm(residual + x W^T + b)`.
    pub fn added(
        &self,
        projection: &Projection,
        x: &Tensor,
        residual: &Tensor,
        norm: Option<&Norm>,
    ) -> Result<Tensor> {
        let Some(packed) = projection.linear.packed().filter(|_| self.on_host) else {
            let y = (biased(projection, projection.linear.forward(x)?)? + residual)?;
            return match norm {
                Some(norm) => self.normed(&y, norm),
                None => Ok(y),
            };
        };
        let mut y = host::with_f32(x, |x| Ok(packed.multiply(x)))?;
        let width = packed.outputs();
        with_bias(projection.bias.as_ref(), |bias| {
            host::with_f32(residual, |residual| {
                self.with_norm(norm, |norm| {
                    rows::add_norm(self.instructions, &mut y, width, bias, residual, norm);
                })
            })
        })??;
        Tensor::from_vec(y, residual.shape(), &self.device)
    }

    /// `act(x W^T + b)`, gated where the model gates.
    fn activated(&self, projection: &Projection, x: &Tensor) -> Result<Tensor> {
        let is_gated = self.config.family == Family::ModernBert;
        let activation = self.config.activation;
        let Some(packed) = projection.linear.packed().filter(|_| self.on_host) else {
            let y = biased(projection, projection.linear.forward(x)?)?;
            if !is_gated {
                return activate(&y, activation);
            }
            let width = self.config.intermediate;
            let first = activate(&y.narrow(1, 0, width)?.contiguous()?, activation)?;
            return first * y.narrow(1, width, width)?.contiguous()?;
        };
        let mut y = host::with_f32(x, |x| Ok(packed.multiply(x)))?;
        let width = self.config.intermediate;
        let y = with_bias(projection.bias.as_ref(), |bias| {
            if is_gated {
                rows::gate(self.instructions, &y, width, bias, activation)
            } else {
                rows::activate(self.instructions, &mut y, width, bias, activation);
                std::mem::take(&mut y)
            }
        })?;
        Tensor::from_vec(y, (x.dim(0)?, width), &self.device)
    }

    /// A norm on its own.
    pub fn normed(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        if !self.on_host {
            let eps = self.config.norm_eps as f32;
            return candle_nn::ops::layer_norm(&x.contiguous()?, &norm.weight, &norm.bias, eps);
        }
        let mut y = host::with_f32(x, |x| Ok(x.to_vec()))?;
        let width = self.config.hidden;
        self.with_norm(Some(norm), |norm| {
            rows::add_norm(self.instructions, &mut y, width, &[], &[], norm);
        })?;
        Tensor::from_vec(y, x.shape(), &self.device)
    }

    fn with_norm(&self, norm: Option<&Norm>, f: impl FnOnce(Option<LayerNorm<'_>>)) -> Result<()> {
        let Some(norm) = norm else {
            f(None);
            return Ok(());
        };
        host::with_f32(&norm.weight, |weight| {
            host::with_f32(&norm.bias, |bias| {
                f(Some(LayerNorm {
                    weight,
                    bias,
                    eps: self.config.norm_eps as f32,
                }));
                Ok(())
            })
        })
    }
}

/// Adds a projection's bias.
pub fn biased(projection: &Projection, y: Tensor) -> Result<Tensor> {
    match &projection.bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// A non-linearity by candle's operations.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Silu => x.silu(),
    }
}

/// Hands the values of a bias to `f`; none where there is no bias.
fn with_bias<T>(bias: Option<&Tensor>, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    match bias {
        Some(bias) => host::with_f32(bias, |bias| Ok(f(bias))),
        None => Ok(f(&[])),
    }
}
