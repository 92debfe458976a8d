//! Attention on the processor over sequences of any lengths. Every query's
//! result depends on its own sequence only, down to the last bit.

use super::{
    attention_kernel::{self, Part},
    crew::{self, Shared},
    instructions::Instructions,
    lanes::{Kept, LANES},
    pack::{Pack, Span},
    prefix::{Donor, Prefix},
    slots::{Slot, Spare},
};
use std::{cell::RefCell, ops::Range};

/// Query rows per task.
const BLOCK: usize = 16;

/// Tokens of the sequences that are a task each when all of them bring one
/// row; longer ones are worth a task per head.
const SHORT: usize = 512;

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
    spare: Spare<K>,
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
            spare: Spare::new(),
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
        for slot in self.slots.drain(..).flatten() {
            self.spare.put(slot);
        }
        self.slots = capacities
            .iter()
            .map(|&capacity| {
                Some(Slot::new(
                    self.heads,
                    self.layers,
                    capacity,
                    &mut self.spare,
                ))
            })
            .collect();
        if !capacities.is_empty() {
            self.spare.clear();
        }
    }

    fn release(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot).and_then(Option::take) {
            self.spare.put(slot);
        }
    }

    fn keep(&mut self, slot: usize) {
        let slot = self.slots.get_mut(slot).and_then(Option::take);
        if let Some(old) = std::mem::replace(&mut self.kept, slot) {
            self.spare.put(old);
        }
    }

    fn forget(&mut self) {
        self.kept = None;
        self.spare.clear();
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
        let Heads { queries, keys, dim } = self.heads;
        let mut out = vec![0.0; pack.rows() * queries * dim];
        let layer = Layer {
            heads: self.heads,
            instructions: self.instructions,
            what,
            qkv,
            out: Shared(out.as_mut_ptr()),
        };
        let mut span_of_slot = vec![None; self.slots.len()];
        for span in &pack.spans {
            if let Some(entry) = span_of_slot.get_mut(span.slot) {
                *entry = Some(*span);
            }
        }
        let heads = self.heads;
        let in_slot = |index: usize, slot: &mut [Option<Slot<K>>], is_whole: bool| {
            if let (Some(Some(slot)), Some(span)) = (slot.first_mut(), span_of_slot[index]) {
                layer.store(slot, &span);
                if is_whole {
                    for head in 0..keys {
                        slot.fetch(heads, what.layer, head + 1, span.past);
                        layer.attend(slot, &Task::new(&span, head, 0));
                    }
                }
            }
        };
        if is_one_short_row_each(pack) {
            crew::each_part(&mut self.slots, 1, |index, slot| in_slot(index, slot, true));
            return out;
        }
        if pack.rows() * keys < 64 {
            for (index, slot) in self.slots.chunks_mut(1).enumerate() {
                in_slot(index, slot, false);
            }
        } else {
            crew::each_part(&mut self.slots, 1, |index, slot| {
                in_slot(index, slot, false);
            });
        }
        for span in &pack.spans {
            if let Some(prefix) = span.prefix {
                self.copy(span, prefix, what.layer);
            }
        }
        let tasks: Vec<Task> = pack
            .spans
            .iter()
            .flat_map(|span| {
                (0..keys).flat_map(move |head| {
                    (0..span.len)
                        .step_by(BLOCK)
                        .map(move |row| Task::new(span, head, row))
                })
            })
            .collect();
        crew::each(tasks.len(), |index| {
            let task = &tasks[index];
            if let Some(slot) = self.slots.get(task.slot).and_then(Option::as_ref) {
                layer.attend(slot, task);
            }
        });
        out
    }
}

/// Whether all sequences bring one row and none is long, as where a batch of
/// answers is written. Then what is stored of one is still in the core's cache
/// when it is attended to.
fn is_one_short_row_each(pack: &Pack) -> bool {
    pack.spans.len() >= 2 * crew::size()
        && pack
            .spans
            .iter()
            .all(|span| span.len == 1 && span.prefix.is_none() && span.past < SHORT)
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
            to.begin_with(from, self.heads, prefix.len, layer);
        }
        self.slots[span.slot] = Some(to);
    }
}

