//! Loops over rows of f32 values in host memory that follow a matrix product,
//! compiled for the processor's own instructions.

use super::super::{config::Activation, instructions::Instructions, lanes::exp};
use rayon::prelude::*;

/// Values per task.
const GRAIN: usize = 1 << 13;

/// Floats that are summed side by side.
const SIDE: usize = 16;

/// A layer norm: `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[width]`.
    pub weight: &'a [f32],
    /// `[width]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// `act(y + bias)` in place, for rows as wide as `bias`; no bias where it is
/// empty.
pub fn activate(
    instructions: Instructions,
    y: &mut [f32],
    width: usize,
    bias: &[f32],
    activation: Activation,
) {
    in_tasks(y, width, |_, rows| {
        activate_alone(instructions, rows, width, bias, activation);
    });
}

/// `act(a) * b` for rows of `[a | b]` plus a bias as wide as both:
/// `[rows, 2 width]` to `[rows, width]`.
pub fn gate(
    instructions: Instructions,
    y: &[f32],
    width: usize,
    bias: &[f32],
    activation: Activation,
) -> Vec<f32> {
    let mut out = vec![0.0; y.len() / 2];
    in_tasks(&mut out, width, |start, rows| {
        let from = &y[2 * start..2 * (start + rows.len())];
        let (first, second) = bias.split_at(bias.len() / 2);
        for (row, from) in rows
            .chunks_exact_mut(width)
            .zip(from.chunks_exact(2 * width))
        {
            row.copy_from_slice(&from[..width]);
        }
        activate_alone(instructions, rows, width, first, activation);
        for (row, from) in rows
            .chunks_exact_mut(width)
            .zip(from.chunks_exact(2 * width))
        {
            let up = &from[width..];
            if second.is_empty() {
                row.iter_mut().zip(up).for_each(|(row, up)| *row *= up);
            } else {
                for ((row, up), bias) in row.iter_mut().zip(up).zip(second) {
                    *row *= up + bias;
                }
            }
        }
    });
    out
}

/// `norm(y + bias + residual)` in place; what is empty or `None` is left out.
pub fn add_norm(
    instructions: Instructions,
    y: &mut [f32],
    width: usize,
    bias: &[f32],
    residual: &[f32],
    norm: Option<LayerNorm<'_>>,
) {
    in_tasks(y, width, |start, rows| {
        let residual = match residual.is_empty() {
            true => residual,
            false => &residual[start..start + rows.len()],
        };
        match instructions {
            // SAFETY: as in `activate_alone`.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
                add_norm_avx512(rows, width, bias, residual, norm)
            },
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { add_norm_avx2(rows, width, bias, residual, norm) },
            Instructions::Portable => add_norm_rows(rows, width, bias, residual, norm),
        }
    });
}

/// Hands whole rows to `task`, with the index of their first value.
fn in_tasks(values: &mut [f32], width: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
    if width == 0 {
        return;
    }
    let grain = (GRAIN / width).max(1) * width;
    if values.len() <= grain {
        task(0, values);
    } else {
        values
            .par_chunks_mut(grain)
            .enumerate()
            .for_each(|(index, rows)| task(index * grain, rows));
    }
}

