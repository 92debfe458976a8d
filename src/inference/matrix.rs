//! A matrix of f32 weights, laid out for the CPU's vector units.
//!
//! Each output is the same chain of multiply-adds over the input dimension
//! whatever the number of rows, so a row's result never depends on what else
//! is in the batch.

use super::{
    crew::{self, Shared},
    instructions::Instructions,
};
use rayon::prelude::*;

/// Output columns that lie together.
const PANEL: usize = 32;

/// Input dimensions per pass, so that a panel's part stays in the cache.
const DEPTH: usize = 1024;

/// Rows per pass.
const ROWS: usize = 12;

/// Rows that meet all panels of a task before the next ones do: their part of
/// a pass stays in the cache.
const ROWS_KEPT: usize = 96;

/// `[outputs, inputs]` weights as panels `[outputs / 32][inputs][32]`.
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<f32>,
    instructions: Instructions,
}

impl PackedMatrix {
    /// Packs row-major `[outputs, inputs]` weights.
    pub fn new(outputs: usize, inputs: usize, weights: &[f32]) -> Self {
        assert_eq!(weights.len(), outputs * inputs, "weights fit their shape");
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * inputs * PANEL];
        if inputs > 0 {
            panels
                .par_chunks_mut(inputs * PANEL)
                .enumerate()
                .for_each(|(index, panel)| {
                    let start = index * PANEL;
                    for (column, row) in (start..outputs.min(start + PANEL)).enumerate() {
                        let row = &weights[row * inputs..(row + 1) * inputs];
                        for (k, weight) in row.iter().enumerate() {
                            panel[k * PANEL + column] = *weight;
                        }
                    }
                });
        }
        Self {
            outputs,
            inputs,
            panels,
            instructions: Instructions::best(),
        }
    }

    /// The same matrix, multiplied by other instructions, which must be
    /// available.
    #[cfg(test)]
    pub fn using(mut self, instructions: Instructions) -> Self {
        self.instructions = instructions;
        self
    }

    /// Rows of the unpacked matrix.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub const fn bytes(&self) -> usize {
        self.panels.len() * size_of::<f32>()
    }

    /// Copies one row of the unpacked matrix: an embedding.
    pub fn copy_row(&self, row: usize, to: &mut [f32]) {
        let start = row / PANEL * self.inputs * PANEL + row % PANEL;
        for (k, value) in to.iter_mut().enumerate() {
            *value = self.panels[start + k * PANEL];
        }
    }

    /// `x [rows, inputs]` times the transposed matrix: `[rows, outputs]`.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        if inputs == 0 || outputs == 0 {
            return Vec::new();
        }
        assert_eq!(x.len() % inputs, 0, "whole rows");
        let rows = x.len() / inputs;
        let mut y: Vec<f32> = Vec::with_capacity(rows * outputs);
        let kernel = Kernel(self.instructions);
        let shared = Shared(y.as_mut_ptr());
        // A few panels per task: enough tasks to share, few enough to be cheap.
        let panels = outputs.div_ceil(PANEL);
        let per_task = (panels / (crew::size() * 4)).clamp(1, 16);
        let tasks = panels.div_ceil(per_task);
        let task = |task: usize| {
            let shared = &shared;
            let parts = (0..rows).step_by(ROWS_KEPT).flat_map(|first| {
                (0..inputs).step_by(DEPTH).flat_map(move |depth| {
                    (task * per_task..panels.min((task + 1) * per_task))
                        .map(move |index| (first, depth, index))
                })
            });
            for (first, depth, index) in parts {
                let panel = &self.panels[index * inputs * PANEL..(index + 1) * inputs * PANEL];
                let width = PANEL.min(outputs - index * PANEL);
                let depth_end = inputs.min(depth + DEPTH);
                let part = &panel[depth * PANEL..depth_end * PANEL];
                let end = rows.min(first + ROWS_KEPT);
                for row in (first..end).step_by(ROWS) {
                    let count = ROWS.min(end - row);
                    let x = &x[row * inputs + depth..];
                    // SAFETY: this task alone has these columns of `y`, and
                    // the rows and columns are inside it. The first pass over
                    // the inputs writes them all.
                    unsafe {
                        let sums = Sums {
                            at: shared.at(row * outputs + index * PANEL),
                            stride: outputs,
                            is_new: depth == 0,
                        };
                        if width == PANEL {
                            kernel.run(x, inputs, part, count, sums);
                        } else {
                            kernel.run_narrow(x, inputs, part, (count, width), sums);
                        }
                    }
                }
            }
        };
        if tasks == 1 || rows * inputs * outputs < 1 << 16 {
            (0..tasks).for_each(task);
        } else {
            crew::each(tasks, task);
        }
        // SAFETY: the tasks have written every column of every row.
        unsafe { y.set_len(rows * outputs) };
        y
    }
}

