//! Attention on the processor over sequences of any lengths.
//!
//! Keys lie in tiles of 16 positions, dimension by dimension, so that a query
//! meets 16 keys per instruction; values lie row by row. Every query's result
//! depends on its own sequence only, down to the last bit.

use super::{
    attention_kernel::{self, Part},
    crew::{self, Shared},
    instructions::Instructions,
    lanes::{Kept, LANES},
    pack::{Pack, Span},
    prefix::{Donor, Prefix},
};
use std::{cell::RefCell, ops::Range};

/// Query rows per task.
const BLOCK: usize = 16;

/// The heads of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub keys: usize,
    /// Width of a head.
    pub dim: usize,
}

/// The rotation of a pack's rows.
#[derive(Debug, Clone, Copy)]
pub struct Rope<'a> {
    /// Half of the rotated dimensions.
    pub half: usize,
    /// `[rows, half]`.
    pub cos: &'a [f32],
    /// `[rows, half]`.
    pub sin: &'a [f32],
}

/// What one layer asks of its attention.
#[derive(Debug, Clone, Copy)]
pub struct LayerAttention<'a> {
    /// Which layer it is.
    pub layer: usize,
    /// Weights of the norms on the heads of queries and keys, `[dim]`.
    pub qk_norm: Option<(&'a [f32], &'a [f32])>,
    /// Epsilon of these norms.
    pub eps: f32,
    /// The rotation of the pack's rows.
    pub rope: Option<Rope<'a>>,
    /// Multiplier of scores.
    pub scale: f32,
    /// Range that scores are squashed into.
    pub softcap: Option<f32>,
    /// Keys that a query sees, itself included.
    pub window: Option<usize>,
}

/// Keys and values of one sequence in one layer.
struct SlotLayer<K> {
    /// `[key heads][tiles][dim][16]`.
    keys: Vec<K>,
    /// `[key heads][tiles * 16][dim, rounded up to 16]`.
    values: Vec<K>,
}

struct Slot<K> {
    tiles: usize,
    layers: Vec<SlotLayer<K>>,
}

/// Keys and values of the running sequences, in host memory, and attention
/// over them.
pub trait HostCache: Send {
    /// Makes slots for sequences of these many tokens, in this order.
    fn begin(&mut self, capacities: &[usize]);

    /// Gives the memory of a finished sequence back.
    fn release(&mut self, slot: usize);

    /// Keeps a finished sequence, in place of the one that was kept before.
    fn keep(&mut self, slot: usize);

    /// Gives the memory of the kept sequence back.
    fn forget(&mut self);

    /// Bytes that sequences of these many tokens take.
    fn bytes(&self, capacities: &[usize]) -> usize;

    /// Bytes of one key or value.
    fn value_bytes(&self) -> usize;

    /// Stores the new keys and values and attends: `qkv`
    /// `[rows, (queries + 2 keys) * dim]` to `[rows, queries * dim]`.
    fn attend(&mut self, qkv: &[f32], pack: &Pack, what: &LayerAttention<'_>) -> Vec<f32>;
}

/// Keys and values kept as `K`; what is computed from them is f32.
pub struct Slots<K> {
    heads: Heads,
    layers: usize,
    slots: Vec<Option<Slot<K>>>,
    /// A finished sequence, for what later ones share with it.
    kept: Option<Slot<K>>,
    instructions: Instructions,
}

impl<K: Kept> Slots<K> {
    /// An empty cache.
    pub fn new(heads: Heads, layers: usize) -> Self {
        Self {
            heads,
            layers,
            slots: Vec::new(),
            kept: None,
            instructions: Instructions::best(),
        }
    }

    /// The same cache, attended by other instructions, which must be
    /// available.
    #[cfg(test)]
    pub fn using(mut self, instructions: Instructions) -> Self {
        self.instructions = instructions;
        self
    }
}

impl<K: Kept> HostCache for Slots<K> {
    fn begin(&mut self, capacities: &[usize]) {
        let padded = self.heads.dim.next_multiple_of(LANES);
        self.slots = capacities
            .iter()
            .map(|capacity| {
                let tiles = capacity.div_ceil(LANES);
                let positions = self.heads.keys * tiles * LANES;
                // Fresh zeros cost no memory until they are touched.
                let layers = (0..self.layers)
                    .map(|_| SlotLayer {
                        keys: K::zeros(positions * self.heads.dim),
                        values: K::zeros(positions * padded),
                    })
                    .collect();
                Some(Slot { tiles, layers })
            })
            .collect();
    }

    fn release(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = None;
        }
    }

    fn keep(&mut self, slot: usize) {
        self.kept = self.slots.get_mut(slot).and_then(Option::take);
    }

