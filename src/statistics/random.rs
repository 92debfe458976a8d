/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same forever.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The numbers that belong to a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Two numbers below `bound`, from one step; their bias is below
    /// `bound` / 2^32.
    pub(super) fn two_below(&mut self, bound: u32) -> [u32; 2] {
        let bits = self.next_bits();
        [bits >> 32, bits & 0xffff_ffff].map(|half| ((half * u64::from(bound)) >> 32) as u32)
    }

    /// As many positions below `bound` as there is room for.
    pub(super) fn fill_below(&mut self, bound: u32, positions: &mut [u32]) {
        for pair in positions.chunks_mut(2) {
            let drawn = self.two_below(bound);
            pair.copy_from_slice(&drawn[..pair.len()]);
        }
    }
}
