//! How sure a mean is.

/// Resamples behind an interval.
const RESAMPLES: usize = 1_000;
/// Intervals of equal scores are equal, in every run and on every machine.
const SEED: u64 = 0x5eed_0b00_7574_a901;

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

    /// Two numbers below `bound`, from one step; their bias is below
    /// `bound` / 2^32.
    fn two_below(&mut self, bound: u32) -> [usize; 2] {
        let bits = self.next();
        [bits >> 32, bits & 0xffff_ffff].map(|half| ((half * u64::from(bound)) >> 32) as usize)
    }
}

/// Bounds of the mean by the percentile bootstrap: 95 % of the means of
/// resampled scores lie between them. `None` without scores, and for more than
/// 2^32 of them.
pub(super) fn bootstrap_95(scores: &[f64]) -> Option<[f64; 2]> {
    if scores.is_empty() {
        return None;
    }
    let bound = u32::try_from(scores.len()).ok()?;
    let mut random = SplitMix64(SEED);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            // Two sums, so that one addition need not wait for the other.
            let mut sums = [0.0, 0.0];
            for _ in 0..scores.len() / 2 {
                let [first, second] = random.two_below(bound);
                sums[0] += scores[first];
                sums[1] += scores[second];
            }
            if scores.len() % 2 == 1 {
                sums[0] += scores[random.two_below(bound)[0]];
            }
            (sums[0] + sums[1]) / scores.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some([quantile(&means, 0.025), quantile(&means, 0.975)])
}

/// A quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor();
    let low = sorted[below as usize];
    let high = sorted[position.ceil() as usize];
    low + (high - low) * (position - below)
}
