use super::{
    super::{config::Activation, pack::Pack},
    config::HeadInput,
    transformer::{Norm, Projection, Transformer, activate, biased},
};
use candle_core::{DType, Result, Tensor};

/// What stands between a text's row and the last linear layer.
pub enum HeadKind {
    /// A dense layer and tanh (BERT's pooler; RoBERTa's and MPNet's own).
    Tanh(Projection),
    /// A dense layer, a non-linearity and a norm (ModernBERT).
    ActNorm {
        dense: Projection,
        activation: Activation,
        norm: Norm,
    },
}

/// A sequence-classification head.
pub struct Head {
    pub(super) kind: HeadKind,
    /// `[labels, hidden]`.
    pub(super) last: Projection,
    pub(super) input: HeadInput,
}

impl Head {
    /// Whether it reads the first rows only.
    pub const fn reads_first(&self) -> bool {
        matches!(self.input, HeadInput::First)
    }

    /// Logits `[texts, labels]` in f32 of the encoder's rows: one row per text
    /// where the head reads the first ones, else all.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, model: &Transformer, x: &Tensor, pack: &Pack) -> Result<Tensor> {
        let x = match self.input {
            HeadInput::First => x.clone(),
            HeadInput::Mean => {
                let means = pack
                    .spans
                    .iter()
                    .map(|span| x.narrow(0, span.start, span.len)?.mean(0))
                    .collect::<Result<Vec<_>>>()?;
                Tensor::stack(&means, 0)?
            }
        };
        let dense =
            |projection: &Projection, x: &Tensor| biased(projection, projection.linear.forward(x)?);
        let x = match &self.kind {
            HeadKind::Tanh(projection) => dense(projection, &x)?.tanh()?,
            HeadKind::ActNorm {
                dense: projection,
                activation,
                norm,
            } => {
                let x = activate(&dense(projection, &x)?, *activation)?;
                model.normed(&x, norm)?
            }
        };
        dense(&self.last, &x)?.to_dtype(DType::F32)
    }
}
