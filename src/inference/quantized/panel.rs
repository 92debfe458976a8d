//! How 32 rows of blocks lie in memory.
//!
//! A panel is a list of chunks of up to 8 blocks of 32 inputs (fewer only in
//! the last). A chunk begins with its scales, output by output, and then has
//! the codes of its blocks: for 4 inputs after the other the codes of all 32
//! outputs, 4 bytes each. Codes of 4 bits share a byte with the ones that are
//! 4 inputs further on; a fifth and sixth bit are kept behind them.

use super::{
    super::instructions::Instructions,
    kernel::Chunk,
    kind::{BLOCK, BlockKind, CHUNK, PANEL},
};

/// Codes of 4 inputs of all outputs.
const LINE: usize = 4 * PANEL;

/// Bytes of a block's codes once they are unpacked.
const CODES: usize = PANEL * BLOCK;

/// Room for a chunk, unpacked.
#[repr(align(64))]
pub struct Unpacked {
    codes: [u8; CHUNK * CODES],
    scales: [f32; 2 * CHUNK * PANEL],
    minima: [f32; CHUNK * PANEL],
}

impl Default for Unpacked {
    fn default() -> Self {
        Self {
            codes: [0; CHUNK * CODES],
            scales: [0.0; 2 * CHUNK * PANEL],
            minima: [0.0; CHUNK * PANEL],
        }
    }
}

/// One chunk of one row, as ggml keeps it, in the open.
#[derive(Default)]
struct RowChunk {
    codes: [[u8; BLOCK]; CHUNK],
    /// A float of 16 bits for each block, or one for all.
    scales: [[u8; 2]; CHUNK],
    /// What the minima of all blocks are multiplied by.
    minimum: [u8; 2],
    /// Factors of blocks, or of halves.
    factors: [u8; 2 * CHUNK],
    minima: [u8; CHUNK],
}

/// Packs up to 32 rows of ggml's blocks into a panel of `blocks` blocks of 32
/// inputs; the panel was zeros.
pub fn pack(kind: BlockKind, rows: &[&[u8]], blocks: usize, panel: &mut [u8]) {
    for (index, chunk) in panel.chunks_mut(kind.chunk_bytes(CHUNK)).enumerate() {
        let count = CHUNK.min(blocks - index * CHUNK);
        let (scales, codes) = chunk.split_at_mut(kind.scale_bytes(count));
        for (column, row) in rows.iter().enumerate() {
            let found = read(kind, row, index, count);
            match kind {
                BlockKind::Q8_0 | BlockKind::Q4_0 => {
                    for (block, scale) in found.scales[..count].iter().enumerate() {
                        put(scales, block * PANEL + column, *scale);
                    }
                }
                BlockKind::Q4K | BlockKind::Q5K => {
                    put(scales, column, found.scales[0]);
                    put(scales, PANEL + column, found.minimum);
                    let factors = &mut scales[4 * PANEL..];
                    for block in 0..count {
                        factors[block * PANEL + column] = found.factors[block];
                        factors[(count + block) * PANEL + column] = found.minima[block];
                    }
                }
                BlockKind::Q6K => {
                    put(scales, column, found.scales[0]);
                    for half in 0..2 * count {
                        scales[2 * PANEL + half * PANEL + column] = found.factors[half];
                    }
                }
            }
            for (block, inputs) in codes
                .chunks_exact_mut(kind.code_bytes())
                .zip(&found.codes[..count])
            {
                for (k, code) in inputs.iter().enumerate() {
                    place(kind, block, k, column, *code);
                }
            }
        }
    }
}

fn put(scales: &mut [u8], at: usize, scale: [u8; 2]) {
    scales[2 * at..2 * at + 2].copy_from_slice(&scale);
}