    fn forget(&mut self) {
        self.kept = None;
    }

    fn bytes(&self, capacities: &[usize]) -> usize {
        let padded = self.heads.dim.next_multiple_of(LANES);
        let per_token = self.layers * self.heads.keys * (self.heads.dim + padded) * size_of::<K>();
        capacities
            .iter()
            .map(|capacity| capacity.next_multiple_of(LANES) * per_token)
            .sum()
    }

    fn value_bytes(&self) -> usize {
        size_of::<K>()
    }

    fn attend(&mut self, qkv: &[f32], pack: &Pack, what: &LayerAttention<'_>) -> Vec<f32> {
        self.store(qkv, pack, what);
        for span in &pack.spans {
            if let Some(prefix) = span.prefix {
                self.copy(span, prefix, what.layer);
            }
        }
        let Heads { queries, keys, dim } = self.heads;
        let mut out = vec![0.0; pack.rows() * queries * dim];
        let tasks: Vec<Task> = pack
            .spans
            .iter()
            .flat_map(|span| {
                (0..keys).flat_map(move |head| {
                    (0..span.len).step_by(BLOCK).map(move |row| Task {
                        slot: span.slot,
                        head,
                        row: span.start + row,
                        rows: BLOCK.min(span.len - row),
                        position: span.past + row,
                    })
                })
            })
            .collect();
        let shared = Shared(out.as_mut_ptr());
        let attend = |scratch: &mut Scratch, task: &Task| {
            let shared = &shared;
            let Some(slot) = self.slots.get(task.slot).and_then(Option::as_ref) else {
                return;
            };
            self.prepare_queries(qkv, task, what, scratch);
            let layer = &slot.layers[what.layer];
            let positions = slot.tiles * LANES;
            let of_head = |all: &'_ [K], width: usize| {
                let size = positions * width;
                task.head * size..((task.head + 1) * size).min(all.len())
            };
            let padded = dim.next_multiple_of(LANES);
            attention_kernel::run(
                self.instructions,
                &Part {
                    queries: &scratch.queries,
                    seen: &scratch.seen,
                    keys: &layer.keys[of_head(&layer.keys, dim)],
                    values: &layer.values[of_head(&layer.values, padded)],
                    dim,
                    softcap: what.softcap,
                    bias: None,
                },
                &mut scratch.scores,
                &mut scratch.out,
            );
            let group = queries / keys;
            for (index, result) in scratch.out.chunks_exact(dim).enumerate() {
                let (row, head) = (task.row + index / group, task.head * group + index % group);
                // SAFETY: a task alone writes its rows of its heads, and they
                // are inside `out`.
                unsafe {
                    std::slice::from_raw_parts_mut(shared.at((row * queries + head) * dim), dim)
                }
                .copy_from_slice(result);
            }
        };
        crew::each(tasks.len(), |index| {
            SCRATCH.with_borrow_mut(|scratch| attend(scratch, &tasks[index]));
        });
        out
    }
}

impl<K: Kept> Slots<K> {
    /// Copies the keys and values that a sequence begins with. What their
    /// owner brings to the same pass is stored already.
    fn copy(&mut self, span: &Span, prefix: Prefix, layer: usize) {
        let Some(mut to) = self.slots.get_mut(span.slot).and_then(Option::take) else {
            return;
        };
        let from = match prefix.donor {
            Donor::Slot(slot) => self.slots.get(slot).and_then(Option::as_ref),
            Donor::Kept => self.kept.as_ref(),
        };
        if let Some(from) = from {
            let Heads { keys, dim, .. } = self.heads;
            let padded = dim.next_multiple_of(LANES);
            let (old, new) = (&from.layers[layer], &mut to.layers[layer]);
            // The rest of a tile is dimension by dimension, beside keys of
            // the new sequence's own.
            let (whole, rest) = (prefix.len / LANES, prefix.len % LANES);
            for head in 0..keys {
                let (source, target) = (head * from.tiles, head * to.tiles);
                let tile = dim * LANES;
                new.keys[target * tile..(target + whole) * tile]
                    .copy_from_slice(&old.keys[source * tile..(source + whole) * tile]);
                for d in 0..dim {
                    let (a, b) = (
                        (source + whole) * tile + d * LANES,
                        (target + whole) * tile + d * LANES,
                    );
                    if rest > 0 {
                        new.keys[b..b + rest].copy_from_slice(&old.keys[a..a + rest]);
                    }
                }
                let (a, b) = (source * LANES * padded, target * LANES * padded);
                let values = prefix.len * padded;
                new.values[b..b + values].copy_from_slice(&old.values[a..a + values]);
            }
        }
        self.slots[span.slot] = Some(to);
    }

