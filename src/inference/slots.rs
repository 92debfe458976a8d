//! Keys and values of the running sequences in host memory.
//!
//! Keys lie in tiles of 16 positions, dimension by dimension, so that a query
//! meets 16 keys per instruction; values lie row by row.

use super::{
    attention::Heads,
    lanes::{Kept, LANES},
};
use std::collections::BTreeMap;

/// Keys and values of one sequence in one layer. Beyond the positions that
/// were stored there is anything.
pub struct SlotLayer<K> {
    /// `[key heads][tiles][dim][16]`.
    pub keys: Vec<K>,
    /// `[key heads][tiles * 16][dim, rounded up to 16]`.
    pub values: Vec<K>,
}

/// Keys and values of one sequence.
pub struct Slot<K> {
    /// Tiles per head.
    pub tiles: usize,
    /// Layer by layer.
    pub layers: Vec<SlotLayer<K>>,
}

impl<K: Kept> Slot<K> {
    /// Room for a sequence of `capacity` tokens.
    pub fn new(heads: Heads, layers: usize, capacity: usize, spare: &mut Spare<K>) -> Self {
        let tiles = capacity.div_ceil(LANES);
        let positions = heads.keys * tiles * LANES;
        let layers = (0..layers)
            .map(|_| SlotLayer {
                keys: spare.take(positions * heads.dim),
                values: spare.take(positions * padded(heads)),
            })
            .collect();
        Self { tiles, layers }
    }

    /// Keeps a key and a value, `[dim]` each.
    pub fn store(
        &mut self,
        heads: Heads,
        layer: usize,
        (head, position): (usize, usize),
        key: &[f32],
        value: &[f32],
    ) {
        let (dim, padded, tiles) = (heads.dim, padded(heads), self.tiles);
        let layer = &mut self.layers[layer];
        let tile = (head * tiles + position / LANES) * dim * LANES;
        let lane = position % LANES;
        let columns = layer.keys[tile..tile + dim * LANES].chunks_exact_mut(LANES);
        for (column, value) in columns.zip(key) {
            column[lane] = K::of(*value);
        }
        let to = (head * tiles * LANES + position) * padded;
        for (to, value) in layer.values[to..to + dim].iter_mut().zip(value) {
            *to = K::of(*value);
        }
    }

    /// Copies the keys and values of the first `len` positions of another
    /// sequence, in one layer.
    pub fn begin_with(&mut self, from: &Self, heads: Heads, len: usize, layer: usize) {
        let (dim, padded) = (heads.dim, padded(heads));
        let (old, new) = (&from.layers[layer], &mut self.layers[layer]);
        // The rest of a tile is dimension by dimension, beside keys of the new
        // sequence's own.
        let (whole, rest) = (len / LANES, len % LANES);
        for head in 0..heads.keys {
            let (source, target) = (head * from.tiles, head * self.tiles);
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
            let values = len * padded;
            new.values[b..b + values].copy_from_slice(&old.values[a..a + values]);
        }
    }

    /// The keys and values of a head in a layer.
    pub fn of_head(&self, heads: Heads, layer: usize, head: usize) -> (&[K], &[K]) {
        let layer = &self.layers[layer];
        let of = |width: usize| {
            let size = self.tiles * LANES * width;
            head * size..(head + 1) * size
        };
        (&layer.keys[of(heads.dim)], &layer.values[of(padded(heads))])
    }

    /// Asks the processor for the keys and values of a head's first positions,
    /// for soon.
    pub fn fetch(&self, heads: Heads, layer: usize, head: usize, positions: usize) {
        if head >= heads.keys {
            return;
        }
        let (keys, values) = self.of_head(heads, layer, head);
        let (tiles, width) = (positions.div_ceil(LANES), padded(heads));
        fetch(&keys[..tiles * LANES * heads.dim]);
        fetch(&values[..positions * width]);
    }
}

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

#[cfg(target_arch = "x86_64")]
fn fetch<K>(values: &[K]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in values.chunks(LINE / size_of::<K>()) {
        // SAFETY: every x86-64 processor has it, and it touches no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch<K>(_: &[K]) {}

/// The width of a value in memory.
fn padded(heads: Heads) -> usize {
    heads.dim.next_multiple_of(LANES)
}

/// Memory of finished sequences for the next ones, which need not fill it
/// with zeros then.
pub struct Spare<K>(BTreeMap<usize, Vec<Vec<K>>>);

impl<K: Kept> Spare<K> {
    /// None yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes a finished sequence's memory.
    pub fn put(&mut self, slot: Slot<K>) {
        for layer in slot.layers {
            for values in [layer.keys, layer.values] {
                self.0.entry(values.len()).or_default().push(values);
            }
        }
    }

    /// So many values, or somewhat more; of whatever was there before.
    fn take(&mut self, count: usize) -> Vec<K> {
        let found = self.0.range_mut(count..=count + count / 4).next();
        if let Some((&len, values)) = found {
            let taken = values.pop();
            if values.is_empty() {
                self.0.remove(&len);
            }
            if let Some(taken) = taken {
                return taken;
            }
        }
        // Fresh zeros cost no memory until they are touched.
        K::zeros(count)
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
