use super::{
    super::{
        attention::Heads,
        pack::{Pack, Span},
        prefix::Donor,
    },
    kernels::Kernels,
};
use candle_core::{DType, Device, Result, Tensor};

/// Rows of a tile of a prompt.
const ROWS: usize = 64;
/// Rows of a tile whose keys are shared among warps.
const FEW: usize = 16;
/// Keys are taken so many at a time.
const KEYS: usize = 64;
/// Fewer keys are not worth a block of their own.
const PART: usize = 256;
/// Blocks for each multiprocessor that keep the memory busy.
const BLOCKS: usize = 3;
/// No partial result.
const NONE: u32 = u32::MAX;
/// Numbers of an item.
const ITEM: usize = 8;

/// How the attention of a pack is divided among blocks; the same in every
/// layer.
pub struct Plan {
    /// Where each row's key and value go, `[rows]`.
    pub places: Tensor,
    /// Tiles of 64 rows: their items and how many there are.
    pub by_rows: Option<(Tensor, usize)>,
    /// Tiles of 16 rows.
    pub by_keys: Option<Keys>,
    /// What is copied first: to, from where, and how many tokens.
    pub copies: Vec<(usize, Start, usize)>,
    /// The same pack for the kernels of FlashAttention-2, where it has more
    /// than single rows.
    #[cfg(feature = "flash-attn")]
    pub flash: Option<super::flash::Flash>,
}

/// Tiles whose keys are divided.
pub struct Keys {
    /// The items; the parts of a tile follow each other.
    pub items: Tensor,
    /// How many there are.
    pub count: usize,
    /// Parts of each tile.
    pub parts: usize,
    /// Partial results `[count, key heads, 16, dim]` and their sums, where
    /// there is more than one part.
    pub partial: Option<(Tensor, Tensor)>,
}

/// Where a copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this token of the cache.
    Cache(usize),
    /// At the first token of the sequence that was kept.
    Kept,
}

impl Plan {
    /// Plans a pack; sequences begin at the tokens `bases` of the cache.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn new(kernels: &Kernels, pack: &Pack, bases: &[usize], device: &Device) -> Result<Self> {
        let heads = kernels.heads();
        let group = heads.queries / heads.keys;
        let places: Vec<u32> = pack
            .spans
            .iter()
            .flat_map(|span| (0..span.len).map(|row| (bases[span.slot] + span.past + row) as u32))
            .collect();
        let copies = pack
            .spans
            .iter()
            .filter_map(|span| {
                let prefix = span.prefix?;
                let from = match prefix.donor {
                    Donor::Slot(slot) => Start::Cache(bases[slot]),
                    Donor::Kept => Start::Kept,
                };
                Some((bases[span.slot], from, prefix.len))
            })
            .collect();
        let (few, many): (Vec<&Span>, Vec<&Span>) = pack
            .spans
            .iter()
            .partition(|span| span.len == 1 || span.len * group <= FEW);
        let by_rows = row_items(&many, group, bases);
        let by_rows = match by_rows.len() {
            0 => None,
            count => Some((upload(by_rows, device)?, count)),
        };
        let by_keys = match few.len() {
            0 => None,
            _ => Some(Keys::new(kernels, &few, heads, bases, device)?),
        };
        Ok(Self {
            places: Tensor::from_vec(places, pack.rows(), device)?,
            // A few rows of a sequence are faster where its keys are divided
            // among blocks, as ours are.
            #[cfg(feature = "flash-attn")]
            flash: match by_rows {
                Some(_) => Some(super::flash::Flash::new(&pack.spans, bases, device)?),
                None => None,
            },
            by_rows,
            by_keys,
            copies,
        })
    }
}

impl Keys {
    fn new(
        kernels: &Kernels,
        spans: &[&Span],
        heads: Heads,
        bases: &[usize],
        device: &Device,
    ) -> Result<Self> {
        let group = heads.queries / heads.keys;
        let tiles: usize = spans.iter().map(|s| (s.len * group).div_ceil(FEW)).sum();
        let longest = spans.iter().map(|span| span.past + span.len).max();
        let parts = parts_of(
            kernels.processors * BLOCKS,
            tiles * heads.keys,
            longest.unwrap_or(0),
        );
        let items = key_items(spans, group, bases, parts);
        let count = items.len();
        let partial = if parts > 1 {
            let shape = (count, heads.keys, FEW, heads.dim);
            Some((
                kernels.room_of(shape, DType::F32)?,
                kernels.room_of((count, heads.keys, FEW, 2), DType::F32)?,
            ))
        } else {
            None
        };
        Ok(Self {
            items: upload(items, device)?,
            count,
            parts,
            partial,
        })
    }
}

