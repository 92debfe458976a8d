//! Quantised weights in the order in which the GPU's matrix units want them;
//! `blocks.cu` describes it.

use candle_core::quantized::GgmlDType;
use half::f16;
use rayon::prelude::*;

/// Outputs and inputs of a tile.
const OUTPUTS: usize = 16;
/// Inputs of a tile; the width of a matrix is a multiple.
pub const INPUTS: usize = 64;
/// Weights that share a scale.
const SHARED: usize = 32;

/// A quantised matrix in tiles.
#[derive(Debug, PartialEq, Eq)]
pub struct Tiles {
    /// 8 or 4.
    pub bits: usize,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Its width, padded with zeros to whole tiles.
    pub inputs: usize,
    /// `[strips of outputs][steps of inputs][tile]`.
    pub weights: Vec<u8>,
    /// In the same order.
    pub scales: Vec<u8>,
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

impl Tiles {
    /// Takes rows of blocks of Q8_0 or Q4_K apart; `None` for other types, or
    /// rows that are no whole number of blocks.
    pub fn of_blocks(kind: GgmlDType, outputs: usize, inputs: usize, bytes: &[u8]) -> Option<Self> {
        let row_bytes = inputs / kind.block_size() * kind.type_size();
        if !fits(kind)
            || !inputs.is_multiple_of(kind.block_size())
            || bytes.len() != outputs * row_bytes
        {
            return None;
        }
        let bits = if kind == GgmlDType::Q8_0 { 8 } else { 4 };
        let (tile, scale) = (OUTPUTS * INPUTS * bits / 8, OUTPUTS * 4 * (16 / bits) / 2);
        let width = inputs.next_multiple_of(INPUTS);
        let (strips, steps) = (outputs.div_ceil(OUTPUTS), width / INPUTS);
        // What is padded is 0: 128 where 128 was added.
        let mut weights = vec![if bits == 8 { 128 } else { 0 }; strips * steps * tile];
        let mut scales = vec![0; strips * steps * scale];
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
                        let number = |x: f32| f16::from_f32(x).to_le_bytes();
                        scales[at..at + 2].copy_from_slice(&number(shared.scale));
                        if bits == 4 {
                            scales[at + 64..at + 66].copy_from_slice(&number(shared.min));
                        }
                    }
                }
            });
        Some(Self {
            bits,
            outputs,
            inputs: width,
            weights,
            scales,
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
                tile[lane * 16 + step * 4 + index / 2] |= q << (index % 2 * 4);
            }
        }
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
    fn read(tiles: &Tiles) -> Vec<Vec<f32>> {
        let steps = tiles.inputs / INPUTS;
        let (tile, scale) = (
            1024 * tiles.bits / 8,
            if tiles.bits == 8 { 64 } else { 128 },
        );
        let mut matrix = vec![vec![f32::NAN; tiles.inputs]; tiles.outputs.next_multiple_of(16)];
        for strip in 0..tiles.outputs.div_ceil(OUTPUTS) {
            for step in 0..steps {
                let weights = &tiles.weights[(strip * steps + step) * tile..][..tile];
                let scales = &tiles.scales[(strip * steps + step) * scale..][..scale];
                for lane in 0..32 {
                    for k in 0..4 {
                        for i in 0..8 {
                            let row = lane / 4 + i / 2 % 2 * 8;
                            let column = k * 16 + lane % 4 * 2 + i % 2 + i / 4 * 8;
                            let at = (k / 2 * 16 + row % 8 * 2 + row / 8) * 2;
                            let factor = half_at(scales, at);
                            let value = if tiles.bits == 8 {
                                let q = weights[k / 2 * 512 + lane * 16 + k % 2 * 8 + i];
                                (f32::from(q) - 128.0) * factor
                            } else {
                                let q = weights[lane * 16 + k * 4 + i / 2] >> (i % 2 * 4) & 15;
                                f32::from(q) * factor - half_at(scales, at + 64)
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
        for (kind, inputs) in [
            (GgmlDType::Q8_0, 64),
            (GgmlDType::Q8_0, 96),
            (GgmlDType::Q4K, 256),
            (GgmlDType::Q4K, 512),
        ] {
            for outputs in [16, 24, 40] {
                let weights = Tensor::randn(0_f32, 0.1, (outputs, inputs), &Device::Cpu).unwrap();
                let quantized = QTensor::quantize(&weights, kind).unwrap();
                let expected = quantized.dequantize(&Device::Cpu).unwrap();
                let expected = expected.to_vec2::<f32>().unwrap();
                let tiles =
                    Tiles::of_blocks(kind, outputs, inputs, &quantized.data().unwrap()).unwrap();
                let found = read(&tiles);
                for (row, expected) in expected.iter().enumerate() {
                    for (column, expected) in expected.iter().enumerate() {
                        let found = found[row][column];
                        assert!(
                            (found - expected).abs() < 1e-3,
                            "{kind:?} {outputs}x{inputs} at {row}, {column}: {found}, not {expected}"
                        );
                    }
                    assert!(found[row][inputs..].iter().all(|padding| *padding == 0.0));
                }
            }
        }
    }

    #[test]
    fn other_types_and_torn_rows_have_no_tiles() {
        assert_eq!(Tiles::of_blocks(GgmlDType::Q6K, 1, 256, &[0; 210]), None);
        assert_eq!(Tiles::of_blocks(GgmlDType::Q4K, 1, 128, &[0; 72]), None);
        assert_eq!(Tiles::of_blocks(GgmlDType::Q8_0, 1, 64, &[0; 34]), None);
    }
}
