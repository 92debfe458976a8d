//! Loops over f32 values in host memory, where candle's own operations are
//! slow or missing.

use super::{instructions::Instructions, lanes::exp};
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

/// `silu(gate) * up` for rows of `[gate | up]`: `[rows, 2 n]` to `[rows, n]`.
pub fn swiglu(gate_up: &[f32], width: usize) -> Vec<f32> {
    let rows = gate_up.len() / (2 * width);
    let mut out = vec![0.0; rows * width];
    let instructions = Instructions::best();
    let row = |(out, row): (&mut [f32], &[f32])| {
        let (gate, up) = row.split_at(width);
        match instructions {
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
                swiglu_avx512(gate, up, out);
            },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { swiglu_avx2(gate, up, out) },
            Instructions::Portable => swiglu_row(gate, up, out),
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn swiglu_avx512(gate: &[f32], up: &[f32], out: &mut [f32]) {
    swiglu_row(gate, up, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn swiglu_avx2(gate: &[f32], up: &[f32], out: &mut [f32]) {
    swiglu_row(gate, up, out);
}

/// The compiler makes vector instructions of it; the results are the same
/// with any of them.
#[inline(always)]
fn swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}
