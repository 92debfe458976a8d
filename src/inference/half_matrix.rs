//! A matrix of bf16 weights for processors that multiply them.
//!
//! Activations are rounded to bf16 (ties to even), products are summed in f32
//! by `vdpbf16ps`, in the order of the inputs: two at a time, denormals as
//! zeros. Each output is the same chain whatever the number of rows.

use super::crew::{self, Shared};
use rayon::prelude::*;

/// Output columns that lie together.
const PANEL: usize = 32;

/// Rows per pass.
const ROWS: usize = 12;

/// Bytes of activations that meet all panels of a task before the next ones
/// do, so that they stay in the cache.
const KEPT: usize = 384 << 10;

/// `[outputs, inputs]` weights as panels `[outputs / 32][inputs / 2][32]` of
/// two neighbouring inputs.
pub struct HalfMatrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<u32>,
}

impl HalfMatrix {
    /// Whether this processor multiplies bf16.
    pub fn is_possible() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            std::arch::is_x86_feature_detected!("avx512bf16")
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Packs row-major `[outputs, inputs]` weights, which are rounded to bf16.
    pub fn new(outputs: usize, inputs: usize, weights: &[f32]) -> Self {
        assert_eq!(weights.len(), outputs * inputs, "weights fit their shape");
        let pairs = inputs.div_ceil(2);
        let mut panels = vec![0; outputs.div_ceil(PANEL) * pairs * PANEL];
        panels
            .par_chunks_mut((pairs * PANEL).max(1))
            .enumerate()
            .for_each(|(index, panel)| {
                let start = index * PANEL;
                for (column, row) in (start..outputs.min(start + PANEL)).enumerate() {
                    let row = &weights[row * inputs..(row + 1) * inputs];
                    for (k, two) in row.chunks(2).enumerate() {
                        panel[k * PANEL + column] = pair(two);
                    }
                }
            });
        Self {
            outputs,
            inputs,
            panels,
        }
    }

