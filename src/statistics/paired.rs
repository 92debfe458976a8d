//! Whether experiments differ from another on the questions that both
//! answered.
//!
//! The experiments of a study have seen the same questions, some of them hard
//! for all; only tests on pairs take that into account. A study compares
//! hundreds of experiments with one, so the resamples are drawn once and every
//! experiment is measured on the same ones.

use super::{SplitMix64, quantile::middle_95};
use std::collections::BTreeMap;

/// How much the first of two experiments is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Questions that both have.
    pub n: usize,
    /// Mean of first minus second.
    pub mean: f64,
    /// 95 % of resampled mean differences lie between this ...
    pub low: f64,
    /// ... and this.
    pub high: f64,
    /// Two-sided p of the sign-flip permutation test.
    pub p_value: f64,
}

/// Experiments whose sums are taken at once: the additions of one do not wait
/// for those of another.
const LANES: usize = 8;

/// Resamples whose positions are drawn before they are used for every
/// experiment; they stay in the cache.
const DRAWN_AT_ONCE: usize = 16;

/// For every list of differences (first minus second, one per question) the
/// mean with a percentile bootstrap interval over questions, and a permutation
/// test that flips each question's sign.
///
/// `resamples` counts both. Where there are no more sign patterns than that,
/// all of them are tried and p is exact; else p is (k + 1) / (resamples + 1),
/// k being the patterns at least as extreme (Davison and Hinkley 1997, 4.25).
/// Lists of one length share their resamples, so the same `seed` gives the
/// same numbers whatever else is compared beside. `None` for an empty list,
/// one of more than 2^32, or without resamples.
pub fn paired_differences(
    differences: &[Vec<f64>],
    resamples: usize,
    seed: u64,
) -> Vec<Option<Difference>> {
    let mut results = vec![None; differences.len()];
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, list) in differences.iter().enumerate() {
        by_length.entry(list.len()).or_default().push(position);
    }
    for (n, members) in by_length {
        let Some(bound) = u32::try_from(n).ok().filter(|n| *n > 0 && resamples > 0) else {
            continue;
        };
        let lists: Vec<&[f64]> = members
            .iter()
            .map(|position| differences[*position].as_slice())
            .collect();
        let means = resampled_means(&lists, bound, resamples, seed);
        let signs = Signs::new(n, resamples, seed);
        for ((position, list), mut means) in members.into_iter().zip(lists).zip(means) {
            let [low, high] = middle_95(&mut means);
            results[position] = Some(Difference {
                n,
                mean: list.iter().sum::<f64>() / n as f64,
                low,
                high,
                p_value: signs.p_value(list),
            });
        }
    }
    results
}

/// For every list its mean over each resample.
fn resampled_means(lists: &[&[f64]], n: u32, resamples: usize, seed: u64) -> Vec<Vec<f64>> {
    let length = n as usize;
    // Neighbours in memory are the differences of several experiments to one
    // question: a drawn position is read once for all of them.
    let blocks: Vec<Vec<[f64; LANES]>> = lists
        .chunks(LANES)
        .map(|chunk| {
            let mut block = vec![[0.0; LANES]; length];
            for (lane, list) in chunk.iter().enumerate() {
                for (row, difference) in block.iter_mut().zip(*list) {
                    row[lane] = *difference;
                }
            }
            block
        })
        .collect();
    let mut means = vec![Vec::with_capacity(resamples); lists.len()];
    let mut random = SplitMix64::new(seed);
    let mut drawn = vec![0_u32; length * DRAWN_AT_ONCE];
    let mut left = resamples;
    while left > 0 {
        let now = left.min(DRAWN_AT_ONCE);
        let drawn = &mut drawn[..length * now];
        for positions in drawn.chunks_mut(length) {
            random.fill_below(n, positions);
        }
        for (block, means) in blocks.iter().zip(means.chunks_mut(LANES)) {
            for positions in drawn.chunks(length) {
                let sums = sums(block, positions);
                for (means, sum) in means.iter_mut().zip(sums) {
                    means.push(sum / length as f64);
                }
            }
        }
        left -= now;
    }
    means
}

fn sums(block: &[[f64; LANES]], positions: &[u32]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for position in positions {
        let row = &block[*position as usize];
        for (sum, difference) in sums.iter_mut().zip(row) {
            *sum += difference;
        }
    }
    sums
}

/// Patterns of signs, the same for every experiment.
struct Signs {
    /// 64 signs a word, `words` words a pattern; a set bit turns a sign over.
    patterns: Vec<u64>,
    words: usize,
    /// Whether these are all patterns there are.
    all: bool,
}

/// Signs whose sums are looked up together.
const NIBBLE: usize = 4;

impl Signs {
    fn new(n: usize, resamples: usize, seed: u64) -> Self {
        let words = n.div_ceil(64);
        let number = u32::try_from(n).ok().and_then(|n| 1_u64.checked_shl(n));
        if let Some(number) = number.filter(|number| *number <= resamples as u64) {
            return Self {
                patterns: (0..number).collect(),
                words,
                all: true,
            };
        }
        // A stream of its own: the bootstrap has the other.
        let mut random = SplitMix64::new(!seed);
        Self {
            patterns: (0..resamples * words).map(|_| random.next_bits()).collect(),
            words,
            all: false,
        }
    }

    fn p_value(&self, differences: &[f64]) -> f64 {
        let sum: f64 = differences.iter().sum();
        // Sums in another order differ in the last bits and are still equal.
        let threshold = sum.abs() - 1e-9;
        let tables: Vec<[f64; 1 << NIBBLE]> = differences.chunks(NIBBLE).map(signed_sums).collect();
        let as_extreme = self
            .patterns
            .chunks(self.words)
            .filter(|pattern| flipped_sum(&tables, pattern).abs() >= threshold)
            .count();
        let patterns = self.patterns.len() / self.words;
        if self.all {
            as_extreme as f64 / patterns as f64
        } else {
            // The observed signs are one of the patterns.
            (as_extreme + 1) as f64 / (patterns + 1) as f64
        }
    }
}

/// The sums of a few differences under every pattern of their signs.
fn signed_sums(differences: &[f64]) -> [f64; 1 << NIBBLE] {
    std::array::from_fn(|pattern| {
        let signed = |(bit, difference): (usize, &f64)| match pattern >> bit & 1 {
            0 => *difference,
            _ => -difference,
        };
        differences.iter().enumerate().map(signed).sum()
    })
}

fn flipped_sum(tables: &[[f64; 1 << NIBBLE]], pattern: &[u64]) -> f64 {
    // Four sums, so that one addition need not wait for the other.
    let mut sums = [0.0; 4];
    for (tables, word) in tables.chunks(64 / NIBBLE).zip(pattern) {
        let mut bits = *word;
        for tables in tables.chunks(sums.len()) {
            for (sum, table) in sums.iter_mut().zip(tables) {
                *sum += table[(bits & 15) as usize];
                bits >>= NIBBLE;
            }
        }
    }
    sums.iter().sum()
}
