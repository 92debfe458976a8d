//! Quantised weights in the order in which the GPU's matrix units want them;
//! `blocks.cu` describes it.

use candle_core::{DType, quantized::GgmlDType};
use half::{bf16, f16};
use rayon::prelude::*;
use std::borrow::Cow;

/// Outputs and inputs of a tile.
const OUTPUTS: usize = 16;
/// Inputs of a tile; the width of a matrix is a multiple.
pub const INPUTS: usize = 64;
/// Weights that share a scale.
const SHARED: usize = 32;

/// A quantised matrix in tiles.
#[derive(Debug, PartialEq, Eq)]
pub struct Tiles<'t> {
    /// 8 or 4.
    pub bits: usize,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Its width, padded with zeros to whole tiles.
    pub inputs: usize,
    /// `[strips of outputs][steps of inputs][tile]`, and then the scales in the
    /// same order.
    pub bytes: Cow<'t, [u8]>,
    /// Where the scales begin.
    pub scales: usize,
}

/// Weights that share a scale: `value = scale * q - min`.
struct Shared {
    q: [u8; SHARED],
    scale: f32,
    min: f32,
}

/// Whether weights of this type can be put into tiles.
pub const fn fits(kind: GgmlDType) -> bool {
    matches!(kind, GgmlDType::Q8_0 | GgmlDType::Q4K)
}

/// Bits of a weight, bytes of a tile, and bytes of its scales.
const fn sizes(kind: GgmlDType) -> (usize, usize, usize) {
    let bits = if matches!(kind, GgmlDType::Q8_0) {
        8
    } else {
        4
    };
    let scales = OUTPUTS * 4 * (16 / bits) / 2;
    (bits, OUTPUTS * INPUTS * bits / 8, scales)
}

impl<'t> Tiles<'t> {
    /// Tiles that were made before; `None` for other types, or when they are
    /// not as long as such a matrix's.
    pub fn of_bytes(
        kind: GgmlDType,
        outputs: usize,
        inputs: usize,
        bytes: &'t [u8],
    ) -> Option<Self> {
        let (bits, tile, scale) = sizes(kind);
        let inputs = inputs.next_multiple_of(INPUTS);
        let tiles = outputs.div_ceil(OUTPUTS) * (inputs / INPUTS);
        (fits(kind) && bytes.len() == tiles * (tile + scale)).then(|| Self {
            bits,
            outputs,
            inputs,
            bytes: Cow::Borrowed(bytes),
            scales: tiles * tile,
        })
    }

    /// Takes rows of blocks of Q8_0 or Q4_K apart, for products of `elements`;
    /// `None` for other types, or rows that are no whole number of blocks.
    pub fn of_blocks(
        kind: GgmlDType,
        elements: DType,
        outputs: usize,
        inputs: usize,
        bytes: &[u8],
    ) -> Option<Self> {
        let row_bytes = inputs / kind.block_size() * kind.type_size();
        if !fits(kind)
            || !inputs.is_multiple_of(kind.block_size())
            || bytes.len() != outputs * row_bytes
        {
            return None;
        }
        let (bits, tile, scale) = sizes(kind);
        let width = inputs.next_multiple_of(INPUTS);
        let (strips, steps) = (outputs.div_ceil(OUTPUTS), width / INPUTS);
        // What is padded is 0: 128 where 128 was added.
        let start = strips * steps * tile;
        let mut all = vec![if bits == 8 { 128 } else { 0 }; start + strips * steps * scale];
        let (weights, scales) = all.split_at_mut(start);
        scales.fill(0);
        weights
            .par_chunks_mut(steps * tile)
            .zip(scales.par_chunks_mut(steps * scale))
            .enumerate()
            .for_each(|(strip, (weights, scales))| {
                for r in 0..OUTPUTS.min(outputs - strip * OUTPUTS) {
                    let row = (strip * OUTPUTS + r) * row_bytes;
                    let row = &bytes[row..row + row_bytes];
                    for index in 0..inputs / SHARED {
                        let shared = match kind {
                            GgmlDType::Q8_0 => eight_bits(row, index),
                            _ => four_bits(row, index),
                        };
                        let (step, half) = (index / 2, index % 2);
                        let weights = &mut weights[step * tile..][..tile];
                        shared.place(bits, r, half, weights);
                        let at = (half * OUTPUTS + r % 8 * 2 + r / 8) * 2;
                        let scales = &mut scales[step * scale..][..scale];
                        let mut put = |at: usize, bytes: [u8; 2]| {
                            scales[at..at + 2].copy_from_slice(&bytes);
                        };
                        if bits == 8 {
                            put(at, f16::from_f32(shared.scale).to_le_bytes());
                        } else {
                            put(at, element(elements, 16.0 * shared.scale));
                            put(at + 64, element(elements, shared.min));
                        }
                    }
                }
            });
        Some(Self {
            bits,
            outputs,
            inputs: width,
            bytes: Cow::Owned(all),
            scales: start,
        })
    }
}

