//! A million vectors of 384 numbers, searched exactly: the GPU finds what the
//! processor finds. Prints how long both take.

use ragicamp::{
    domain::VectorFile,
    inference::{Device, EncoderEvent, RowSearch},
};
use std::{fs::File, io::Write, time::Instant};

const ROWS: usize = 1_000_000;
const DIMENSION: usize = 384;
const QUERIES: usize = 2_048;
const LIMIT: usize = 116;

/// Numbers between -1 and 1 that do not repeat soon.
fn noise(count: usize, mut seed: u64) -> Vec<f32> {
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn found(search: &RowSearch, queries: &[f32]) -> Vec<Vec<(u32, f32)>> {
    let count = queries.len() / DIMENSION;
    let mut found = vec![Vec::new(); count];
    let mut tell = |event| {
        if let EncoderEvent::Rows { indices, values } = event {
            let width = values.len() / indices.len();
            for (index, row) in indices.iter().zip(values.chunks(width)) {
                let (pairs, _) = row.as_chunks::<2>();
                found[*index] = pairs.iter().map(|[row, x]| (row.to_bits(), *x)).collect();
            }
        }
    };
    search.nearest(queries, count, LIMIT, &mut tell).unwrap();
    found
}

#[test]
fn a_gpu_finds_the_rows_that_the_processor_finds() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("vectors");
    let bytes: Vec<u8> = noise(ROWS * DIMENSION, 1)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    File::create(&path).unwrap().write_all(&bytes).unwrap();
    drop(bytes);
    let file = VectorFile {
        path,
        start: 0,
        rows: ROWS,
        dimension: DIMENSION,
        half: false,
    };
    let queries = noise(QUERIES * DIMENSION, 2);
    let start = Instant::now();
    let gpu = RowSearch::load(&file, Device::Cuda(0)).unwrap();
    let loaded = start.elapsed().as_secs_f64();
    found(&gpu, &queries[..DIMENSION]);
    let start = Instant::now();
    let there = found(&gpu, &queries);
    let gpu_took = start.elapsed().as_secs_f64();
    let few = 256;
    let cpu = RowSearch::load(&file, Device::Cpu).unwrap();
    let start = Instant::now();
    let here = found(&cpu, &queries[..few * DIMENSION]);
    let cpu_took = start.elapsed().as_secs_f64();
    println!(
        "{ROWS} vectors of {DIMENSION}: to the GPU in {loaded:.2} s; {:.0} queries/s there, {:.0} on the processor",
        QUERIES as f64 / gpu_took,
        few as f64 / cpu_took
    );
    assert_eq!(there.len(), QUERIES);
    for (there, here) in there.iter().zip(&here) {
        assert_eq!(there.len(), LIMIT);
        for (there, here) in there.iter().zip(here) {
            assert!((there.1 - here.1).abs() < 1e-3 * (1.0 + here.1.abs()));
        }
        // Of rows so far apart in score, the same ones.
        assert_eq!(there[0].0, here[0].0);
        let mut rows =
            [there, here].map(|found| found.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        let same = rows[0]
            .iter()
            .filter(|row| rows[1].binary_search(row).is_ok())
            .count();
        assert!(same + 1 >= LIMIT, "{same} of {LIMIT} rows");
    }
}
