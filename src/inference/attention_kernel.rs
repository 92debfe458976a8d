//! The inner loops of attention, for a few queries of one sequence.

use super::{
    instructions::Instructions,
    lanes::{Kept, LANES, Lanes},
};
use std::ops::Range;

/// Queries that meet the keys of one head of one sequence.
pub struct Part<'a, K> {
    /// Scaled queries, `[count][dim]`.
    pub queries: &'a [f32],
    /// The keys that each query sees; none of them empty.
    pub seen: &'a [Range<usize>],
    /// `[tiles][dim][16]`.
    pub keys: &'a [K],
    /// `[tiles * 16][dim, rounded up to 16]`.
    pub values: &'a [K],
    /// Width of a head.
    pub dim: usize,
    /// Range that scores are squashed into.
    pub softcap: Option<f32>,
    /// What is added to scores by distance.
    pub bias: Option<Bias<'a>>,
}

/// What is added to scores by the distance of key and query, for queries that
/// follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Bias<'a> {
    /// By distance, ascending.
    pub values: &'a [f32],
    /// Where the first query finds its first key's; the next query one before.
    pub start: usize,
}

/// Attends: the results go to `out`, `[count][dim]`.
pub fn run<K: Kept>(
    instructions: Instructions,
    part: &Part<'_, K>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (dim, padded) = (part.dim, part.dim.next_multiple_of(LANES));
    let end = part.seen.iter().map(|seen| seen.end).max().unwrap_or(0);
    let tiles = end.div_ceil(LANES);
    assert!(part.seen.iter().all(|seen| !seen.is_empty()));
    assert!(part.queries.len() == part.seen.len() * dim && out.len() == part.queries.len());
    assert!(part.keys.len() >= tiles * LANES * dim && part.values.len() >= tiles * LANES * padded);
    // SAFETY: the processor has the instructions (they come from
    // `Instructions::available`), and all slices are long enough.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Avx512 => x86::avx512(part, scores, out),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => x86::avx2(part, scores, out),
            Instructions::Portable => run_with::<[f32; LANES], K>(part, scores, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{
        super::lanes::{Kept, Pair},
        Part, run_with,
    };
    use std::arch::x86_64::__m512;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512<K: Kept>(part: &Part<'_, K>, scores: &mut Vec<f32>, out: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe { run_with::<__m512, K>(part, scores, out) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub unsafe fn avx2<K: Kept>(part: &Part<'_, K>, scores: &mut Vec<f32>, out: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe { run_with::<Pair, K>(part, scores, out) }
    }
}

/// # Safety
/// The instructions of L are there, and the slices fit (`run` checks).
#[inline(always)]
unsafe fn run_with<L: Lanes, K: Kept>(part: &Part<'_, K>, scores: &mut Vec<f32>, out: &mut [f32]) {
    let count = part.seen.len();
    let mut start = 0;
    while start < count {
        let left = (count - start).min(L::ROWS);
        // SAFETY: the caller's.
        start += unsafe {
            match left {
                1 => group::<L, K, 1>(part, start, scores, out),
                2 | 3 => group::<L, K, 2>(part, start, scores, out),
                4..8 => group::<L, K, 4>(part, start, scores, out),
                _ => group::<L, K, 8>(part, start, scores, out),
            }
        };
    }
}

/// Attends with N queries from `start` on, and returns N.
///
/// # Safety
/// As for [`run_with`].
#[inline(always)]
unsafe fn group<L: Lanes, K: Kept, const N: usize>(
    part: &Part<'_, K>,
    start: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) -> usize {
    let dim = part.dim;
    let seen = &part.seen[start..start + N];
    let queries: [&[f32]; N] =
        std::array::from_fn(|n| &part.queries[(start + n) * dim..(start + n + 1) * dim]);
    let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
    let first_tile = seen.iter().map(|seen| seen.start).min().unwrap_or(0) / LANES;
    let origin = first_tile * LANES;
    let width = (end.div_ceil(LANES) - first_tile) * LANES;
    scores.resize(N * width, 0.0);
    // SAFETY: the caller's; `scores` holds N rows of `width`.
    unsafe {
        let keys = part.keys.as_ptr().add(origin * dim);
        let mut tile = 0;
        // Few queries leave registers for several tiles at once.
        let wide = L::ROWS / N;
        while tile < width / LANES {
            let left = width / LANES - tile;
            let (keys, to) = (
                keys.add(tile * LANES * dim),
                scores.as_mut_ptr().add(tile * LANES),
            );
            tile += match wide {
                8 if left >= 8 => score::<L, K, N, 8>(&queries, keys, dim, to, width),
                4 | 8 if left >= 4 => score::<L, K, N, 4>(&queries, keys, dim, to, width),
                2 | 4 | 8 if left >= 2 => score::<L, K, N, 2>(&queries, keys, dim, to, width),
                _ => score::<L, K, N, 1>(&queries, keys, dim, to, width),
            };
        }
        let mut factors = [0.0; N];
        for (n, factor) in factors.iter_mut().enumerate() {
            let seen = seen[n].start - origin..seen[n].end - origin;
            let row = &mut scores[n * width..(n + 1) * width];
            if let Some(bias) = part.bias {
                let first = bias.start + origin + seen.start - (start + n);
                let values = &bias.values[first..first + seen.len()];
                for (score, value) in row[seen.clone()].iter_mut().zip(values) {
                    *score += value;
                }
            }
            *factor = 1.0 / soften::<L>(row, seen, part.softcap);
        }
        let padded = dim.next_multiple_of(LANES);
        let values = part.values.as_ptr().add(origin * padded);
        let mixture = Mixture {
            scores: scores.as_ptr(),
            width,
            values,
            padded,
            count: end - origin,
        };
        let mut at = 0;
        while at < dim {
            let out = &mut out[start * dim..(start + N) * dim];
            if padded - at >= 2 * LANES {
                mixture.mix::<L, N, 2>(at, &factors, out, dim);
                at += 2 * LANES;
            } else {
                mixture.mix::<L, N, 1>(at, &factors, out, dim);
                at += LANES;
            }
        }
    }
    N
}

/// Products of N queries with the keys of T tiles; returns T.
///
/// # Safety
/// `keys` holds T tiles, `to` N rows at `width` with room for T tiles each.
// Loops by index over arrays of fixed size stay in registers.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn score<L: Lanes, K: Kept, const N: usize, const T: usize>(
    queries: &[&[f32]; N],
    keys: *const K,
    dim: usize,
    to: *mut f32,
    width: usize,
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[L::splat(0.0); T]; N];
        for d in 0..dim {
            for t in 0..T {
                let keys: L = K::load(keys.add((t * dim + d) * LANES));
                for n in 0..N {
                    let query = L::splat(*queries[n].get_unchecked(d));
                    sums[n][t] = query.multiply_add(keys, sums[n][t]);
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            for (t, sum) in sums.iter().enumerate() {
                sum.store(to.add(n * width + t * LANES));
            }
        }
    }
    T
}