/// Where the sums of a block are, row by row.
#[derive(Clone, Copy)]
struct Sums {
    at: *mut f32,
    /// From one row to the next.
    stride: usize,
    /// Whether nothing was written there yet.
    is_new: bool,
}

/// The multiply-adds of one block.
#[derive(Clone, Copy)]
struct Kernel(Instructions);

impl Kernel {
    /// Adds `count` rows of `x` (at `stride`) times a panel part to the sums.
    ///
    /// # Safety
    /// There are `count` rows of as many sums as a panel has columns.
    unsafe fn run(self, x: &[f32], stride: usize, panel: &[f32], count: usize, sums: Sums) {
        let depth = panel.len() / PANEL;
        assert!(count <= ROWS && (count == 0 || x.len() >= (count - 1) * stride + depth));
        match self.0 {
            // SAFETY: the CPU has the instructions (they come from
            // `Instructions::available`), and the slices are long enough
            // (asserted above).
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Avx512 => unsafe {
                avx512::run(x, stride, panel, count, sums);
            },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::run(x, stride, panel, count, sums) },
            Instructions::Portable => {
                for r in 0..count {
                    // SAFETY: the caller's; new sums are written before they
                    // are read.
                    let sums = unsafe {
                        let at = sums.at.add(r * sums.stride);
                        if sums.is_new {
                            at.write_bytes(0, PANEL);
                        }
                        std::slice::from_raw_parts_mut(at, PANEL)
                    };
                    for (k, weights) in panel.chunks_exact(PANEL).enumerate() {
                        let value = x[r * stride + k];
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum += value * weight;
                        }
                    }
                }
            }
        }
    }

    /// As [`Kernel::run`], for rows of `width` sums.
    ///
    /// # Safety
    /// There are `count` rows of `width` sums.
    unsafe fn run_narrow(
        self,
        x: &[f32],
        stride: usize,
        panel: &[f32],
        (count, width): (usize, usize),
        sums: Sums,
    ) {
        let mut block = [0.0_f32; ROWS * PANEL];
        let whole = Sums {
            at: block.as_mut_ptr(),
            stride: PANEL,
            is_new: false,
        };
        // SAFETY: the caller's; the block has room for whole panels.
        unsafe {
            if !sums.is_new {
                for r in 0..count {
                    let from = sums.at.add(r * sums.stride);
                    whole
                        .at
                        .add(r * PANEL)
                        .copy_from_nonoverlapping(from, width);
                }
            }
            self.run(x, stride, panel, count, whole);
            for r in 0..count {
                let to = sums.at.add(r * sums.stride);
                to.copy_from_nonoverlapping(whole.at.add(r * PANEL), width);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{PANEL, Sums};
    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f")]
    pub unsafe fn run(x: &[f32], stride: usize, panel: &[f32], count: usize, sums: Sums) {
        // SAFETY: the caller checked the lengths.
        unsafe {
            match count {
                0 => {}
                1 => tile::<1>(x, stride, panel, sums),
                2 => tile::<2>(x, stride, panel, sums),
                3 => tile::<3>(x, stride, panel, sums),
                4 => tile::<4>(x, stride, panel, sums),
                5 => tile::<5>(x, stride, panel, sums),
                6 => tile::<6>(x, stride, panel, sums),
                7 => tile::<7>(x, stride, panel, sums),
                8 => tile::<8>(x, stride, panel, sums),
                9 => tile::<9>(x, stride, panel, sums),
                10 => tile::<10>(x, stride, panel, sums),
                11 => tile::<11>(x, stride, panel, sums),
                _ => tile::<12>(x, stride, panel, sums),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile<const N: usize>(x: &[f32], stride: usize, panel: &[f32], sums: Sums) {
        // SAFETY: `x` holds N rows at `stride`, each as long as the panel is
        // deep; there are as many rows of sums.
        unsafe {
            let mut low = [_mm512_setzero_ps(); N];
            let mut high = [_mm512_setzero_ps(); N];
            for r in 0..N {
                if !sums.is_new {
                    low[r] = _mm512_loadu_ps(sums.at.add(r * sums.stride));
                    high[r] = _mm512_loadu_ps(sums.at.add(r * sums.stride + 16));
                }
            }
            let (x, panel_start) = (x.as_ptr(), panel.as_ptr());
            for k in 0..panel.len() / PANEL {
                let first = _mm512_loadu_ps(panel_start.add(k * PANEL));
                let second = _mm512_loadu_ps(panel_start.add(k * PANEL + 16));
                for r in 0..N {
                    let value = _mm512_set1_ps(*x.add(r * stride + k));
                    low[r] = _mm512_fmadd_ps(value, first, low[r]);
                    high[r] = _mm512_fmadd_ps(value, second, high[r]);
                }
            }
            for r in 0..N {
                _mm512_storeu_ps(sums.at.add(r * sums.stride), low[r]);
                _mm512_storeu_ps(sums.at.add(r * sums.stride + 16), high[r]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{PANEL, Sums};
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn run(x: &[f32], stride: usize, panel: &[f32], count: usize, sums: Sums) {
        // Sixteen registers hold six rows of half a panel.
        for start in (0..count).step_by(6) {
            for half in [0, 16] {
                let x = &x[start * stride..];
                let panel = &panel[half..];
                // SAFETY: the caller checked the lengths.
                unsafe {
                    let sums = Sums {
                        at: sums.at.add(start * sums.stride + half),
                        ..sums
                    };
                    match count - start {
                        1 => tile::<1>(x, stride, panel, sums),
                        2 => tile::<2>(x, stride, panel, sums),
                        3 => tile::<3>(x, stride, panel, sums),
                        4 => tile::<4>(x, stride, panel, sums),
                        5 => tile::<5>(x, stride, panel, sums),
                        _ => tile::<6>(x, stride, panel, sums),
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile<const N: usize>(x: &[f32], stride: usize, panel: &[f32], sums: Sums) {
        // SAFETY: as for `run`; the panel starts at this half, so its last
        // line is 16 long or more.
        unsafe {
            let mut low = [_mm256_setzero_ps(); N];
            let mut high = [_mm256_setzero_ps(); N];
            for r in 0..N {
                if !sums.is_new {
                    low[r] = _mm256_loadu_ps(sums.at.add(r * sums.stride));
                    high[r] = _mm256_loadu_ps(sums.at.add(r * sums.stride + 8));
                }
            }
            let (x, panel_start) = (x.as_ptr(), panel.as_ptr());
            for k in 0..panel.len().div_ceil(PANEL) {
                let first = _mm256_loadu_ps(panel_start.add(k * PANEL));
                let second = _mm256_loadu_ps(panel_start.add(k * PANEL + 8));
                for r in 0..N {
                    let value = _mm256_set1_ps(*x.add(r * stride + k));
                    low[r] = _mm256_fmadd_ps(value, first, low[r]);
                    high[r] = _mm256_fmadd_ps(value, second, high[r]);
                }
            }
            for r in 0..N {
                _mm256_storeu_ps(sums.at.add(r * sums.stride), low[r]);
                _mm256_storeu_ps(sums.at.add(r * sums.stride + 8), high[r]);
            }
        }
    }
}