impl Shared {
    /// Writes the weights of row `r` and one half of the inputs to a tile.
    fn place(&self, bits: usize, r: usize, half: usize, tile: &mut [u8]) {
        for (k, q) in self.q.iter().enumerate() {
            let (step, c, upper) = (half * 2 + k / 16, k % 8, k % 16 / 8);
            let lane = r % 8 * 4 + c / 2;
            let index = upper * 4 + r / 8 * 2 + c % 2;
            if bits == 8 {
                tile[half * 512 + lane * 16 + step % 2 * 8 + index] = *q;
            } else {
                let nibble = index % 2 * 4 + index / 2;
                tile[lane * 16 + step * 4 + nibble / 2] |= q << (nibble % 2 * 4);
            }
        }
    }
}

fn element(kind: DType, x: f32) -> [u8; 2] {
    match kind {
        DType::BF16 => bf16::from_f32(x).to_le_bytes(),
        _ => f16::from_f32(x).to_le_bytes(),
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// A block of Q8_0: the scale, then 32 signed bytes.
fn eight_bits(row: &[u8], index: usize) -> Shared {
    let block = &row[index * 34..][..34];
    Shared {
        q: std::array::from_fn(|at| block[2 + at].wrapping_add(128)),
        scale: half_at(block, 0),
        min: 0.0,
    }
}

/// An eighth of a block of Q4_K, as ggml lays it out: two scales of the
/// scales, 8 times 6 bits of scale and of minimum in 12 bytes, and 4 times 64
/// nibbles, of which the lower are the first 32.
fn four_bits(row: &[u8], index: usize) -> Shared {
    let block = &row[index / 8 * 144..][..144];
    let part = index % 8;
    let packed = &block[4..16];
    let (scale, min) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        )
    };
    let nibbles = &block[16 + part / 2 * 32..][..32];
    Shared {
        q: std::array::from_fn(|at| nibbles[at] >> (part % 2 * 4) & 15),
        scale: half_at(block, 0) * f32::from(scale),
        min: half_at(block, 2) * f32::from(min),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{Device, Tensor, quantized::QTensor};

    /// The matrix that a warp would see, by the description in `blocks.cu`.
    fn read(tiles: &Tiles<'_>, elements: DType) -> Vec<Vec<f32>> {
        let element_at = |bytes: &[u8], at: usize| match elements {
            DType::BF16 => bf16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32(),
            _ => half_at(bytes, at),
        };
        let steps = tiles.inputs / INPUTS;
        let (tile, scale) = (
            1024 * tiles.bits / 8,
            if tiles.bits == 8 { 64 } else { 128 },
        );
        let mut matrix = vec![vec![f32::NAN; tiles.inputs]; tiles.outputs.next_multiple_of(16)];
        for strip in 0..tiles.outputs.div_ceil(OUTPUTS) {
            for step in 0..steps {
                let weights = &tiles.bytes[(strip * steps + step) * tile..][..tile];
                let scales = &tiles.bytes[tiles.scales..];
                let scales = &scales[(strip * steps + step) * scale..][..scale];
                for lane in 0..32 {
                    for k in 0..4 {
                        for i in 0..8 {
                            let row = lane / 4 + i / 2 % 2 * 8;
                            let column = k * 16 + lane % 4 * 2 + i % 2 + i / 4 * 8;
                            let at = (k / 2 * 16 + row % 8 * 2 + row / 8) * 2;
                            let value = if tiles.bits == 8 {
                                let q = weights[k / 2 * 512 + lane * 16 + k % 2 * 8 + i];
                                (f32::from(q) - 128.0) * half_at(scales, at)
                            } else {
                                let nibble = i % 2 * 4 + i / 2;
                                let byte = weights[lane * 16 + k * 4 + nibble / 2];
                                let q = f32::from(byte >> (nibble % 2 * 4) & 15);
                                q / 16.0 * element_at(scales, at) - element_at(scales, at + 64)
                            };
                            matrix[strip * 16 + row][step * 64 + column] = value;
                        }
                    }
                }
            }
        }
        matrix
    }

    #[test]
    fn a_warp_finds_every_weight_where_it_looks() {
        for (kind, inputs, elements, bar) in [
            (GgmlDType::Q8_0, 64, DType::BF16, 1e-3),
            (GgmlDType::Q8_0, 96, DType::F16, 1e-3),
            (GgmlDType::Q4K, 256, DType::F16, 1e-3),
            (GgmlDType::Q4K, 512, DType::BF16, 4e-3),
        ] {
            for outputs in [16, 24, 40] {
                let weights = Tensor::randn(0_f32, 0.1, (outputs, inputs), &Device::Cpu).unwrap();
                let quantized = QTensor::quantize(&weights, kind).unwrap();
                let expected = quantized.dequantize(&Device::Cpu).unwrap();
                let expected = expected.to_vec2::<f32>().unwrap();
                let blocks = quantized.data().unwrap();
                let tiles = Tiles::of_blocks(kind, elements, outputs, inputs, &blocks).unwrap();
                let again = Tiles::of_bytes(kind, outputs, inputs, &tiles.bytes).unwrap();
                assert_eq!(again, tiles);
                let found = read(&again, elements);
                for (row, expected) in expected.iter().enumerate() {
                    for (column, expected) in expected.iter().enumerate() {
                        let found = found[row][column];
                        assert!(
                            (found - expected).abs() < bar,
                            "{kind:?} {outputs}x{inputs} at {row}, {column}: {found}, not {expected}"
                        );
                    }
                    assert!(found[row][inputs..].iter().all(|padding| *padding == 0.0));
                }
            }
        }
    }

    #[test]
    fn tiles_of_another_shape_are_not_taken_for_these() {
        let of_bytes = |outputs, inputs, length| {
            let bytes = vec![0; length];
            Tiles::of_bytes(GgmlDType::Q8_0, outputs, inputs, &bytes).is_some()
        };
        assert!(of_bytes(16, 64, 1_088));
        assert!(of_bytes(9, 33, 1_088));
        assert!(!of_bytes(17, 64, 1_088));
        assert!(!of_bytes(16, 65, 1_088));
        assert!(!of_bytes(16, 64, 1_087));
    }

    #[test]
    fn other_types_and_torn_rows_have_no_tiles() {
        let of_blocks = |kind, inputs, bytes| Tiles::of_blocks(kind, DType::BF16, 1, inputs, bytes);
        assert_eq!(of_blocks(GgmlDType::Q6K, 256, &[0; 210]), None);
        assert_eq!(of_blocks(GgmlDType::Q4K, 128, &[0; 72]), None);
        assert_eq!(of_blocks(GgmlDType::Q8_0, 64, &[0; 34]), None);
    }
}
