//! Exact search for the nearest of many vectors on a device.
//!
//! Inner products are one matrix product; of them only the blocks that can hold
//! one of the best come back: those with the greatest maxima, as many as rows
//! are wanted, since each of the best rows lies in such a block.

use super::{Device, EncoderEvent, classify};
use crate::domain::{Failure, FailureClass, VectorFile};
use candle_core::{D, DType, Tensor};
use half::f16;
use memmap2::Mmap;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::{fs::File, path::Path};

/// Rows of a block.
const BLOCK: usize = 64;
/// Rows of a matrix product; whole blocks.
const ROWS: usize = 1 << 19;
/// Products at once: 256 MB.
const PRODUCTS: usize = 64 << 20;

/// Vectors on a device.
pub struct RowSearch {
    device: candle_core::Device,
    /// `[rows, dimension]` each, of at most [`ROWS`], padded with zeros to whole
    /// blocks.
    parts: Vec<Tensor>,
    rows: usize,
    dimension: usize,
}

impl RowSearch {
    /// Takes vectors to a device. With [`Device::Auto`] that must be a GPU: on
    /// the processor nothing is won.
    ///
    /// # Errors
    /// When the file is not what was said, there is no such device, or no room
    /// on it.
    pub fn load(file: &VectorFile, device: Device) -> Result<Self, Failure> {
        let opened = device.open()?;
        if opened.is_cpu() && device == Device::Auto {
            return Err(Failure::new(FailureClass::Permanent, "there is no GPU"));
        }
        let name = file.path.display().to_string();
        let map = map(&file.path)
            .map_err(|error| Failure::new(FailureClass::Permanent, format!("{name}: {error}")))?;
        let numbers = numbers(&map, file).ok_or_else(|| {
            Failure::new(
                FailureClass::Permanent,
                format!("{name} is too short for {} vectors", file.rows),
            )
        })?;
        let mut parts = Vec::new();
        for bytes in numbers.chunks(ROWS * file.dimension * width(file.half)) {
            let part = part(bytes, file, &opened);
            parts.push(part.map_err(|error| classify::at_load(&name, &error))?);
        }
        Ok(Self {
            device: opened,
            parts,
            rows: file.rows,
            dimension: file.dimension,
        })
    }

    /// What is reported of it.
    pub fn describe(&self) -> Value {
        json!({
            "device": if self.device.is_cpu() { "cpu" } else { "cuda" },
            "rows": self.rows,
            "dimension": self.dimension,
        })
    }

    /// For each of `count` queries that follow each other, its `limit` rows with
    /// the greatest inner products, best first, of equal ones the first: told as
    /// pairs of the row's number, as the bits of a float, and the product.
    ///
    /// # Errors
    /// When the queries have another dimension, or the device fails.
    pub fn nearest(
        &self,
        queries: &[f32],
        count: usize,
        limit: usize,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        if queries.len() != count * self.dimension {
            return Err(Failure::new(
                FailureClass::Permanent,
                format!(
                    "the vectors have {} numbers and the queries others",
                    self.dimension
                ),
            ));
        }
        let most = (PRODUCTS / self.rows.clamp(BLOCK, ROWS)).max(1);
        for (chunk, queries) in queries.chunks(most * self.dimension).enumerate() {
            let found = self
                .best(queries, limit.min(self.rows))
                .map_err(|error| classify::in_batch(&error))?;
            let values = found.into_iter().flatten();
            tell(EncoderEvent::Rows {
                indices: (chunk * most..)
                    .take(queries.len() / self.dimension)
                    .collect(),
                values: values
                    .flat_map(|(row, score)| [f32::from_bits(row), score])
                    .collect(),
            });
        }
        Ok(())
    }