    /// Rows of the unpacked matrix.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub const fn bytes(&self) -> usize {
        self.panels.len() * size_of::<u32>()
    }

    /// `x [rows, inputs]` times the transposed matrix, plus `bias [outputs]`:
    /// `[rows, outputs]`. To be called only where
    /// [`HalfMatrix::is_possible`].
    pub fn multiply(&self, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        if inputs == 0 || outputs == 0 {
            return Vec::new();
        }
        assert_eq!(x.len() % inputs, 0, "whole rows");
        assert!(Self::is_possible(), "the processor multiplies bf16");
        let rows = x.len() / inputs;
        let pairs = inputs.div_ceil(2);
        // Tiles of rows: `[pairs][rows]`.
        let mut rounded = vec![0_u32; rows * pairs];
        crew::each_part(&mut rounded, ROWS * pairs, |tile, to| {
            let first = tile * ROWS * inputs;
            let x = &x[first..x.len().min(first + ROWS * inputs)];
            let count = x.len() / inputs;
            for (r, row) in x.chunks_exact(inputs).enumerate() {
                for (k, two) in row.chunks(2).enumerate() {
                    to[k * count + r] = pair(two);
                }
            }
        });
        let mut y: Vec<f32> = Vec::with_capacity(rows * outputs);
        let shared = Shared(y.as_mut_ptr());
        let panels = outputs.div_ceil(PANEL);
        let per_task = (panels / (crew::size() * 4)).clamp(1, 16);
        let tasks = panels.div_ceil(per_task);
        let tiles_kept = (KEPT / (ROWS * pairs * size_of::<u32>())).max(2);
        let kept = tiles_kept * ROWS * pairs;
        let task = |task: usize| {
            let shared = &shared;
            let parts = rounded.chunks(kept).enumerate().flat_map(|(number, x)| {
                (task * per_task..panels.min((task + 1) * per_task))
                    .map(move |index| (number * tiles_kept, x, index))
            });
            for (first, x, index) in parts {
                let panel = &self.panels[index * pairs * PANEL..(index + 1) * pairs * PANEL];
                let width = PANEL.min(outputs - index * PANEL);
                let mut start = [0.0; PANEL];
                if let Some(bias) = bias {
                    start[..width].copy_from_slice(&bias[index * PANEL..index * PANEL + width]);
                }
                for (x, tile) in x.chunks(ROWS * pairs).zip(first..) {
                    let count = x.len() / pairs;
                    let mut sums = [0.0; ROWS * PANEL];
                    for sums in sums.chunks_exact_mut(PANEL).take(count) {
                        sums.copy_from_slice(&start);
                    }
                    run(x, panel, count, &mut sums);
                    for (r, sums) in sums.chunks_exact(PANEL).take(count).enumerate() {
                        // SAFETY: this task alone writes these columns of `y`,
                        // and the rows and columns are inside it.
                        unsafe {
                            let to = shared.at((tile * ROWS + r) * outputs + index * PANEL);
                            to.copy_from_nonoverlapping(sums.as_ptr(), width);
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

/// One or two floats, rounded to bf16, the first in the low half.
fn pair(two: &[f32]) -> u32 {
    let half = |value: f32| {
        let bits = value.to_bits();
        if value.is_nan() {
            // Rounding could make an infinity of it.
            return bits >> 16 | 0x40;
        }
        (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    };
    let first = two.first().map_or(0, |value| half(*value));
    let second = two.get(1).map_or(0, |value| half(*value));
    first | second << 16
}

/// Adds `count` rows of `x`, `[pairs][count]`, times a panel to `sums`.
fn run(x: &[u32], panel: &[u32], count: usize, sums: &mut [f32; ROWS * PANEL]) {
    assert!((1..=ROWS).contains(&count) && x.len() * PANEL == panel.len() * count);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `multiply` checked that the processor has the instructions, and
    // the slices are long enough.
    unsafe {
        match count {
            1 => x86::tile::<1>(x, panel, sums),
            2 => x86::tile::<2>(x, panel, sums),
            3 => x86::tile::<3>(x, panel, sums),
            4 => x86::tile::<4>(x, panel, sums),
            5 => x86::tile::<5>(x, panel, sums),
            6 => x86::tile::<6>(x, panel, sums),
            7 => x86::tile::<7>(x, panel, sums),
            8 => x86::tile::<8>(x, panel, sums),
            9 => x86::tile::<9>(x, panel, sums),
            10 => x86::tile::<10>(x, panel, sums),
            11 => x86::tile::<11>(x, panel, sums),
            _ => x86::tile::<12>(x, panel, sums),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = sums;
}

// Loops by index over arrays of fixed size stay in registers.
#[allow(clippy::needless_range_loop)]
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, ROWS};
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
        _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn tile<const N: usize>(x: &[u32], panel: &[u32], sums: &mut [f32; ROWS * PANEL]) {
        // SAFETY: `x` has N values for each line of the panel; `sums` holds
        // 12 rows; a vector of 16 pairs is one of 32 bf16.
        unsafe {
            let halves = |pairs: __m512i| std::mem::transmute::<__m512i, __m512bh>(pairs);
            let mut low = [_mm512_setzero_ps(); N];
            let mut high = [_mm512_setzero_ps(); N];
            for r in 0..N {
                low[r] = _mm512_loadu_ps(sums.as_ptr().add(r * PANEL));
                high[r] = _mm512_loadu_ps(sums.as_ptr().add(r * PANEL + 16));
            }
            let (x, panel_start) = (x.as_ptr(), panel.as_ptr());
            for k in 0..panel.len() / PANEL {
                let line = panel_start.add(k * PANEL);
                let first = halves(_mm512_loadu_si512(line.cast()));
                let second = halves(_mm512_loadu_si512(line.add(16).cast()));
                for r in 0..N {
                    let value = halves(_mm512_set1_epi32((*x.add(k * N + r)).cast_signed()));
                    low[r] = _mm512_dpbf16_ps(low[r], value, first);
                    high[r] = _mm512_dpbf16_ps(high[r], value, second);
                }
            }
            for r in 0..N {
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL), low[r]);
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL + 16), high[r]);
            }
        }
    }
}