fn place(kind: BlockKind, block: &mut [u8], k: usize, column: usize, code: u8) {
    let (step, lane) = (k / 4, column * 4 + k % 4);
    if kind == BlockKind::Q8_0 {
        block[step * LINE + lane] = code;
        return;
    }
    block[step / 2 * LINE + lane] |= (code & 15) << (step % 2 * 4);
    let high = &mut block[4 * LINE..];
    match kind {
        BlockKind::Q5K => high[lane] |= (code >> 4) << step,
        BlockKind::Q6K => high[step / 4 * LINE + lane] |= (code >> 4) << (step % 4 * 2),
        _ => {}
    }
}

/// The chunk of this number of a row of ggml's blocks.
fn read(kind: BlockKind, row: &[u8], index: usize, count: usize) -> RowChunk {
    let mut found = RowChunk::default();
    match kind {
        BlockKind::Q8_0 => {
            let blocks = row[index * CHUNK * 34..].chunks_exact(34).take(count);
            for (b, block) in blocks.enumerate() {
                found.scales[b] = [block[0], block[1]];
                for (code, weight) in found.codes[b].iter_mut().zip(&block[2..]) {
                    *code = weight ^ 0x80;
                }
            }
        }
        BlockKind::Q4_0 => {
            let blocks = row[index * CHUNK * 18..].chunks_exact(18).take(count);
            for (b, block) in blocks.enumerate() {
                found.scales[b] = [block[0], block[1]];
                for (k, pair) in block[2..].iter().enumerate() {
                    found.codes[b][k] = pair & 15;
                    found.codes[b][k + 16] = pair >> 4;
                }
            }
        }
        BlockKind::Q4K | BlockKind::Q5K => {
            let (size, high) = if kind == BlockKind::Q4K {
                (144, 0)
            } else {
                (176, 32)
            };
            let block = &row[index * size..(index + 1) * size];
            found.scales[0] = [block[0], block[1]];
            found.minimum = [block[2], block[3]];
            for b in 0..CHUNK {
                (found.factors[b], found.minima[b]) = factor_and_minimum(&block[4..16], b);
                for k in 0..BLOCK {
                    let pair = block[16 + high + b / 2 * 32 + k];
                    let mut code = if b % 2 == 0 { pair & 15 } else { pair >> 4 };
                    if high > 0 {
                        code |= (block[16 + k] >> b & 1) << 4;
                    }
                    found.codes[b][k] = code;
                }
            }
        }
        BlockKind::Q6K => {
            let block = &row[index * 210..(index + 1) * 210];
            found.scales[0] = [block[208], block[209]];
            found.factors.copy_from_slice(&block[192..208]);
            for b in 0..CHUNK {
                let (half, quarter) = (b / 4, b % 4);
                for k in 0..BLOCK {
                    let pair = block[half * 64 + quarter % 2 * 32 + k];
                    let low = if quarter < 2 { pair & 15 } else { pair >> 4 };
                    let high = block[128 + half * 32 + k] >> (2 * quarter) & 3;
                    found.codes[b][k] = low | high << 4;
                }
            }
        }
    }
    found
}

/// The 6 bits each of a block's factor and minimum, as the K formats pack them.
const fn factor_and_minimum(packed: &[u8], block: usize) -> (u8, u8) {
    if block < 4 {
        (packed[block] & 63, packed[block + 4] & 63)
    } else {
        (
            packed[block + 4] & 15 | (packed[block - 4] >> 6) << 4,
            packed[block + 4] >> 4 | (packed[block] >> 6) << 4,
        )
    }
}