/// Turns scores into weights in place, 0 outside of `seen`, and returns their
/// sum. Sums run in 16 lanes from a multiple of 16, so that they do not depend
/// on where a group of queries begins.
///
/// # Safety
/// As for [`run_with`]; there are whole tiles of scores.
#[inline(always)]
unsafe fn soften<L: Lanes>(scores: &mut [f32], seen: Range<usize>, softcap: Option<f32>) -> f32 {
    if let Some(cap) = softcap {
        for score in &mut scores[seen.clone()] {
            *score = cap * (*score / cap).tanh();
        }
    }
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    // A NaN among the scores is passed over here and spoils the sum.
    let mut highest = [f32::NEG_INFINITY; LANES];
    for tile in scores.chunks_exact(LANES) {
        for (highest, score) in highest.iter_mut().zip(tile) {
            *highest = if *score > *highest { *score } else { *highest };
        }
    }
    let highest = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0.0; LANES];
    // SAFETY: the caller's.
    unsafe {
        let shift = L::splat(-highest);
        let mut sums = L::splat(0.0);
        for tile in scores.chunks_exact_mut(LANES) {
            let weights = L::load(tile.as_ptr()).add(shift).exp();
            weights.store(tile.as_mut_ptr());
            sums = sums.add(weights);
        }
        sums.store(lanes.as_mut_ptr());
    }
    lanes.iter().sum()
}

/// Values weighted by rows of scores.
struct Mixture<K> {
    /// Rows of `width`.
    scores: *const f32,
    width: usize,
    /// Rows of `padded`.
    values: *const K,
    padded: usize,
    /// Keys that count.
    count: usize,
}

impl<K: Kept> Mixture<K> {
    /// Mixes C vectors of the values from `at` on.
    ///
    /// # Safety
    /// As for [`run_with`]; the pointers hold N rows of scores and `count`
    /// rows of values.
    // Loops by index over arrays of fixed size stay in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn mix<L: Lanes, const N: usize, const C: usize>(
        &self,
        at: usize,
        factors: &[f32; N],
        out: &mut [f32],
        dim: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[L::splat(0.0); C]; N];
            for j in 0..self.count {
                let values: [L; C] = std::array::from_fn(|c| {
                    K::load(self.values.add(j * self.padded + at + c * LANES))
                });
                for n in 0..N {
                    let weight = L::splat(*self.scores.add(n * self.width + j));
                    for c in 0..C {
                        sums[n][c] = weight.multiply_add(values[c], sums[n][c]);
                    }
                }
            }
            for n in 0..N {
                for c in 0..C {
                    let mut lanes = [0.0; LANES];
                    sums[n][c].store(lanes.as_mut_ptr());
                    let start = at + c * LANES;
                    let end = dim.min(start + LANES);
                    if start < end {
                        let out = &mut out[n * dim + start..n * dim + end];
                        for (out, lane) in out.iter_mut().zip(lanes) {
                            *out = lane * factors[n];
                        }
                    }
                }
            }
        }
    }
}