    fn best(&self, queries: &[f32], limit: usize) -> candle_core::Result<Vec<Vec<(u32, f32)>>> {
        let count = queries.len() / self.dimension;
        let matrix = Tensor::from_slice(queries, (count, self.dimension), &self.device)?;
        let mut found: Vec<Vec<(u32, f32)>> = vec![Vec::new(); count];
        for (part, vectors) in self.parts.iter().enumerate() {
            let blocks = vectors.dim(0)? / BLOCK;
            let products = matrix
                .matmul(&vectors.to_dtype(DType::F32)?.t()?)?
                .reshape((count * blocks, BLOCK))?;
            let maxima = products.max(D::Minus1)?.to_vec1::<f32>()?;
            // Zeros that pad the last block may make it one too many.
            let wanted: Vec<Vec<u32>> = maxima
                .par_chunks(blocks)
                .map(|maxima| greatest(maxima, limit + 1))
                .collect();
            let flat: Vec<u32> = (0..)
                .zip(&wanted)
                .flat_map(|(query, wanted)| {
                    wanted
                        .iter()
                        .map(move |block| query * blocks as u32 + block)
                })
                .collect();
            let flat = Tensor::from_vec(flat, count * wanted[0].len(), &self.device)?;
            let kept = products.index_select(&flat, 0)?.flatten_all()?;
            let kept = kept.to_vec1::<f32>()?;
            found
                .par_iter_mut()
                .zip(wanted)
                .zip(kept.par_chunks(kept.len() / count))
                .for_each(|((found, wanted), products)| {
                    for (block, products) in wanted.into_iter().zip(products.chunks(BLOCK)) {
                        let first = part * ROWS + block as usize * BLOCK;
                        let rows = (first..self.rows).zip(products);
                        found.extend(rows.map(|(row, product)| (row as u32, *product)));
                    }
                    keep_best(found, limit);
                });
        }
        Ok(found)
    }
}

/// The numbers of the greatest `limit` of these.
fn greatest(values: &[f32], limit: usize) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..values.len() as u32).collect();
    if limit < numbers.len() {
        numbers.select_nth_unstable_by(limit, |a, b| {
            values[*b as usize]
                .total_cmp(&values[*a as usize])
                .then(a.cmp(b))
        });
        numbers.truncate(limit);
    }
    numbers
}

/// Keeps the best `limit`, best first, of equal ones the first.
fn keep_best(found: &mut Vec<(u32, f32)>, limit: usize) {
    let better = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if limit < found.len() {
        found.select_nth_unstable_by(limit, better);
        found.truncate(limit);
    }
    found.sort_unstable_by(better);
}

fn map(path: &Path) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: vectors of a published index are never written again.
    unsafe { Mmap::map(&file) }
}

const fn width(half: bool) -> usize {
    if half { 2 } else { 4 }
}

/// The bytes of the vectors; `None` when there are too few.
fn numbers<'m>(map: &'m Mmap, file: &VectorFile) -> Option<&'m [u8]> {
    let bytes = file
        .rows
        .checked_mul(file.dimension)?
        .checked_mul(width(file.half))?;
    map.get(usize::try_from(file.start).ok()?..)?.get(..bytes)
}