/// Unpacks a chunk of `blocks` blocks; codes that are nibbles stay so if
/// `keep_nibbles`.
pub fn unpack<'a>(
    kind: BlockKind,
    instructions: Instructions,
    chunk: &'a [u8],
    blocks: usize,
    keep_nibbles: bool,
    to: &'a mut Unpacked,
) -> Chunk<'a> {
    let (scales, packed) = chunk.split_at(kind.scale_bytes(blocks));
    let nibbles = keep_nibbles && matches!(kind, BlockKind::Q4_0 | BlockKind::Q4K);
    let as_it_is = nibbles || kind == BlockKind::Q8_0;
    let to_unpack = if as_it_is { &[] } else { packed };
    match instructions {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
            x86::unpack_avx512(kind, scales, to_unpack, blocks, to);
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::unpack_avx2(kind, scales, to_unpack, blocks, to) },
        Instructions::Portable => unpack_with(kind, scales, to_unpack, blocks, to, widen, multiply),
    }
    let (halves, minima) = match kind {
        BlockKind::Q6K => (2, 0),
        BlockKind::Q4K | BlockKind::Q5K => (1, 1),
        _ => (1, 0),
    };
    Chunk {
        blocks,
        nibbles,
        codes: if as_it_is {
            packed
        } else {
            &to.codes[..blocks * CODES]
        },
        scales: &to.scales[..halves * blocks * PANEL],
        minima: &to.minima[..minima * blocks * PANEL],
    }
}

// Loops by index over arrays of fixed size become vector instructions.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn unpack_with(
    kind: BlockKind,
    scales: &[u8],
    packed: &[u8],
    blocks: usize,
    to: &mut Unpacked,
    widen: impl Fn(&[u8], &mut [f32]),
    multiply: impl Fn(&mut [f32], &[f32; PANEL], &[u8], bool),
) {
    match kind {
        BlockKind::Q8_0 | BlockKind::Q4_0 => widen(scales, &mut to.scales[..blocks * PANEL]),
        BlockKind::Q4K | BlockKind::Q5K => {
            let (floats, factors) = scales.split_at(4 * PANEL);
            let (scale, minimum) = floats.split_at(2 * PANEL);
            let (factors, minima) = factors.split_at(blocks * PANEL);
            let mut shared = [0.0; PANEL];
            widen(scale, &mut shared);
            multiply(&mut to.scales, &shared, factors, false);
            widen(minimum, &mut shared);
            for minimum in &mut shared {
                *minimum = -*minimum;
            }
            multiply(&mut to.minima, &shared, minima, false);
        }
        BlockKind::Q6K => {
            let (floats, factors) = scales.split_at(2 * PANEL);
            let mut shared = [0.0; PANEL];
            widen(floats, &mut shared);
            multiply(&mut to.scales, &shared, factors, true);
        }
    }
    for (packed, codes) in packed
        .chunks_exact(kind.code_bytes())
        .zip(to.codes.as_chunks_mut::<CODES>().0)
    {
        let (lines, _) = packed.as_chunks::<LINE>();
        let (codes, _) = codes.as_chunks_mut::<LINE>();
        for (pair, two) in codes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let low = &lines[pair];
            let [first, second] = two;
            match kind {
                BlockKind::Q5K => {
                    let high = &lines[4];
                    for i in 0..LINE {
                        let bits = high[i] >> (2 * pair);
                        first[i] = low[i] & 15 | (bits & 1) << 4;
                        second[i] = low[i] >> 4 | (bits >> 1 & 1) << 4;
                    }
                }
                BlockKind::Q6K => {
                    let high = &lines[4 + pair / 2];
                    for i in 0..LINE {
                        let bits = high[i] >> (pair % 2 * 4);
                        first[i] = low[i] & 15 | (bits & 3) << 4;
                        second[i] = low[i] >> 4 | (bits >> 2 & 3) << 4;
                    }
                }
                _ => {
                    for i in 0..LINE {
                        first[i] = low[i] & 15;
                        second[i] = low[i] >> 4;
                    }
                }
            }
        }
    }
}

/// Factors of 8 bits times the scales of their outputs.
fn multiply(to: &mut [f32], shared: &[f32; PANEL], factors: &[u8], signed: bool) {
    for (to, factors) in to.chunks_exact_mut(PANEL).zip(factors.chunks_exact(PANEL)) {
        for ((to, shared), factor) in to.iter_mut().zip(shared).zip(factors) {
            let factor = if signed {
                f32::from(factor.cast_signed())
            } else {
                f32::from(*factor)
            };
            *to = shared * factor;
        }
    }
}

