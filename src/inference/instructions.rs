/// The vector instructions that a kernel is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// 512 bits, with sums of products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256 bits, with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler may assume.
    Portable,
}

impl Instructions {
    /// All that this processor has, the best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
                && std::arch::is_x86_feature_detected!("f16c");
            let has_avx512 = has_avx2
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512vl");
            if has_avx512 && std::arch::is_x86_feature_detected!("avx512vnni") {
                found.push(Self::Avx512Vnni);
            }
            if has_avx512 {
                found.push(Self::Avx512);
            }
            if has_avx2 {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::available().first().copied().unwrap_or(Self::Portable)
    }
}
