//! The inner loops: tiles of rows times some blocks of a panel.

use super::{
    super::instructions::Instructions,
    activations::{ROWS, Tile},
    kind::{BLOCK, Form, PANEL},
};

/// Some blocks of a panel, unpacked.
pub struct Chunk<'a> {
    /// How many blocks.
    pub blocks: usize,
    /// `[blocks * 8][outputs][4]`; of nibbles `[blocks * 4][outputs][4]`.
    pub codes: &'a [u8],
    /// Codes are nibbles still: the low ones of a line, then the high ones.
    /// Only [`takes_nibbles`] tells whether they may be.
    pub nibbles: bool,
    /// `[blocks][outputs]`, twice as many for halves.
    pub scales: &'a [f32],
    /// Minima with their sign, `[blocks][outputs]`, or empty.
    pub minima: &'a [f32],
}

/// Bytes of the codes of a block.
const CODES: usize = PANEL * BLOCK;

/// Whether the kernel can take codes as nibbles, which saves unpacking them
/// for a single tile of rows.
pub fn takes_nibbles(instructions: Instructions) -> bool {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni => true,
        _ => false,
    }
}

/// Adds the products of a tile with a chunk to `results`, `[rows][outputs]`.
pub fn run(
    instructions: Instructions,
    form: Form,
    tile: &Tile<'_>,
    chunk: &Chunk<'_>,
    results: &mut [f32],
) {
    let blocks = chunk.blocks;
    let (halves, with_minima) = (form == Form::Halves, form == Form::Minimum);
    let groups = if halves { 2 * blocks } else { blocks };
    assert!(
        (1..=ROWS).contains(&tile.rows)
            && chunk.codes.len() == blocks * CODES / if chunk.nibbles { 2 } else { 1 }
            && (!chunk.nibbles || (takes_nibbles(instructions) && !halves && form != Form::Wide))
            && chunk.scales.len() >= groups * PANEL
            && (!with_minima || chunk.minima.len() >= blocks * PANEL)
            && tile.bytes.len() == blocks * BLOCK * tile.rows
            && tile.scales.len() == blocks * tile.rows
            && (with_minima || tile.corrections.len() == groups * tile.rows)
            && (!with_minima || tile.sums.len() == blocks * tile.rows)
            && results.len() == tile.rows * PANEL
    );
    match instructions {
        // SAFETY: the processor has the instructions (they come from
        // `Instructions::available`), and the slices are long enough.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni => unsafe {
            match (form, chunk.nibbles) {
                (Form::Wide | Form::Narrow, false) => {
                    avx512::run::<PLAIN, false>(tile, chunk, results);
                }
                (Form::Minimum, false) => avx512::run::<MINIMUM, false>(tile, chunk, results),
                (Form::Halves, _) => avx512::run::<HALVES, false>(tile, chunk, results),
                (Form::Wide | Form::Narrow, true) => {
                    avx512::run::<PLAIN, true>(tile, chunk, results);
                }
                (Form::Minimum, true) => avx512::run::<MINIMUM, true>(tile, chunk, results),
            }
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx2 => unsafe {
            match form {
                Form::Wide => avx2::run::<WIDE>(tile, chunk, results),
                Form::Narrow => avx2::run::<PLAIN>(tile, chunk, results),
                Form::Halves => avx2::run::<HALVES>(tile, chunk, results),
                Form::Minimum => avx2::run::<MINIMUM>(tile, chunk, results),
            }
        },
        Instructions::Portable => portable(form, tile, chunk, results),
    }
}

/// Forms as constants: codes with an offset that a correction makes up for.
#[cfg(target_arch = "x86_64")]
const PLAIN: u8 = 0;
/// The same with groups of 16 inputs.
#[cfg(target_arch = "x86_64")]
const HALVES: u8 = 1;
/// Codes without an offset, and a minimum.
#[cfg(target_arch = "x86_64")]
const MINIMUM: u8 = 2;
/// Codes of 8 bits.
#[cfg(target_arch = "x86_64")]
const WIDE: u8 = 3;

fn portable(form: Form, tile: &Tile<'_>, chunk: &Chunk<'_>, results: &mut [f32]) {
    let steps = if form == Form::Halves { 4 } else { 8 };
    let n = tile.rows;
    for (group, codes) in chunk.codes.chunks_exact(steps * 4 * PANEL).enumerate() {
        let block = group * steps / 8;
        let scales = &chunk.scales[group * PANEL..(group + 1) * PANEL];
        for (r, results) in results.chunks_exact_mut(PANEL).enumerate() {
            let mut sums = match form {
                Form::Minimum => [0; PANEL],
                _ => [tile.corrections[group * n + r]; PANEL],
            };
            for (step, line) in codes.chunks_exact(4 * PANEL).enumerate() {
                let at = ((group * steps + step) * n + r) * 4;
                let x: [i32; 4] = std::array::from_fn(|k| i32::from(tile.bytes[at + k]));
                for (sum, code) in sums.iter_mut().zip(line.chunks_exact(4)) {
                    for (code, x) in code.iter().zip(x) {
                        *sum += i32::from(*code) * x;
                    }
                }
            }
            let scale = tile.scales[block * n + r];
            for ((result, sum), weight) in results.iter_mut().zip(sums).zip(scales) {
                *result += sum as f32 * (scale * weight);
            }
            if form == Form::Minimum {
                let minima = &chunk.minima[block * PANEL..(block + 1) * PANEL];
                let sum = tile.sums[block * n + r];
                for (result, minimum) in results.iter_mut().zip(minima) {
                    *result += sum * minimum;
                }
            }
        }
    }
}