/// Floats of 16 bits as floats of 32.
fn widen(from: &[u8], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from.chunks_exact(2)) {
        let bits = u32::from(u16::from_le_bytes([from[0], from[1]]));
        let (sign, size) = ((bits & 0x8000) << 16, bits & 0x7fff);
        let size = if size >= 0x7c00 {
            f32::from_bits(0x7f80_0000 | size << 13)
        } else {
            // The exponent is off by 127 - 15.
            f32::from_bits(size << 13) * f32::from_bits((127 + 112) << 23)
        };
        *to = f32::from_bits(sign | size.to_bits());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BlockKind, PANEL, Unpacked, unpack_with};
    use std::arch::x86_64::{
        _mm_loadl_epi64, _mm_loadu_si128, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
        _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps,
        _mm256_storeu_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
        _mm512_cvtph_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub fn unpack_avx512(
        kind: BlockKind,
        scales: &[u8],
        packed: &[u8],
        blocks: usize,
        to: &mut Unpacked,
    ) {
        let widen = |from: &[u8], to: &mut [f32]| {
            for (from, to) in from.chunks_exact(32).zip(to.chunks_exact_mut(16)) {
                // SAFETY: there are 32 bytes and 16 floats.
                unsafe {
                    let floats = _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast()));
                    _mm512_storeu_ps(to.as_mut_ptr(), floats);
                }
            }
        };
        let multiply = |to: &mut [f32], shared: &[f32; PANEL], factors: &[u8], signed: bool| {
            for (to, factors) in to.chunks_exact_mut(PANEL).zip(factors.chunks_exact(PANEL)) {
                for at in [0, 16] {
                    // SAFETY: there are 16 bytes and 16 floats from `at` on.
                    unsafe {
                        let bytes = _mm_loadu_si128(factors.as_ptr().add(at).cast());
                        let whole = if signed {
                            _mm512_cvtepi8_epi32(bytes)
                        } else {
                            _mm512_cvtepu8_epi32(bytes)
                        };
                        let shared = _mm512_loadu_ps(shared.as_ptr().add(at));
                        let product = _mm512_mul_ps(shared, _mm512_cvtepi32_ps(whole));
                        _mm512_storeu_ps(to.as_mut_ptr().add(at), product);
                    }
                }
            }
        };
        unpack_with(kind, scales, packed, blocks, to, widen, multiply);
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn unpack_avx2(
        kind: BlockKind,
        scales: &[u8],
        packed: &[u8],
        blocks: usize,
        to: &mut Unpacked,
    ) {
        let widen = |from: &[u8], to: &mut [f32]| {
            for (from, to) in from.chunks_exact(16).zip(to.chunks_exact_mut(8)) {
                // SAFETY: there are 16 bytes and 8 floats.
                unsafe {
                    let floats = _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()));
                    _mm256_storeu_ps(to.as_mut_ptr(), floats);
                }
            }
        };
        let multiply = |to: &mut [f32], shared: &[f32; PANEL], factors: &[u8], signed: bool| {
            for (to, factors) in to.chunks_exact_mut(PANEL).zip(factors.chunks_exact(PANEL)) {
                for at in [0, 8, 16, 24] {
                    // SAFETY: there are 8 bytes and 8 floats from `at` on.
                    unsafe {
                        let bytes = _mm_loadl_epi64(factors.as_ptr().add(at).cast());
                        let whole = if signed {
                            _mm256_cvtepi8_epi32(bytes)
                        } else {
                            _mm256_cvtepu8_epi32(bytes)
                        };
                        let shared = _mm256_loadu_ps(shared.as_ptr().add(at));
                        let product = _mm256_mul_ps(shared, _mm256_cvtepi32_ps(whole));
                        _mm256_storeu_ps(to.as_mut_ptr().add(at), product);
                    }
                }
            }
        };
        unpack_with(kind, scales, packed, blocks, to, widen, multiply);
    }
}
