use super::{
    super::{
        crew::{self, Shared},
        instructions::Instructions,
    },
    kind::{BLOCK, Form},
};

/// Rows that are multiplied together.
pub const ROWS: usize = 6;

/// Rows of activations as whole numbers of 8 bits, with a scale for each 32 of
/// a row, laid out for the kernels: tiles of 6 rows (the last has what is
/// left), in each the rows side by side, 4 inputs of each.
pub struct ByteRows {
    rows: usize,
    blocks: usize,
    /// Per tile, `[inputs / 4][rows][4]`.
    bytes: Vec<i8>,
    /// Per tile, `[blocks][rows]`.
    scales: Vec<f32>,
    /// What makes up for the offset of the codes: per tile, `[blocks][rows]`,
    /// or `[2 blocks][rows]`.
    corrections: Vec<i32>,
    /// Scaled sums, where there are minima: per tile, `[blocks][rows]`.
    sums: Vec<f32>,
}

/// The rows of one tile, some blocks of them.
pub struct Tile<'a> {
    /// Rows in it.
    pub rows: usize,
    /// `[blocks * 8][rows][4]`.
    pub bytes: &'a [i8],
    /// `[blocks][rows]`.
    pub scales: &'a [f32],
    /// `[blocks][rows]`, twice as many for halves, or empty.
    pub corrections: &'a [i32],
    /// `[blocks][rows]`, or empty.
    pub sums: &'a [f32],
}

impl ByteRows {
    /// Rounds `x [rows, inputs]`; what is missing of the last block is zeros.
    pub fn new(x: &[f32], inputs: usize, form: Form, instructions: Instructions) -> Self {
        let rows = x.len() / inputs;
        let blocks = inputs.div_ceil(BLOCK);
        let (corrections, sums) = per_block(form);
        let mut all = Self {
            rows,
            blocks,
            bytes: vec![0; rows * blocks * BLOCK],
            scales: vec![0.0; rows * blocks],
            corrections: vec![0; rows * blocks * corrections],
            sums: vec![0.0; rows * blocks * sums],
        };
        let round = |x: &[f32], bytes: &mut [i8], scales: &mut [f32], more: More<'_>| {
            let tile = Rounded {
                bytes,
                scales,
                more,
            };
            match instructions {
                // SAFETY: the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
                    round_avx512(x, inputs, form, tile);
                },
                // SAFETY: the same.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => unsafe { round_avx2(x, inputs, form, tile) },
                Instructions::Portable => round_tile(x, inputs, form, tile),
            }
        };
        let bytes = Shared(all.bytes.as_mut_ptr());
        let scales = Shared(all.scales.as_mut_ptr());
        let more_corrections = Shared(all.corrections.as_mut_ptr());
        let more_sums = Shared(all.sums.as_mut_ptr());
        let tile = |tile: usize| {
            let from = tile * ROWS;
            let to = rows.min(from + ROWS);
            let of = |each: usize| from * blocks * each..to * blocks * each;
            // SAFETY: these are inside the vectors, and this tile's alone.
            unsafe {
                let more = match form {
                    Form::Minimum => More::Sums(more_sums.part(of(sums))),
                    _ => More::Corrections(more_corrections.part(of(corrections))),
                };
                let (bytes, scales) = (bytes.part(of(BLOCK)), scales.part(of(1)));
                round(&x[from * inputs..to * inputs], bytes, scales, more);
            }
        };
        let tiles = rows.div_ceil(ROWS);
        if x.len() < 1 << 13 {
            (0..tiles).for_each(tile);
        } else {
            crew::each(tiles, tile);
        }
        all
    }

    /// How many rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Some blocks of the rows of a tile.
    pub fn tile(&self, tile: usize, first: usize, blocks: usize) -> Tile<'_> {
        let from = tile * ROWS;
        let rows = ROWS.min(self.rows - from);
        let cut = |each: usize| {
            let start = (from * self.blocks + first * rows) * each;
            start..start + blocks * rows * each
        };
        let corrections = self.corrections.len() / self.scales.len();
        let sums = self.sums.len() / self.scales.len();
        Tile {
            rows,
            bytes: &self.bytes[cut(BLOCK)],
            scales: &self.scales[cut(1)],
            corrections: &self.corrections[cut(corrections)],
            sums: &self.sums[cut(sums)],
        }
    }
}

