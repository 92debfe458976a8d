use half::{f16, vec::HalfBitsVecExt};

/// Floats per [`Lanes`].
pub const LANES: usize = 16;

/// Sixteen floats in vector registers.
///
/// # Safety
/// Every function needs the instructions of the type that implements it, and
/// the pointers must be good for 16 floats.
pub trait Lanes: Copy {
    /// Rows that a kernel may keep in registers at once.
    const ROWS: usize;

    /// The same value everywhere.
    unsafe fn splat(value: f32) -> Self;
    /// Reads 16 floats.
    unsafe fn load(from: *const f32) -> Self;
    /// Reads 16 floats of half precision.
    unsafe fn load_half(from: *const f16) -> Self;
    /// Writes 16 floats.
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + addend`.
    unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self;
    /// `exp(self)`; 0 for minus infinity, NaN for NaN.
    unsafe fn exp(self) -> Self;

    /// `self + other`.
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { self.multiply_add(Self::splat(1.0), other) }
    }
}

/// A float that may lie in memory in fewer bits than it is computed in.
pub trait Kept: Copy + Send + Sync + 'static {
    /// So many zeros, which cost no memory until they are touched.
    fn zeros(count: usize) -> Vec<Self>;

    /// The nearest one; for a larger number the largest there is.
    fn of(value: f32) -> Self;

    /// Reads 16.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const Self) -> L;
}

impl Kept for f32 {
    fn zeros(count: usize) -> Vec<Self> {
        vec![0.0; count]
    }

    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: the caller's.
        unsafe { L::load(from) }
    }
}

impl Kept for f16 {
    fn zeros(count: usize) -> Vec<Self> {
        vec![0_u16; count].reinterpret_into()
    }

    #[inline(always)]
    fn of(value: f32) -> Self {
        let largest = const { Self::MAX.to_f32_const() };
        // What is no number stays none, so that the model's failure shows.
        Self::from_f32(match value.is_finite() {
            true => value.clamp(-largest, largest),
            false => value,
        })
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: the caller's.
        unsafe { L::load_half(from) }
    }
}

/// Coefficients of the polynomial for `exp(r)`, the highest power first.
const POLYNOMIAL: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// ln 2 in two parts, so that subtracting multiples of it is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Below this, `exp` is 0.
const LOWEST: f32 = -87.3;

/// Above this, `exp` stops growing.
const HIGHEST: f32 = 88.3;

/// `exp` of one float, by the same polynomial as [`Lanes::exp`]: about 2 ulp.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(LOWEST, HIGHEST);
    // Adding and subtracting 1.5 * 2^23 rounds to a whole number.
    let n = (clamped * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (clamped - n * LN_2[0]) - n * LN_2[1];
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * r + coefficient;
    }
    let value = (p * r * r + r + 1.0) * f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < LOWEST { 0.0 } else { value }
}

impl Lanes for [f32; LANES] {
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // SAFETY: the caller's.
        unsafe { from.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + addend[lane])
    }

    #[inline(always)]
    unsafe fn exp(self) -> Self {
        self.map(exp)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{HIGHEST, LN_2, LOWEST, Lanes, POLYNOMIAL};
    use half::f16;
    use std::arch::x86_64::{
        __m256, __m512, _CMP_NLT_UQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128,
        _mm256_add_epi32, _mm256_and_ps, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtph_ps,
        _mm256_cvtps_epi32, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
        _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_round_ps, _mm256_set1_epi32,
        _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm512_cvtph_ps, _mm512_fmadd_ps,
        _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
        _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    // SAFETY of all blocks: the callers promise the instructions and good
    // pointers.
    impl Lanes for __m512 {
        const ROWS: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_half(from: *const f16) -> Self {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, factor, addend) }
        }

        #[inline(always)]
        unsafe fn exp(self) -> Self {
            unsafe {
                // The second operand wins where one is NaN. Scaling by 2^n
                // underflows to 0 by itself.
                let x = _mm512_max_ps(_mm512_set1_ps(-110.0), self);
                let x = _mm512_min_ps(_mm512_set1_ps(HIGHEST), x);
                let n = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E));
                let n = _mm512_roundscale_ps::<0>(n);
                let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[0]), x);
                let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[1]), r);
                let mut p = _mm512_set1_ps(POLYNOMIAL[0]);
                for coefficient in &POLYNOMIAL[1..] {
                    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*coefficient));
                }
                let one = _mm512_set1_ps(1.0);
                let value = _mm512_fmadd_ps(_mm512_fmadd_ps(p, r, one), r, one);
                _mm512_scalef_ps(value, n)
            }
        }
    }

    /// Sixteen floats in two registers of eight.
    #[derive(Clone, Copy)]
    pub struct Pair(__m256, __m256);

    #[inline(always)]
    unsafe fn exp_half(input: __m256) -> __m256 {
        unsafe {
            let lowest = _mm256_set1_ps(LOWEST);
            let x = _mm256_max_ps(lowest, input);
            let x = _mm256_min_ps(_mm256_set1_ps(HIGHEST), x);
            let n = _mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(n);
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[0]), x);
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[1]), r);
            let mut p = _mm256_set1_ps(POLYNOMIAL[0]);
            for coefficient in &POLYNOMIAL[1..] {
                p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(*coefficient));
            }
            let one = _mm256_set1_ps(1.0);
            let value = _mm256_fmadd_ps(_mm256_fmadd_ps(p, r, one), r, one);
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            // Not below the lowest, or not a number.
            let keep = _mm256_cmp_ps::<_CMP_NLT_UQ>(input, lowest);
            _mm256_and_ps(_mm256_mul_ps(value, power), keep)
        }
    }

    impl Lanes for Pair {
        const ROWS: usize = 4;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }

        #[inline(always)]
        unsafe fn load_half(from: *const f16) -> Self {
            unsafe {
                let eight = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(from.add(at).cast()));
                Self(eight(0), eight(8))
            }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }

        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, addend: Self) -> Self {
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, factor.0, addend.0),
                    _mm256_fmadd_ps(self.1, factor.1, addend.1),
                )
            }
        }

        #[inline(always)]
        unsafe fn exp(self) -> Self {
            unsafe { Self(exp_half(self.0), exp_half(self.1)) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Pair;