fn activate_alone(
    instructions: Instructions,
    rows: &mut [f32],
    width: usize,
    bias: &[f32],
    activation: Activation,
) {
    match instructions {
        // SAFETY: the processor has the instructions (they come from
        // `Instructions::available`).
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
            activate_avx512(rows, width, bias, activation)
        },
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { activate_avx2(rows, width, bias, activation) },
        Instructions::Portable => activate_rows(rows, width, bias, activation),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn activate_avx512(rows: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    activate_rows(rows, width, bias, activation);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn activate_avx2(rows: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    activate_rows(rows, width, bias, activation);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn add_norm_avx512(
    rows: &mut [f32],
    width: usize,
    bias: &[f32],
    residual: &[f32],
    norm: Option<LayerNorm<'_>>,
) {
    add_norm_rows(rows, width, bias, residual, norm);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_norm_avx2(
    rows: &mut [f32],
    width: usize,
    bias: &[f32],
    residual: &[f32],
    norm: Option<LayerNorm<'_>>,
) {
    add_norm_rows(rows, width, bias, residual, norm);
}

#[inline(always)]
fn activate_rows(rows: &mut [f32], width: usize, bias: &[f32], activation: Activation) {
    for row in rows.chunks_exact_mut(width) {
        if !bias.is_empty() {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
        match activation {
            Activation::Gelu => row.iter_mut().for_each(|y| *y = gelu(*y)),
            Activation::GeluTanh => row.iter_mut().for_each(|y| *y = gelu_tanh(*y)),
            Activation::Silu => row.iter_mut().for_each(|y| *y /= 1.0 + exp(-*y)),
        }
    }
}

#[inline(always)]
fn add_norm_rows(
    rows: &mut [f32],
    width: usize,
    bias: &[f32],
    residual: &[f32],
    norm: Option<LayerNorm<'_>>,
) {
    for (index, row) in rows.chunks_exact_mut(width).enumerate() {
        if !bias.is_empty() {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
        if !residual.is_empty() {
            let residual = &residual[index * width..(index + 1) * width];
            row.iter_mut().zip(residual).for_each(|(y, x)| *y += x);
        }
        let Some(norm) = norm else { continue };
        let mean = sum(row, |y| y) / width as f32;
        let variance = sum(row, |y| (y - mean) * (y - mean)) / width as f32;
        let factor = 1.0 / (variance + norm.eps).sqrt();
        for ((y, weight), bias) in row.iter_mut().zip(norm.weight).zip(norm.bias) {
            *y = (*y - mean) * factor * weight + bias;
        }
    }
}

/// A sum in 16 lanes.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; SIDE];
    let chunks = row.chunks_exact(SIDE);
    let rest: f32 = chunks.remainder().iter().map(|y| of(*y)).sum();
    for chunk in chunks {
        for (lane, y) in lanes.iter_mut().zip(chunk) {
            *lane += of(*y);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// GELU by the error function.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The tanh approximation of GELU.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    // 0.5 (1 + tanh(u)) is the logistic function of 2u.
    x / (1.0 + exp(-2.0 * inner))
}

/// The error function as a quotient of polynomials in x^2 (the coefficients
/// are Eigen's), within 4e-7 of the exact one.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let above = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024_1e-6,
        -5.692_506_5e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let below = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    let polynomial = |coefficients: &[f32]| {
        coefficients
            .iter()
            .fold(0.0_f32, |sum, coefficient| sum * square + coefficient)
    };
    x * polynomial(&above) / polynomial(&below)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The error function by its series, in f64.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut total) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            total += term / (2.0 * n + 1.0);
        }
        total * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn the_fast_error_function_is_close_to_its_series() {
        for step in -400..=400 {
            let x = step as f32 / 100.0;
            let (got, want) = (f64::from(erf(x)), exact_erf(f64::from(x)));
            assert!((got - want).abs() < 4e-7, "erf({x}) is {want}, not {got}");
        }
        assert_eq!(erf(80.0), erf(4.0));
    }

    #[test]
    fn every_instruction_set_gives_the_same_rows() {
        let (width, rows) = (37, 500);
        let values: Vec<f32> = (0..width * rows)
            .map(|i| ((i * 7919) % 1000) as f32 / 100.0 - 5.0)
            .collect();
        let weight: Vec<f32> = (0..width).map(|i| 1.0 + i as f32 / 50.0).collect();
        let bias: Vec<f32> = (0..width).map(|i| i as f32 / 30.0).collect();
        let norm = LayerNorm {
            weight: &weight,
            bias: &bias,
            eps: 1e-12,
        };
        let of = |instructions: Instructions| {
            let mut y = values.clone();
            activate(instructions, &mut y, width, &bias, Activation::Gelu);
            add_norm(instructions, &mut y, width, &bias, &values, Some(norm));
            y
        };
        let all: Vec<Vec<f32>> = Instructions::available().into_iter().map(of).collect();
        for other in &all[1..] {
            for (a, b) in all[0].iter().zip(other) {
                assert!((a - b).abs() < 1e-5, "{a} and {b}");
            }
        }
        let first = &all[0][..width];
        let mean: f32 = first
            .iter()
            .zip(&weight)
            .zip(&bias)
            .map(|((y, weight), bias)| (y - bias) / weight)
            .sum::<f32>()
            / width as f32;
        assert!(mean.abs() < 1e-5, "a normed row has no mean left: {mean}");
    }

    #[test]
    fn a_gate_multiplies_the_activated_half_with_the_other() {
        let out = gate(
            Instructions::best(),
            &[0.0, 3.0, 2.0, 5.0],
            2,
            &[],
            Activation::Gelu,
        );
        assert_eq!(out[0], 0.0);
        assert!((out[1] - 3.0 * 0.998_650_1 * 5.0).abs() < 1e-4, "{out:?}");
    }
}