type Item = [u32; ITEM];

/// Parts that the keys of each tile are divided into, so that about `wanted`
/// blocks are busy.
fn parts_of(wanted: usize, blocks: usize, longest: usize) -> usize {
    (wanted / blocks.max(1)).clamp(1, longest.div_ceil(PART).max(1))
}

fn row_items(spans: &[&Span], group: usize, bases: &[usize]) -> Vec<Item> {
    let mut items: Vec<Item> = spans
        .iter()
        .flat_map(|span| {
            (0..span.len * group)
                .step_by(ROWS)
                .map(|tile| item(span, bases, tile, 0, span.past + span.len, NONE))
        })
        .collect();
    // The longest first: what is left at the end is short.
    items.sort_by_key(|item| std::cmp::Reverse(item[2] as usize + item[4] as usize / group));
    items
}

fn key_items(spans: &[&Span], group: usize, bases: &[usize], parts: usize) -> Vec<Item> {
    let mut items = Vec::new();
    for span in spans {
        let keys = span.past + span.len;
        let each = keys.div_ceil(parts).next_multiple_of(KEYS);
        for tile in (0..span.len * group).step_by(FEW) {
            for part in 0..parts {
                let number = if parts > 1 { items.len() as u32 } else { NONE };
                let range = (part * each).min(keys)..((part + 1) * each).min(keys);
                // An empty part begins nowhere, but at a whole tile.
                let first = range.start.next_multiple_of(KEYS);
                items.push(item(span, bases, tile, first, range.end, number));
            }
        }
    }
    items
}

fn item(span: &Span, bases: &[usize], tile: usize, first: usize, last: usize, part: u32) -> Item {
    [
        span.start as u32,
        span.len as u32,
        span.past as u32,
        bases[span.slot] as u32,
        tile as u32,
        first as u32,
        last as u32,
        part,
    ]
}

fn upload(items: Vec<Item>, device: &Device) -> Result<Tensor> {
    let count = items.len();
    Tensor::from_vec(items.into_flattened(), (count, ITEM), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(slot: usize, past: usize, start: usize, len: usize) -> Span {
        Span {
            slot,
            past,
            start,
            len,
            capacity: past + len,
            prefix: None,
        }
    }

    #[test]
    fn the_parts_of_a_tile_cover_its_keys_once() {
        for past in [0, 63, 64, 255, 1000] {
            for parts in [1, 2, 3, 7] {
                let span = span(0, past, 0, 1);
                let items = key_items(&[&span], 7, &[0], parts);
                assert_eq!(items.len(), parts);
                let mut seen = vec![0; past + 1];
                for [.., first, last, _] in items {
                    assert_eq!(first % KEYS as u32, 0);
                    for key in first..last {
                        seen[key as usize] += 1;
                    }
                }
                assert!(seen.iter().all(|count| *count == 1), "{past} in {parts}");
            }
        }
    }

    #[test]
    fn the_rows_of_a_prompt_are_covered_once_and_the_last_come_first() {
        let spans = [span(0, 0, 0, 50), span(1, 200, 50, 20)];
        let items = row_items(&[&spans[0], &spans[1]], 7, &[0, 100]);
        assert_eq!(items.len(), 6 + 3);
        assert_eq!(items[0][3], 100);
        let tiles: Vec<u32> = items.iter().filter(|i| i[3] == 0).map(|i| i[4]).collect();
        assert_eq!(tiles, [320, 256, 192, 128, 64, 0]);
    }

    #[test]
    fn few_tiles_are_divided_and_many_are_not() {
        assert_eq!(parts_of(396, 256, 1000), 1);
        assert_eq!(parts_of(396, 4, 4000), 16);
        assert_eq!(parts_of(396, 4, 100), 1);
    }
}
