//! Whether two experiments differ on the questions that both answered.
//!
//! Two experiments of a study have seen the same questions, some of them hard
//! for both; only tests on pairs take that into account.

use std::collections::HashMap;

/// The scores of two experiments on the questions that both have, in the
/// order of the first.
pub fn paired_scores(first: &[(usize, f64)], second: &[(usize, f64)]) -> Vec<(f64, f64)> {
    let second: HashMap<usize, f64> = second.iter().copied().collect();
    first
        .iter()
        .filter_map(|(idx, score)| Some((*score, *second.get(idx)?)))
        .collect()
}

/// How much the first of two experiments is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Questions that both have.
    pub n: usize,
    /// Mean of first minus second.
    pub mean: f64,
    /// 95 % of resampled mean differences are above this.
    pub low: f64,
    /// And below this.
    pub high: f64,
    /// Two-sided p of the sign-flip permutation test.
    pub p_value: f64,
}

/// The mean difference with a bootstrap interval over questions (percentiles)
/// and a permutation test that flips each question's sign. `resamples` counts
/// both; the same `seed` gives the same numbers everywhere. `None` without
/// pairs or resamples.
pub fn paired_difference(pairs: &[(f64, f64)], resamples: usize, seed: u64) -> Option<Difference> {
    let differences: Vec<f64> = pairs.iter().map(|(first, second)| first - second).collect();
    let n = differences.len();
    if n == 0 || resamples == 0 {
        return None;
    }
    let sum: f64 = differences.iter().sum();
    let mut random = SplitMix64(seed);
    let mut means: Vec<f64> = Vec::with_capacity(resamples);
    // The observed order is one of the permutations.
    let mut as_extreme = 1_usize;
    // Sums in another order differ in the last bits and are still equal.
    let threshold = sum.abs() - 1e-9;
    for _ in 0..resamples {
        let mut resampled = 0.0;
        for _ in 0..n {
            resampled += differences[random.below(n)];
        }
        means.push(resampled / n as f64);
        let mut flipped = 0.0;
        for signs in differences.chunks(64) {
            let mut bits = random.next();
            for difference in signs {
                flipped += if bits & 1 == 0 {
                    *difference
                } else {
                    -difference
                };
                bits >>= 1;
            }
        }
        if f64::abs(flipped) >= threshold {
            as_extreme += 1;
        }
    }
    means.sort_by(f64::total_cmp);
    Some(Difference {
        n,
        mean: sum / n as f64,
        low: quantile(&means, 0.025),
        high: quantile(&means, 0.975),
        p_value: as_extreme as f64 / (resamples + 1) as f64,
    })
}

/// McNemar's exact test on right and wrong answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// Questions that only the first has right.
    pub only_first: usize,
    /// Questions that only the second has right.
    pub only_second: usize,
    /// Two-sided exact (binomial) p; 1 when they never differ.
    pub p_value: f64,
}

/// Compares right and wrong answers; a score of at least one half is right.
pub fn mcnemar_exact(pairs: &[(f64, f64)]) -> McNemar {
    let count = |wanted: (bool, bool)| {
        let is_right = |pair: &&(f64, f64)| (pair.0 >= 0.5, pair.1 >= 0.5) == wanted;
        pairs.iter().filter(is_right).count()
    };
    let (only_first, only_second) = (count((true, false)), count((false, true)));
    let n = only_first + only_second;
    // Binomial coefficients overflow beyond a thousand; their logarithms do not.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=only_first.min(only_second) {
        tail += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    McNemar {
        only_first,
        only_second,
        p_value: (2.0 * tail).min(1.0),
    }
}

/// Holm's correction: the p-values, in their order, adjusted for their number.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, position) in order.into_iter().enumerate() {
        let scaled = p_values[position] * (p_values.len() - rank) as f64;
        largest = largest.max(scaled).min(1.0);
        adjusted[position] = largest;
    }
    adjusted
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same forever.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// A quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor();
    let low = sorted[below as usize];
    let high = sorted[position.ceil() as usize];
    low + (high - low) * (position - below)
}