/// Some rows on the device.
fn part(
    bytes: &[u8],
    file: &VectorFile,
    device: &candle_core::Device,
) -> candle_core::Result<Tensor> {
    let dimension = file.dimension;
    let rows = bytes.len() / width(file.half) / dimension.max(1);
    let padded = rows.next_multiple_of(BLOCK);
    if file.half {
        let numbers = bytes.as_chunks::<2>().0.iter();
        let mut numbers: Vec<f16> = numbers.map(|bytes| f16::from_le_bytes(*bytes)).collect();
        numbers.resize(padded * dimension, f16::ZERO);
        Tensor::from_vec(numbers, (padded, dimension), device)
    } else {
        let numbers = bytes.as_chunks::<4>().0.iter();
        let mut numbers: Vec<f32> = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        numbers.resize(padded * dimension, 0.0);
        Tensor::from_vec(numbers, (padded, dimension), device)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    const START: usize = 64;

    /// Rows of mixed numbers, with some that stand twice, in a file.
    fn file(rows: usize, dimension: usize, half: bool, dir: &Path) -> (VectorFile, Vec<f32>) {
        let spread = |at: usize| (at as f32 * 0.618_034).fract() * 2.0 - 1.0;
        let mut numbers: Vec<f32> = (0..rows * dimension)
            .map(|at| f16::from_f32(spread(at * (at % 13 + 1))).to_f32())
            .collect();
        let again = numbers[..dimension].to_vec();
        numbers[(rows - 1) * dimension..].copy_from_slice(&again);
        let path = dir.join("vectors");
        let mut out = File::create(&path).unwrap();
        out.write_all(&[9; START]).unwrap();
        for number in &numbers {
            match half {
                true => out
                    .write_all(&f16::from_f32(*number).to_le_bytes())
                    .unwrap(),
                false => out.write_all(&number.to_le_bytes()).unwrap(),
            }
        }
        let file = VectorFile {
            path,
            start: START as u64,
            rows,
            dimension,
            half,
        };
        (file, numbers)
    }

    fn found(search: &RowSearch, queries: &[f32], count: usize, limit: usize) -> Vec<Vec<f32>> {
        let mut found = vec![Vec::new(); count];
        let mut tell = |event| {
            let EncoderEvent::Rows { indices, values } = event else {
                return;
            };
            let width = values.len() / indices.len();
            for (index, row) in indices.iter().zip(values.chunks(width.max(1))) {
                found[*index] = row.to_vec();
            }
        };
        search.nearest(queries, count, limit, &mut tell).unwrap();
        found
    }

    #[test]
    fn the_nearest_rows_are_those_of_a_plain_search() {
        let dir = tempfile::tempdir().unwrap();
        for (rows, dimension, half) in [
            (1, 8, false),
            (64, 8, true),
            (1_000, 24, false),
            (777, 16, true),
        ] {
            let (file, numbers) = file(rows, dimension, half, dir.path());
            let search = RowSearch::load(&file, Device::Cpu).unwrap();
            assert_eq!(search.describe()["rows"], rows);
            // Every product of the second query is negative or nothing.
            let mut queries = numbers[..dimension].to_vec();
            queries.extend(numbers[..dimension].iter().map(|x| -x));
            for limit in [1, 5, 70, 2_000] {
                let found = found(&search, &queries, 2, limit);
                for (query, found) in queries.chunks(dimension).zip(found) {
                    let mut all: Vec<(u32, f32)> = (0..)
                        .zip(numbers.chunks(dimension))
                        .map(|(row, vector)| {
                            (row, vector.iter().zip(query).map(|(a, b)| a * b).sum())
                        })
                        .collect();
                    keep_best(&mut all, limit);
                    let (pairs, _) = found.as_chunks::<2>();
                    assert_eq!(pairs.len(), all.len());
                    for ([row, product], (expected_row, expected)) in pairs.iter().zip(all) {
                        assert!(
                            (product - expected).abs() < 1e-4,
                            "{product} for {expected}"
                        );
                        let row = row.to_bits() as usize;
                        let own: f32 = numbers[row * dimension..][..dimension]
                            .iter()
                            .zip(query)
                            .map(|(a, b)| a * b)
                            .sum();
                        assert!(
                            row == expected_row as usize || (own - expected).abs() < 1e-4,
                            "row {row} for {expected_row}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn files_that_are_not_what_was_said_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = file(10, 4, false, dir.path());
        let refused =
            |file: &VectorFile, device| RowSearch::load(file, device).err().unwrap().message;
        file.rows = 11;
        assert!(refused(&file, Device::Cpu).contains("too short for 11 vectors"));
        file.rows = usize::MAX;
        assert!(refused(&file, Device::Cpu).contains("too short"));
        file.path = dir.path().join("nowhere");
        assert!(refused(&file, Device::Cpu).contains("nowhere"));
    }

    #[test]
    fn queries_of_another_dimension_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = file(10, 4, false, dir.path());
        let search = RowSearch::load(&file, Device::Cpu).unwrap();
        let failure = search.nearest(&[0.0; 6], 2, 3, &mut |_| {}).unwrap_err();
        assert_eq!(failure.class, FailureClass::Permanent);
    }
}