/// Corrections and sums that a form needs for a block of a row.
const fn per_block(form: Form) -> (usize, usize) {
    match form {
        Form::Wide | Form::Narrow => (1, 0),
        Form::Halves => (2, 0),
        Form::Minimum => (0, 1),
    }
}

enum More<'a> {
    Corrections(&'a mut [i32]),
    Sums(&'a mut [f32]),
}

struct Rounded<'a> {
    bytes: &'a mut [i8],
    scales: &'a mut [f32],
    more: More<'a>,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn round_avx512(x: &[f32], inputs: usize, form: Form, to: Rounded<'_>) {
    round_tile(x, inputs, form, to);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn round_avx2(x: &[f32], inputs: usize, form: Form, to: Rounded<'_>) {
    round_tile(x, inputs, form, to);
}

#[inline(always)]
fn round_tile(x: &[f32], inputs: usize, form: Form, mut to: Rounded<'_>) {
    let rows = x.len() / inputs;
    for (r, row) in x.chunks_exact(inputs).enumerate() {
        for (b, values) in row.chunks(BLOCK).enumerate() {
            let (codes, scale) = match values.try_into() {
                Ok(block) => round(block),
                Err(_) => {
                    let mut block = [0.0; BLOCK];
                    block[..values.len()].copy_from_slice(values);
                    round(&block)
                }
            };
            for (step, four) in codes.chunks_exact(4).enumerate() {
                let at = ((b * 8 + step) * rows + r) * 4;
                to.bytes[at..at + 4].copy_from_slice(four);
            }
            to.scales[b * rows + r] = scale;
            let sum = |codes: &[i8]| codes.iter().map(|code| i32::from(*code)).sum::<i32>();
            match (form, &mut to.more) {
                (Form::Wide, More::Corrections(all)) => all[b * rows + r] = -128 * sum(&codes),
                (Form::Narrow, More::Corrections(all)) => all[b * rows + r] = -8 * sum(&codes),
                (_, More::Corrections(all)) => {
                    all[2 * b * rows + r] = -32 * sum(&codes[..16]);
                    all[(2 * b + 1) * rows + r] = -32 * sum(&codes[16..]);
                }
                (_, More::Sums(all)) => all[b * rows + r] = scale * sum(&codes) as f32,
            }
        }
    }
}

/// Codes of a block, and what they are to be multiplied by: not a number where
/// a value is not finite.
#[inline(always)]
fn round(block: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    let mut highest = [0.0_f32; 16];
    let mut probe = [0.0_f32; 16];
    for half in block.chunks_exact(16) {
        for ((highest, probe), value) in highest.iter_mut().zip(&mut probe).zip(half) {
            let size = value.abs();
            *highest = if size > *highest { size } else { *highest };
            // Zero, or not a number.
            *probe += value * 0.0;
        }
    }
    let mut width = 8;
    while width > 0 {
        for lane in 0..width {
            let other = highest[lane + width];
            highest[lane] = if other > highest[lane] {
                other
            } else {
                highest[lane]
            };
            probe[lane] += probe[lane + width];
        }
        width /= 2;
    }
    let highest = highest[0];
    // The reciprocal of what is smaller could overflow.
    let inverse = if highest >= 1e-30 {
        127.0 / highest
    } else {
        0.0
    };
    let mut codes = [0; BLOCK];
    for (code, value) in codes.iter_mut().zip(block) {
        // Adding 1.5 * 2^23 rounds to a whole number, which is then in the
        // low bits.
        *code = (value * inverse + 12_582_912.0).to_bits() as i8;
    }
    (codes, highest / 127.0 + probe[0])
}
