//! Loops over f32 values in host memory, where candle's own operations are
//! slow or missing.

use super::{
    crew::{self, Shared},
    instructions::Instructions,
    lanes::exp,
};
use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

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
    let mut out = vec![0.0; gate_up.len() / 2];
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
    in_tasks(&mut out, width, |start, out| {
        let gate_up = &gate_up[2 * start..2 * (start + out.len())];
        out.chunks_exact_mut(width)
            .zip(gate_up.chunks_exact(2 * width))
            .for_each(row);
    });
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

/// Values per task of the loops below, so that a task is worth handing over.
const GRAIN: usize = 1 << 11;

/// Lanes that sums run in, so that they are vector additions; the order does
/// not depend on the instructions.
const LANES: usize = 16;

/// Rows of `[rows, weights]` over their root mean square, times the weights
/// (Zhang & Sennrich 2019, arXiv:1910.07467).
pub fn rms_norm(x: &[f32], weights: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let instructions = Instructions::best();
    in_tasks(&mut out, weights.len(), |start, out| {
        let x = &x[start..start + out.len()];
        rms_norm_with(instructions, x, weights, eps, out);
    });
    out
}

/// `x + scale * added`, value by value, and [`rms_norm`] of it, in one go.
pub fn add_and_norm(
    x: &[f32],
    added: &[f32],
    scale: f32,
    weights: &[f32],
    eps: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (mut sums, mut normed) = (x.to_vec(), vec![0.0; x.len()]);
    let instructions = Instructions::best();
    let shared = Shared(normed.as_mut_ptr());
    in_tasks(&mut sums, weights.len(), |start, sums| {
        let range = start..start + sums.len();
        add_to(sums, &added[range.clone()], scale);
        // SAFETY: it is as long as the sums, whose parts do not overlap.
        let out = unsafe { shared.part(range) };
        rms_norm_with(instructions, sums, weights, eps, out);
    });
    (sums, normed)
}

fn rms_norm_with(
    instructions: Instructions,
    x: &[f32],
    weights: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    match instructions {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
            rms_norm_avx512(x, weights, eps, out);
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { rms_norm_avx2(x, weights, eps, out) },
        Instructions::Portable => rms_norm_rows(x, weights, eps, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn rms_norm_avx512(x: &[f32], weights: &[f32], eps: f32, out: &mut [f32]) {
    rms_norm_rows(x, weights, eps, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rms_norm_avx2(x: &[f32], weights: &[f32], eps: f32, out: &mut [f32]) {
    rms_norm_rows(x, weights, eps, out);
}

#[inline(always)]
fn rms_norm_rows(x: &[f32], weights: &[f32], eps: f32, out: &mut [f32]) {
    let width = weights.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mut sums = [0.0_f32; LANES];
        let lines = x.chunks_exact(LANES);
        let rest: f32 = lines.remainder().iter().map(|value| value * value).sum();
        for line in lines {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += value * value;
            }
        }
        let square = sums.iter().sum::<f32>() + rest;
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        for ((out, value), weight) in out.iter_mut().zip(x).zip(weights) {
            *out = value * factor * weight;
        }
    }
}

fn add_to(sums: &mut [f32], added: &[f32], scale: f32) {
    if scale == 1.0 {
        sums.iter_mut()
            .zip(added)
            .for_each(|(sum, added)| *sum += added);
    } else {
        sums.iter_mut()
            .zip(added)
            .for_each(|(sum, added)| *sum += added * scale);
    }
}

/// Hands whole rows to `task`, with the index of their first value.
fn in_tasks(values: &mut [f32], width: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
    if width == 0 {
        return;
    }
    let grain = (GRAIN / width).max(1) * width;
    crew::each_part(values, grain, |index, rows| task(index * grain, rows));
}
