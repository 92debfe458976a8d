//! Attention in both directions by candle's operations, as GPUs run it.

use super::{super::pack::Pack, distances::Distances};
use candle_core::{Device, Result, Tensor};

/// Query rows whose scores are computed at once.
const ROWS: usize = 1024;

/// Far below any score: a key that is not seen. Finite, so that no
/// arithmetic makes a NaN of it.
const UNSEEN: f32 = -1e4;

/// What one layer asks of its attention.
pub struct LayerOnDevice<'a> {
    /// Heads of queries, keys and values alike.
    pub heads: usize,
    /// Width of a head.
    pub dim: usize,
    /// Cosines and sines of the pack's rows, `[rows, dim / 2]`.
    pub rope: Option<&'a (Tensor, Tensor)>,
    /// How far a token sees to either side.
    pub reach: Option<usize>,
    /// Biases on scores by distance.
    pub distances: Option<&'a Distances>,
}

/// Attends: `qkv` `[rows, 3 * heads * dim]`, bias included, to
/// `[rows, heads * dim]`. Neighbours of one length are one product.
///
/// # Errors
/// When the device fails.
pub fn attend(qkv: &Tensor, pack: &Pack, what: &LayerOnDevice<'_>) -> Result<Tensor> {
    let mut parts = Vec::new();
    let mut spans = pack.spans.as_slice();
    while let Some(first) = spans.first() {
        let count = spans.iter().take_while(|s| s.len == first.len).count();
        parts.push(of_one_length(qkv, first.start, count, first.len, what)?);
        spans = &spans[count..];
    }
    match parts.as_slice() {
        [one] => Ok(one.clone()),
        many => Tensor::cat(many, 0),
    }
}

/// `count` texts of `len` tokens from row `start` on.
fn of_one_length(
    qkv: &Tensor,
    start: usize,
    count: usize,
    len: usize,
    what: &LayerOnDevice<'_>,
) -> Result<Tensor> {
    let LayerOnDevice { heads, dim, .. } = *what;
    let qkv = qkv.narrow(0, start, count * len)?;
    let heads_of = |which: usize| {
        qkv.narrow(1, which * heads * dim, heads * dim)?
            .reshape((count, len, heads, dim))?
            .transpose(1, 2)?
            .contiguous()
    };
    let (mut queries, mut keys, values) = (heads_of(0)?, heads_of(1)?, heads_of(2)?);
    if let Some((cos, sin)) = what.rope {
        // The texts begin anew each: the first one's rotations are all theirs.
        let (cos, sin) = (cos.narrow(0, start, len)?, sin.narrow(0, start, len)?);
        queries = candle_nn::rotary_emb::rope(&queries, &cos.contiguous()?, &sin.contiguous()?)?;
        keys = candle_nn::rotary_emb::rope(&keys, &cos.contiguous()?, &sin.contiguous()?)?;
    }
    let queries = (queries * (1.0 / (dim as f64).sqrt()))?;
    let keys = keys.transpose(2, 3)?.contiguous()?;
    let mut parts = Vec::new();
    for from in (0..len).step_by(ROWS) {
        let rows = ROWS.min(len - from);
        let mut scores = queries.narrow(2, from, rows)?.contiguous()?.matmul(&keys)?;
        if let Some(added) = added(from, rows, len, what, qkv.device())? {
            scores = scores.broadcast_add(&added.to_dtype(scores.dtype())?)?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        parts.push(weights.matmul(&values)?);
    }
    let mixed = match parts.as_slice() {
        [one] => one.clone(),
        many => Tensor::cat(many, 2)?,
    };
    mixed
        .transpose(1, 2)?
        .contiguous()?
        .reshape((count * len, heads * dim))
}

/// What is added to the scores of the queries `from..from + rows`: biases by
/// distance and the edge of what is seen, `[1, heads or 1, rows, len]`.
fn added(
    from: usize,
    rows: usize,
    len: usize,
    what: &LayerOnDevice<'_>,
    device: &Device,
) -> Result<Option<Tensor>> {
    let heads = match (what.distances, what.reach) {
        (Some(_), _) => what.heads,
        (None, Some(reach)) if reach + 1 < len => 1,
        _ => return Ok(None),
    };
    let mut values = Vec::with_capacity(heads * rows * len);
    for head in 0..heads {
        for query in from..from + rows {
            let seen = |key: usize| what.reach.is_none_or(|reach| query.abs_diff(key) <= reach);
            values.extend((0..len).map(|key| match what.distances {
                _ if !seen(key) => UNSEEN,
                Some(distances) => distances.of_head(head)[distances.zero() + key - query],
                None => 0.0,
            }));
        }
    }
    Tensor::from_vec(values, (1, heads, rows, len), device).map(Some)
}