    /// Normalises and rotates the new keys, and keeps them with the values.
    fn store(&mut self, qkv: &[f32], pack: &Pack, what: &LayerAttention<'_>) {
        let Heads { queries, keys, dim } = self.heads;
        let width = (queries + 2 * keys) * dim;
        let padded = dim.next_multiple_of(LANES);
        let mut span_of_slot = vec![None; self.slots.len()];
        for span in &pack.spans {
            if let Some(entry) = span_of_slot.get_mut(span.slot) {
                *entry = Some(*span);
            }
        }
        let keep = |slot: &mut Option<Slot<K>>, span: &Option<Span>| {
            let (Some(slot), Some(span)) = (slot, span) else {
                return;
            };
            let tiles = slot.tiles;
            let layer = &mut slot.layers[what.layer];
            let mut key = vec![0.0; dim];
            for row in span.start..span.start + span.len {
                let position = span.past + row - span.start;
                let line = &qkv[row * width..(row + 1) * width];
                for head in 0..keys {
                    let at = (queries + head) * dim;
                    let norm = what.qk_norm.map(|(_, norm)| norm);
                    prepare(&line[at..at + dim], norm, what, row, 1.0, &mut key);
                    let tile = (head * tiles + position / LANES) * dim * LANES;
                    for (d, value) in key.iter().enumerate() {
                        layer.keys[tile + d * LANES + position % LANES] = K::of(*value);
                    }
                    let at = (queries + keys + head) * dim;
                    let to = (head * tiles * LANES + position) * padded;
                    for (to, value) in layer.values[to..to + dim].iter_mut().zip(&line[at..]) {
                        *to = K::of(*value);
                    }
                }
            }
        };
        if pack.rows() * keys < 64 {
            for (slot, span) in self.slots.iter_mut().zip(&span_of_slot) {
                keep(slot, span);
            }
        } else {
            crew::each_part(&mut self.slots, 1, |index, slot| {
                slot.iter_mut()
                    .for_each(|slot| keep(slot, &span_of_slot[index]));
            });
        }
    }

    fn prepare_queries(
        &self,
        qkv: &[f32],
        task: &Task,
        what: &LayerAttention<'_>,
        scratch: &mut Scratch,
    ) {
        let Heads { queries, keys, dim } = self.heads;
        let group = queries / keys;
        let width = (queries + 2 * keys) * dim;
        let count = task.rows * group;
        scratch.queries.resize(count * dim, 0.0);
        scratch.out.resize(count * dim, 0.0);
        scratch.seen.clear();
        for (index, query) in scratch.queries.chunks_exact_mut(dim).enumerate() {
            let row = task.row + index / group;
            let at = row * width + (task.head * group + index % group) * dim;
            let norm = what.qk_norm.map(|(norm, _)| norm);
            prepare(&qkv[at..at + dim], norm, what, row, what.scale, query);
            let end = task.position + index / group + 1;
            let first = what.window.map_or(0, |window| end.saturating_sub(window));
            scratch.seen.push(first..end);
        }
    }
}

/// Some rows of one sequence, for the queries of one key head.
struct Task {
    slot: usize,
    head: usize,
    row: usize,
    rows: usize,
    position: usize,
}

thread_local! {
    /// Kept, so that a loop of short tasks allocates nothing.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// `[rows * group][dim]`.
    queries: Vec<f32>,
    /// `[rows * group]`.
    seen: Vec<Range<usize>>,
    /// `[group of 8][tiles * 16]`.
    scores: Vec<f32>,
    /// `[rows * group][dim]`.
    out: Vec<f32>,
}

/// Norm, rope and scale of one head.
fn prepare(
    head: &[f32],
    norm: Option<&[f32]>,
    what: &LayerAttention<'_>,
    row: usize,
    scale: f32,
    to: &mut [f32],
) {
    match norm {
        Some(weights) => {
            let square: f32 = head.iter().map(|value| value * value).sum();
            let factor = 1.0 / (square / head.len() as f32 + what.eps).sqrt();
            for ((to, value), weight) in to.iter_mut().zip(head).zip(weights) {
                *to = value * factor * weight;
            }
        }
        None => to.copy_from_slice(head),
    }
    if let Some(Rope { half, cos, sin }) = what.rope {
        let cos = &cos[row * half..(row + 1) * half];
        let sin = &sin[row * half..(row + 1) * half];
        let (low, high) = to.split_at_mut(half);
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (a, b) = (*low, *high);
            *low = a * cos - b * sin;
            *high = b * cos + a * sin;
        }
    }
    if scale != 1.0 {
        to.iter_mut().for_each(|value| *value *= scale);
    }
}
