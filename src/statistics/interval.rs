//! Percentile bootstrap intervals (Efron 1979).

use super::{SplitMix64, quantile::middle_95};

/// Resamples behind an interval.
const RESAMPLES: usize = 1_000;
/// Intervals of equal scores are equal, in every run and on every machine.
const SEED: u64 = 0x5eed_0b00_7574_a901;

/// The mean of as many scores as there are, drawn with replacement.
fn drawn_mean(random: &mut SplitMix64, scores: &[f64], bound: u32) -> f64 {
    drawn_sum(random, scores, bound) / scores.len() as f64
}

fn drawn_sum(random: &mut SplitMix64, scores: &[f64], bound: u32) -> f64 {
    let score = |position: u32| scores[position as usize];
    // Two sums, so that one addition need not wait for the other.
    let mut sums = [0.0, 0.0];
    for _ in 0..scores.len() / 2 {
        let [first, second] = random.two_below(bound);
        sums[0] += score(first);
        sums[1] += score(second);
    }
    if scores.len() % 2 == 1 {
        sums[0] += score(random.two_below(bound)[0]);
    }
    sums[0] + sums[1]
}

/// How many of `draws` draws, each a hit with probability `hits` / `draws`,
/// are hits.
///
/// 64 draws at a time: a lane of 64 bits holds one bit of 64 uniform numbers,
/// and comparing them with the probability's binary digits, the least
/// significant first, is an AND or an OR per digit. Its error is below 2^-32.
fn drawn_hits(random: &mut SplitMix64, hits: u32, draws: u32) -> u32 {
    if hits == draws {
        return draws;
    }
    let digits = ((u64::from(hits) << 32) / u64::from(draws)) as u32;
    let mut drawn = 0;
    let mut left = draws;
    while left > 0 {
        let mut lanes = 0_u64;
        for place in digits.trailing_zeros()..32 {
            let bits = random.next_bits();
            lanes = if digits >> place & 1 == 1 {
                lanes | bits
            } else {
                lanes & bits
            };
        }
        let used = left.min(64);
        drawn += (lanes & (u64::MAX >> (64 - used))).count_ones();
        left -= used;
    }
    drawn
}

/// How many scores are 1, where all others are 0: resampling is then tossing
/// coins, which is several times cheaper than drawing scores.
fn hits(scores: &[f64]) -> Option<u32> {
    let mut hits = 0;
    for &score in scores {
        if score == 1.0 {
            hits += 1;
        } else if score != 0.0 {
            return None;
        }
    }
    Some(hits)
}

/// Bounds of the mean by the percentile bootstrap: 95 % of the means of
/// resampled scores lie between them. `None` without scores, and for more than
/// 2^32 of them.
pub fn bootstrap_95(scores: &[f64]) -> Option<[f64; 2]> {
    if scores.is_empty() {
        return None;
    }
    let bound = u32::try_from(scores.len()).ok()?;
    let mut random = SplitMix64::new(SEED);
    let hits = hits(scores);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| match hits {
            Some(hits) => f64::from(drawn_hits(&mut random, hits, bound)) / scores.len() as f64,
            None => drawn_mean(&mut random, scores, bound),
        })
        .collect();
    Some(middle_95(&mut means))
}

/// Bounds of a sum over strata, each resampled for itself: 95 % of the
/// resampled sums lie between them. `None` when no stratum has a value, or one
/// has more than 2^32.
///
/// The mean of several experiments is such a sum: the stratum is the dataset,
/// and a question's value is its share in the mean, over all experiments that
/// answered it. So a question that is hard for all of them counts once.
pub fn stratified_bootstrap_95(strata: &[Vec<f64>]) -> Option<[f64; 2]> {
    let bounds: Vec<u32> = strata
        .iter()
        .map(|values| u32::try_from(values.len()).ok())
        .collect::<Option<_>>()?;
    if bounds.iter().all(|bound| *bound == 0) {
        return None;
    }
    let mut random = SplitMix64::new(SEED);
    let mut sums: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let strata = strata.iter().zip(&bounds);
            strata
                .map(|(values, bound)| drawn_sum(&mut random, values, *bound))
                .sum()
        })
        .collect();
    Some(middle_95(&mut sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tossing_coins_gives_the_spread_of_drawing_scores() {
        for (hits, draws) in [(1, 10), (37, 100), (500, 1_000), (999, 1_000), (3, 4_999)] {
            let mut random = SplitMix64::new(7);
            let rounds = 4_000;
            let counts: Vec<f64> = (0..rounds)
                .map(|_| f64::from(drawn_hits(&mut random, hits, draws)))
                .collect();
            let mean = counts.iter().sum::<f64>() / f64::from(rounds);
            let variance = counts
                .iter()
                .map(|count| (count - mean).powi(2))
                .sum::<f64>()
                / f64::from(rounds);
            let p = f64::from(hits) / f64::from(draws);
            let expected = f64::from(draws) * p * (1.0 - p);
            let error = (expected / f64::from(rounds)).sqrt();
            assert!(
                (mean - f64::from(hits)).abs() < 4.0 * error,
                "{hits}/{draws}: mean {mean}"
            );
            assert!(
                (variance / expected - 1.0).abs() < 0.12,
                "{hits}/{draws}: variance {variance} against {expected}"
            );
        }
    }

    #[test]
    fn all_or_no_hits_have_no_spread() {
        assert_eq!(bootstrap_95(&[1.0; 65]), Some([1.0, 1.0]));
        assert_eq!(bootstrap_95(&[0.0; 65]), Some([0.0, 0.0]));
    }

    #[test]
    fn coins_and_drawn_scores_agree_on_the_interval() {
        let coins: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
        let drawn: Vec<f64> = coins.iter().map(|score| score * 0.5).collect();
        let interval = |scores: &[f64]| bootstrap_95(scores).expect("there are scores");
        let (coins, drawn) = (interval(&coins), interval(&drawn));
        for (coin, draw) in coins.iter().zip(drawn) {
            assert!((coin - 2.0 * draw).abs() < 0.01, "{coins:?} {drawn:?}");
        }
    }
}