/// One layer's attention over a pack.
struct Layer<'a> {
    heads: Heads,
    instructions: Instructions,
    what: &'a LayerAttention<'a>,
    /// `[rows, (queries + 2 keys) * dim]`.
    qkv: &'a [f32],
    /// `[rows, queries * dim]`.
    out: Shared<f32>,
}

impl Layer<'_> {
    /// Normalises and rotates a sequence's new keys, and keeps them with the
    /// values.
    fn store<K: Kept>(&self, slot: &mut Slot<K>, span: &Span) {
        let Heads { queries, keys, dim } = self.heads;
        let width = (queries + 2 * keys) * dim;
        let norm = self.what.qk_norm.map(|(_, norm)| norm);
        SCRATCH.with_borrow_mut(|scratch| {
            let key = &mut scratch.key;
            key.resize(dim, 0.0);
            for row in span.start..span.start + span.len {
                let position = span.past + row - span.start;
                let line = &self.qkv[row * width..(row + 1) * width];
                let of = |head: usize| &line[head * dim..(head + 1) * dim];
                for head in 0..keys {
                    prepare(of(queries + head), norm, self.what, row, 1.0, key);
                    let value = of(queries + keys + head);
                    slot.store(self.heads, self.what.layer, (head, position), key, value);
                }
            }
        });
    }

    fn attend<K: Kept>(&self, slot: &Slot<K>, task: &Task) {
        let Heads { queries, keys, dim } = self.heads;
        let group = queries / keys;
        let (keys, values) = slot.of_head(self.heads, self.what.layer, task.head);
        SCRATCH.with_borrow_mut(|scratch| {
            self.prepare_queries(task, scratch);
            attention_kernel::run(
                self.instructions,
                &Part {
                    queries: &scratch.queries,
                    seen: &scratch.seen,
                    keys,
                    values,
                    dim,
                    softcap: self.what.softcap,
                    bias: None,
                },
                &mut scratch.scores,
                &mut scratch.out,
            );
            for (index, result) in scratch.out.chunks_exact(dim).enumerate() {
                let (row, head) = (task.row + index / group, task.head * group + index % group);
                let at = (row * queries + head) * dim;
                // SAFETY: a task alone writes its rows of its heads, and they
                // are inside `out`.
                unsafe { self.out.part(at..at + dim) }.copy_from_slice(result);
            }
        });
    }

    fn prepare_queries(&self, task: &Task, scratch: &mut Scratch) {
        let Heads { queries, keys, dim } = self.heads;
        let group = queries / keys;
        let width = (queries + 2 * keys) * dim;
        let count = task.rows * group;
        let norm = self.what.qk_norm.map(|(norm, _)| norm);
        scratch.queries.resize(count * dim, 0.0);
        scratch.out.resize(count * dim, 0.0);
        scratch.seen.clear();
        for (index, query) in scratch.queries.chunks_exact_mut(dim).enumerate() {
            let row = task.row + index / group;
            let at = row * width + (task.head * group + index % group) * dim;
            let head = &self.qkv[at..at + dim];
            prepare(head, norm, self.what, row, self.what.scale, query);
            let end = task.position + index / group + 1;
            let window = self.what.window;
            let first = window.map_or(0, |window| end.saturating_sub(window));
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

impl Task {
    /// The rows from `row` of a sequence's on.
    fn new(span: &Span, head: usize, row: usize) -> Self {
        Self {
            slot: span.slot,
            head,
            row: span.start + row,
            rows: BLOCK.min(span.len - row),
            position: span.past + row,
        }
    }
}

thread_local! {
    /// Kept, so that a loop of short tasks allocates nothing.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// `[dim]`.
    key: Vec<f32>,
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
