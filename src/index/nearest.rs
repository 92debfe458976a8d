//! Exact search: every vector against every query, as blocks of a matrix
//! product.

use super::{IndexError, vectors::Vectors};
use gemm::{Parallelism, gemm};
use rayon::prelude::*;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    ops::Range,
};

/// Rows of one matrix product: 3 MB of f32 at 384 dimensions.
const BLOCK: usize = 2_048;
/// Queries of one matrix product.
const QUERIES: usize = 128;

/// Differences that single precision makes.
pub(super) const ROUNDING: f32 = 1e-5;

/// A row with its inner product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub row: u32,
    pub score: f32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// The better one is greater; of equal ones, the first row.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.row.cmp(&self.row))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `limit` of what was pushed.
#[derive(Debug, Clone)]
struct Best {
    limit: usize,
    heap: BinaryHeap<Reverse<Scored>>,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    fn push(&mut self, scored: Scored) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(scored));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && scored > worst.0
        {
            *worst = Reverse(scored);
        }
    }

    fn merge(&mut self, other: Self) {
        for scored in other.heap {
            self.push(scored.0);
        }
    }

    fn sorted(self) -> Vec<Scored> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|scored| scored.0).collect()
    }
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// From the map: it will be searched again.
    Mapped,
    /// From the file: memory stays small.
    Read,
}

/// For every query its `limit` best rows by inner product, best first.
pub(super) fn nearest(
    vectors: &Vectors,
    queries: &[Vec<f32>],
    limit: usize,
    access: Access,
) -> Result<Vec<Vec<Scored>>, IndexError> {
    let limit = limit.min(vectors.rows());
    if limit == 0 {
        return Ok(vec![Vec::new(); queries.len()]);
    }
    let blocks: Vec<Range<usize>> = (0..vectors.rows())
        .step_by(BLOCK)
        .map(|start| start..(start + BLOCK).min(vectors.rows()))
        .collect();
    let mut all = Vec::with_capacity(queries.len());
    for queries in queries.chunks(QUERIES) {
        let matrix: Vec<f32> = queries.concat();
        let nothing = || vec![Best::new(limit); queries.len()];
        let found = blocks
            .par_iter()
            .map(|rows| {
                let mut best = nothing();
                let scores = match access {
                    Access::Mapped => products(&vectors.block(rows.clone()), &matrix, queries),
                    Access::Read => products(&vectors.read_block(rows.clone())?, &matrix, queries),
                };
                for (best, scores) in best.iter_mut().zip(scores.chunks(rows.len())) {
                    for (row, score) in rows.clone().zip(scores) {
                        best.push(Scored {
                            row: row as u32,
                            score: *score,
                        });
                    }
                }
                Ok::<_, IndexError>(best)
            })
            .try_reduce(nothing, |mut all, some| {
                for (all, some) in all.iter_mut().zip(some) {
                    all.merge(some);
                }
                Ok(all)
            })?;
        all.extend(found.into_iter().map(Best::sorted));
    }
    Ok(all)
}

/// Inner products, the rows of the first query first.
fn products(block: &[f32], matrix: &[f32], queries: &[Vec<f32>]) -> Vec<f32> {
    let dimension = matrix.len() / queries.len();
    let rows = block.len() / dimension;
    let mut scores = vec![0.0; rows * queries.len()];
    // SAFETY: `scores` is rows x queries in columns, `block` rows x dimension
    // in rows, and `matrix` dimension x queries in columns; all are that long.
    unsafe {
        gemm(
            rows,
            queries.len(),
            dimension,
            scores.as_mut_ptr(),
            rows as isize,
            1,
            false,
            block.as_ptr(),
            1,
            dimension as isize,
            matrix.as_ptr(),
            dimension as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
    scores
}

/// Inner product in double precision and in one order, so that a score never
/// depends on what else was searched at the same time.
pub(super) fn exact_score(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}
