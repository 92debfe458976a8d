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
                let mut block = [0.0_f32; ROWS * PANEL];
                let depth_end = inputs.min(depth + DEPTH);
                let part = &panel[depth * PANEL..depth_end * PANEL];
                let end = rows.min(first + ROWS_KEPT);
                for row in (first..end).step_by(ROWS) {
                    let count = ROWS.min(end - row);
                    // SAFETY: this task alone has these columns of `y`, and
                    // the rows and columns are inside it.
                    let at = |r: usize| unsafe { shared.at((row + r) * outputs + index * PANEL) };
                    for (r, sums) in block.chunks_exact_mut(PANEL).take(count).enumerate() {
                        // The first pass finds nothing there.
                        if depth == 0 {
                            sums.fill(0.0);
                        } else {
                            // SAFETY: the first pass has written it.
                            unsafe { load(at(r), width, sums) };
                        }
                    }
                    kernel.run(&x[row * inputs + depth..], inputs, part, count, &mut block);
                    for (r, sums) in block.chunks_exact(PANEL).take(count).enumerate() {
                        // SAFETY: as for `at`.
                        unsafe { store(sums, width, at(r)) };
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

/// Copies `width` sums from their place. A whole panel is a few vectors
/// instead of a call.
///
/// # Safety
/// There are as many, and they were written.
#[inline(always)]
unsafe fn load(from: *const f32, width: usize, sums: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        if width == PANEL {
            *sums.as_mut_ptr().cast::<[f32; PANEL]>() =
                from.cast::<[f32; PANEL]>().read_unaligned();
        } else {
            sums.fill(0.0);
            sums.as_mut_ptr().copy_from_nonoverlapping(from, width);
        }
    }
}

/// Copies `width` sums to their place.
///
/// # Safety
/// There is room for as many.
#[inline(always)]
unsafe fn store(sums: &[f32], width: usize, to: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        if width == PANEL {
            let whole = sums.as_ptr().cast::<[f32; PANEL]>();
            to.cast::<[f32; PANEL]>()
                .write_unaligned(whole.read_unaligned());
        } else {
            to.copy_from_nonoverlapping(sums.as_ptr(), width);
        }
    }
}

/// The multiply-adds of one block.
#[derive(Clone, Copy)]
struct Kernel(Instructions);

impl Kernel {
    /// Adds `count` rows of `x` (at `stride`) times a panel part to `sums`.
    fn run(
        self,
        x: &[f32],
        stride: usize,
        panel: &[f32],
        count: usize,
        sums: &mut [f32; ROWS * PANEL],
    ) {
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
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2::run(x, stride, panel, count, sums) },
            Instructions::Portable => {
                for r in 0..count {
                    let sums = &mut sums[r * PANEL..(r + 1) * PANEL];
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
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{PANEL, ROWS};
    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f")]
    pub unsafe fn run(
        x: &[f32],
        stride: usize,
        panel: &[f32],
        count: usize,
        sums: &mut [f32; ROWS * PANEL],
    ) {
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
    unsafe fn tile<const N: usize>(
        x: &[f32],
        stride: usize,
        panel: &[f32],
        sums: &mut [f32; ROWS * PANEL],
    ) {
        // SAFETY: `x` holds N rows at `stride`, each as long as the panel is
        // deep; `sums` holds 12 rows.
        unsafe {
            let mut low = [_mm512_setzero_ps(); N];
            let mut high = [_mm512_setzero_ps(); N];
            for r in 0..N {
                low[r] = _mm512_loadu_ps(sums.as_ptr().add(r * PANEL));
                high[r] = _mm512_loadu_ps(sums.as_ptr().add(r * PANEL + 16));
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
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL), low[r]);
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL + 16), high[r]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{PANEL, ROWS};
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn run(
        x: &[f32],
        stride: usize,
        panel: &[f32],
        count: usize,
        sums: &mut [f32; ROWS * PANEL],
    ) {
        // Sixteen registers hold six rows of half a panel.
        for start in (0..count).step_by(6) {
            for half in [0, 16] {
                let x = &x[start * stride..];
                let sums = &mut sums[start * PANEL + half..];
                let panel = &panel[half..];
                // SAFETY: the caller checked the lengths.
                unsafe {
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
    unsafe fn tile<const N: usize>(x: &[f32], stride: usize, panel: &[f32], sums: &mut [f32]) {
        // SAFETY: as for `run`; the panel starts at this half, so its last
        // line is 16 long or more.
        unsafe {
            let mut low = [_mm256_setzero_ps(); N];
            let mut high = [_mm256_setzero_ps(); N];
            for r in 0..N {
                low[r] = _mm256_loadu_ps(sums.as_ptr().add(r * PANEL));
                high[r] = _mm256_loadu_ps(sums.as_ptr().add(r * PANEL + 8));
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
                _mm256_storeu_ps(sums.as_mut_ptr().add(r * PANEL), low[r]);
                _mm256_storeu_ps(sums.as_mut_ptr().add(r * PANEL + 8), high[r]);
            }
        }
    }
}
