//! Loops over f32 values in host memory, where candle's own operations are
//! slow or missing.

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Hands the values of a contiguous f32 tensor in host memory to `f`.
pub fn with_f32<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => {
            let start = layout.start_offset();
            f(&values[start..start + layout.shape().elem_count()])
        }
        _ => bail!("expected f32 values in host memory"),
    }
}

/// `exp` by a polynomial: about 2 ulp, and the compiler turns it into vector
/// instructions. Below -87 it is 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.3);
    // x = n ln 2 + r, with ln 2 in two parts so that r is exact.
    let n = (clamped * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let value = (p * r * r + r + 1.0) * f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { value }
}

/// `silu(gate) * up` for rows of `[gate | up]`: `[rows, 2 n]` to `[rows, n]`.
pub fn swiglu(gate_up: &[f32], width: usize) -> Vec<f32> {
    let rows = gate_up.len() / (2 * width);
    let mut out = vec![0.0; rows * width];
    let row = |(out, row): (&mut [f32], &[f32])| {
        let (gate, up) = row.split_at(width);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    };
    if rows * width < 1 << 14 {
        out.chunks_exact_mut(width)
            .zip(gate_up.chunks_exact(2 * width))
            .for_each(row);
    } else {
        out.par_chunks_exact_mut(width)
            .zip(gate_up.par_chunks_exact(2 * width))
            .for_each(row);
    }
    out
}
