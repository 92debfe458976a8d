//! Attention in both directions over the texts of a pack, on the processor.
//!
//! Every text's result depends on its own tokens only, down to the last bit.

use super::{
    super::{
        attention::Rope,
        attention_kernel::{self, Bias, Part},
        instructions::Instructions,
        lanes::LANES,
        pack::{Pack, Span},
    },
    distances::Distances,
};
use rayon::prelude::*;
use std::ops::Range;

/// What one layer asks of its attention.
#[derive(Clone, Copy)]
pub struct EncoderAttention<'a> {
    /// Heads of queries, keys and values alike.
    pub heads: usize,
    /// Width of a head.
    pub dim: usize,
    /// Bias of queries, keys and values, `[3 * heads * dim]`.
    pub bias: Option<&'a [f32]>,
    /// The rotation of the pack's rows.
    pub rope: Option<Rope<'a>>,
    /// How far a token sees to either side.
    pub reach: Option<usize>,
    /// Biases on scores by distance.
    pub distances: Option<&'a Distances>,
}

/// Attends: `qkv` `[rows, 3 * heads * dim]` to `[rows, heads * dim]`.
pub fn attend(
    instructions: Instructions,
    qkv: &[f32],
    pack: &Pack,
    what: &EncoderAttention<'_>,
) -> Vec<f32> {
    let EncoderAttention { heads, dim, .. } = *what;
    let tasks: Vec<(Span, usize)> = pack
        .spans
        .iter()
        .flat_map(|span| (0..heads).map(move |head| (*span, head)))
        .collect();
    let parts: Vec<Vec<f32>> = tasks
        .par_iter()
        .map_init(Scratch::default, |scratch, (span, head)| {
            one_head(instructions, qkv, *span, *head, what, scratch)
        })
        .collect();
    let mut out = vec![0.0; pack.rows() * heads * dim];
    for ((span, head), part) in tasks.iter().zip(&parts) {
        for (row, result) in part.chunks_exact(dim).enumerate() {
            let at = ((span.start + row) * heads + head) * dim;
            out[at..at + dim].copy_from_slice(result);
        }
    }
    out
}

#[derive(Default)]
struct Scratch {
    /// `[len][dim]`.
    queries: Vec<f32>,
    /// `[tiles][dim][16]`.
    keys: Vec<f32>,
    /// `[tiles * 16][dim, rounded up to 16]`.
    values: Vec<f32>,
    /// `[len]`.
    seen: Vec<Range<usize>>,
    /// `[group of 8][tiles * 16]`.
    scores: Vec<f32>,
    /// `[dim]`.
    row: Vec<f32>,
}

/// Attends within one text for one head: `[len, dim]`.
fn one_head(
    instructions: Instructions,
    qkv: &[f32],
    span: Span,
    head: usize,
    what: &EncoderAttention<'_>,
    scratch: &mut Scratch,
) -> Vec<f32> {
    let EncoderAttention { heads, dim, .. } = *what;
    let (hidden, padded) = (heads * dim, dim.next_multiple_of(LANES));
    let places = span.len.next_multiple_of(LANES);
    // What older texts left beyond this one is never looked at.
    scratch.queries.resize(span.len * dim, 0.0);
    scratch.keys.resize(places * dim, 0.0);
    scratch.values.resize(places * padded, 0.0);
    scratch.row.resize(dim, 0.0);
    scratch.seen.clear();
    let scale = 1.0 / (dim as f32).sqrt();
    for place in 0..span.len {
        let row = span.start + place;
        let line = &qkv[row * 3 * hidden..(row + 1) * 3 * hidden];
        let part = |which: usize| {
            let at = which * hidden + head * dim;
            (
                &line[at..at + dim],
                what.bias.map(|bias| &bias[at..at + dim]),
            )
        };
        let query = &mut scratch.queries[place * dim..(place + 1) * dim];
        take(part(0), query);
        rotate(what.rope, row, query);
        query.iter_mut().for_each(|value| *value *= scale);
        take(part(1), &mut scratch.row);
        rotate(what.rope, row, &mut scratch.row);
        let tile = place / LANES * dim * LANES + place % LANES;
        for (d, value) in scratch.row.iter().enumerate() {
            scratch.keys[tile + d * LANES] = *value;
        }
        take(part(2), &mut scratch.values[place * padded..][..dim]);
        scratch.seen.push(match what.reach {
            Some(reach) => place.saturating_sub(reach)..span.len.min(place + reach + 1),
            None => 0..span.len,
        });
    }
    let mut out = vec![0.0; span.len * dim];
    attention_kernel::run(
        instructions,
        &Part {
            queries: &scratch.queries,
            seen: &scratch.seen,
            keys: &scratch.keys,
            values: &scratch.values,
            dim,
            softcap: None,
            bias: what.distances.map(|distances| Bias {
                values: distances.of_head(head),
                start: distances.zero(),
            }),
        },
        &mut scratch.scores,
        &mut out,
    );
    out
}

fn take((from, bias): (&[f32], Option<&[f32]>), to: &mut [f32]) {
    to.copy_from_slice(from);
    if let Some(bias) = bias {
        to.iter_mut().zip(bias).for_each(|(to, bias)| *to += bias);
    }
}

fn rotate(rope: Option<Rope<'_>>, row: usize, head: &mut [f32]) {
    let Some(Rope { half, cos, sin }) = rope else {
        return;
    };
    let cos = &cos[row * half..(row + 1) * half];
    let sin = &sin[row * half..(row + 1) * half];
    let (low, high) = head.split_at_mut(half);
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b) = (*low, *high);
        *low = a * cos - b * sin;
        *high = b * cos + a * sin;
    }
}