// Loops by index over arrays of fixed size stay in registers.
#[allow(clippy::needless_range_loop)]
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Chunk, HALVES, MINIMUM, PANEL, Tile};
    use std::arch::x86_64::{
        __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16,
        _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub unsafe fn run<const FORM: u8, const NIBBLES: bool>(
        tile: &Tile<'_>,
        chunk: &Chunk<'_>,
        results: &mut [f32],
    ) {
        // SAFETY: the caller checked the lengths.
        unsafe {
            match tile.rows {
                1 => multiply::<1, FORM, NIBBLES>(tile, chunk, results),
                2 => multiply::<2, FORM, NIBBLES>(tile, chunk, results),
                3 => multiply::<3, FORM, NIBBLES>(tile, chunk, results),
                4 => multiply::<4, FORM, NIBBLES>(tile, chunk, results),
                5 => multiply::<5, FORM, NIBBLES>(tile, chunk, results),
                _ => multiply::<6, FORM, NIBBLES>(tile, chunk, results),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn multiply<const N: usize, const FORM: u8, const NIBBLES: bool>(
        tile: &Tile<'_>,
        chunk: &Chunk<'_>,
        results: &mut [f32],
    ) {
        let steps = if FORM == HALVES { 4 } else { 8 };
        let groups = chunk.blocks * (8 / steps);
        let nibble = _mm512_set1_epi8(15);
        // SAFETY: all slices hold N rows, and whole groups.
        unsafe {
            let mut low = [_mm512_setzero_ps(); N];
            let mut high = [_mm512_setzero_ps(); N];
            for r in 0..N {
                low[r] = _mm512_loadu_ps(results.as_ptr().add(r * PANEL));
                high[r] = _mm512_loadu_ps(results.as_ptr().add(r * PANEL + 16));
            }
            let mut codes = chunk.codes.as_ptr();
            let mut x = tile.bytes.as_ptr();
            for group in 0..groups {
                let mut first = [_mm512_setzero_si512(); N];
                let mut second = [_mm512_setzero_si512(); N];
                if FORM != MINIMUM {
                    for r in 0..N {
                        let correction =
                            _mm512_set1_epi32(*tile.corrections.as_ptr().add(group * N + r));
                        first[r] = correction;
                        second[r] = correction;
                    }
                }
                let mut step = |left: __m512i, right: __m512i| {
                    for r in 0..N {
                        let four = x.add(r * 4).cast::<i32>().read_unaligned();
                        let four = _mm512_set1_epi32(four);
                        first[r] = _mm512_dpbusd_epi32(first[r], left, four);
                        second[r] = _mm512_dpbusd_epi32(second[r], right, four);
                    }
                    x = x.add(N * 4);
                };
                for _ in 0..if NIBBLES { steps / 2 } else { steps } {
                    let left = _mm512_loadu_si512(codes.cast());
                    let right = _mm512_loadu_si512(codes.add(64).cast());
                    if NIBBLES {
                        step(
                            _mm512_and_si512(left, nibble),
                            _mm512_and_si512(right, nibble),
                        );
                        step(
                            _mm512_and_si512(_mm512_srli_epi16::<4>(left), nibble),
                            _mm512_and_si512(_mm512_srli_epi16::<4>(right), nibble),
                        );
                    } else {
                        step(left, right);
                    }
                    codes = codes.add(128);
                }
                let block = group * steps / 8;
                let scales = chunk.scales.as_ptr().add(group * PANEL);
                let (left, right) = (_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(16)));
                for r in 0..N {
                    let scale = _mm512_set1_ps(*tile.scales.as_ptr().add(block * N + r));
                    let add = |sum, codes, weights| {
                        let product =
                            _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_mul_ps(scale, weights));
                        _mm512_add_ps(sum, product)
                    };
                    low[r] = add(low[r], first[r], left);
                    high[r] = add(high[r], second[r], right);
                }
                if FORM == MINIMUM {
                    let minima = chunk.minima.as_ptr().add(block * PANEL);
                    let (left, right) = (_mm512_loadu_ps(minima), _mm512_loadu_ps(minima.add(16)));
                    for r in 0..N {
                        let sum = _mm512_set1_ps(*tile.sums.as_ptr().add(block * N + r));
                        low[r] = _mm512_add_ps(low[r], _mm512_mul_ps(sum, left));
                        high[r] = _mm512_add_ps(high[r], _mm512_mul_ps(sum, right));
                    }
                }
            }
            for r in 0..N {
                _mm512_storeu_ps(results.as_mut_ptr().add(r * PANEL), low[r]);
                _mm512_storeu_ps(results.as_mut_ptr().add(r * PANEL + 16), high[r]);
            }
        }
    }
}

// Loops by index over arrays of fixed size stay in registers.
#[allow(clippy::needless_range_loop)]
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Chunk, HALVES, MINIMUM, PANEL, Tile, WIDE};
    use std::arch::x86_64::{
        _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
        _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_setzero_si256, _mm256_sign_epi8, _mm256_storeu_ps, _mm256_xor_si256,
    };

    #[target_feature(enable = "avx2")]
    pub unsafe fn run<const FORM: u8>(tile: &Tile<'_>, chunk: &Chunk<'_>, results: &mut [f32]) {
        for column in 0..PANEL / 8 {
            // SAFETY: the caller checked the lengths.
            unsafe {
                match tile.rows {
                    1 => multiply::<1, FORM>(tile, chunk, column, results),
                    2 => multiply::<2, FORM>(tile, chunk, column, results),
                    3 => multiply::<3, FORM>(tile, chunk, column, results),
                    4 => multiply::<4, FORM>(tile, chunk, column, results),
                    5 => multiply::<5, FORM>(tile, chunk, column, results),
                    _ => multiply::<6, FORM>(tile, chunk, column, results),
                }
            }
        }
    }

    /// Eight outputs.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn multiply<const N: usize, const FORM: u8>(
        tile: &Tile<'_>,
        chunk: &Chunk<'_>,
        column: usize,
        results: &mut [f32],
    ) {
        let steps = if FORM == HALVES { 4 } else { 8 };
        let groups = chunk.blocks * (8 / steps);
        // SAFETY: all slices hold N rows, and whole groups.
        unsafe {
            let mut totals = [_mm256_setzero_ps(); N];
            for r in 0..N {
                totals[r] = _mm256_loadu_ps(results.as_ptr().add(r * PANEL + column * 8));
            }
            let ones = _mm256_set1_epi16(1);
            let offset = _mm256_set1_epi8(-128);
            let mut codes = chunk.codes.as_ptr().add(column * 32);
            let mut x = tile.bytes.as_ptr();
            for group in 0..groups {
                let mut sums = [_mm256_setzero_si256(); N];
                if FORM != MINIMUM && FORM != WIDE {
                    for r in 0..N {
                        let correction = *tile.corrections.as_ptr().add(group * N + r);
                        sums[r] = _mm256_set1_epi32(correction);
                    }
                }
                for _ in 0..steps {
                    let code = _mm256_loadu_si256(codes.cast());
                    // Two products of 8 bits with a sign fit 16 bits only if
                    // one factor is within 127: where codes are wide, the
                    // weight's size times the activation with its sign.
                    let weight = _mm256_xor_si256(code, offset);
                    let size = _mm256_abs_epi8(weight);
                    for r in 0..N {
                        let four = x.add(r * 4).cast::<i32>().read_unaligned();
                        let four = _mm256_set1_epi32(four);
                        let pairs = if FORM == WIDE {
                            _mm256_maddubs_epi16(size, _mm256_sign_epi8(four, weight))
                        } else {
                            _mm256_maddubs_epi16(code, four)
                        };
                        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
                    }
                    codes = codes.add(128);
                    x = x.add(N * 4);
                }
                let block = group * steps / 8;
                let weights =
                    _mm256_loadu_ps(chunk.scales.as_ptr().add(group * PANEL + column * 8));
                for r in 0..N {
                    let scale = _mm256_set1_ps(*tile.scales.as_ptr().add(block * N + r));
                    let product =
                        _mm256_mul_ps(_mm256_cvtepi32_ps(sums[r]), _mm256_mul_ps(scale, weights));
                    totals[r] = _mm256_add_ps(totals[r], product);
                }
                if FORM == MINIMUM {
                    let minima =
                        _mm256_loadu_ps(chunk.minima.as_ptr().add(block * PANEL + column * 8));
                    for r in 0..N {
                        let sum = _mm256_set1_ps(*tile.sums.as_ptr().add(block * N + r));
                        totals[r] = _mm256_add_ps(totals[r], _mm256_mul_ps(sum, minima));
                    }
                }
            }
            for r in 0..N {
                _mm256_storeu_ps(results.as_mut_ptr().add(r * PANEL + column * 8), totals[r]);
            }
        }
    }
}
