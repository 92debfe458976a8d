//! How fast logs are read: lines without errors, one error in a thousand
//! lines, and nothing but different errors. `ERROR` counted over the same
//! bytes stands beside them as a measure.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ragicamp::errortrace::{Extractor, Limits, dedupe_key};
use std::{fmt::Write, hint::black_box};

/// A log of `lines` lines with one failure per `every` lines; 0 means none.
fn log(lines: usize, every: usize) -> Vec<u8> {
    let mut text = String::new();
    for line in 0..lines {
        if every > 0 && line % every == every - 1 {
            let _ = match line / every % 3 {
                0 => writeln!(
                    text,
                    "[2025-12-10 03:58:22] [executor] [ERROR] [Main] CUDA out of memory. Tried to allocate {line}.00 MiB"
                ),
                1 => writeln!(
                    text,
                    "Traceback (most recent call last):\n  File \"/home/x/train.py\", line 5, in main\n    raise ValueError(n)\nValueError: bad value {line}"
                ),
                _ => writeln!(
                    text,
                    "[2025-12-10 03:58:22] [http] [ERROR] [Main] Step {line} failed: connection refused"
                ),
            };
        } else {
            let _ = writeln!(
                text,
                "[2025-12-10 03:58:{:02}] [ragicamp.train.loop] [INFO] [Main] step {line} loss=0.{:04} lr=3.2e-05 tokens/s={} mem=31.2GiB",
                line % 60,
                line * 7919 % 10_000,
                1000 + line % 9000,
            );
        }
    }
    text.into_bytes()
}

fn read(bytes: &[u8]) -> usize {
    let mut extractor = Extractor::new(Limits::default());
    for piece in bytes.chunks(1 << 20) {
        extractor.feed(piece);
    }
    extractor.finish().groups.len()
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("errortrace");
    group.sample_size(10);
    for (name, every) in [
        ("clean", 0),
        ("one_in_1000", 1000),
        ("one_in_10", 10),
        ("only_errors", 1),
    ] {
        let bytes = log(if every == 1 { 50_000 } else { 500_000 }, every);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(&bytes))));
        if every == 1000 {
            group.bench_function("count_ERROR", |bencher| {
                let finder = memchr::memmem::Finder::new("ERROR");
                bencher.iter(|| finder.find_iter(black_box(&bytes)).count());
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("dedupe_key", |bencher| {
        bencher.iter(|| {
            dedupe_key(
                black_box(Some("Main")),
                black_box("CUDA out of memory. Tried to allocate 86.00 MiB. GPU 0 has a total capacity of 44.40 GiB"),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
