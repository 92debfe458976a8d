//! Whether the engine leaks: batches of random sizes, prompts and answers of
//! random lengths, many of them left in the middle (by a panic out of the
//! engine, the rudest way there is), against memory, file handles, threads
//! and the answers themselves. Exit 1 when something grew or changed.
//!
//! `cargo bench --bench stress` takes two minutes; `-- SECONDS` another time.

use ragicamp::{
    domain::{Dtype, GenerationSettings, ModelSpec, Provider, Quantization},
    hub,
    inference::{self, Device, Engine, LoadOptions, Step},
    statistics::SplitMix64,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

/// What memory may grow by from a quarter of the time to its end: pages that
/// the allocator holds are not the same number twice.
const SLACK: f64 = 1.05;

const SEED: u64 = 20_260_101;

fn main() -> ExitCode {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(120);
    std::panic::set_hook(Box::new(|_| {}));
    let each = Duration::from_secs(seconds) / 3;
    let quantizations = [Quantization::None, Quantization::Int8, Quantization::Int4];
    let failures: usize = quantizations
        .map(|q| usize::from(!stress(q, each)))
        .iter()
        .sum();
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The engine under random load; whether all went well.
fn stress(quantization: Quantization, time: Duration) -> bool {
    let spec = ModelSpec {
        provider: Provider::Embedded,
        name: "reader".to_owned(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    let options = LoadOptions {
        quantization,
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    let files = hub::locate(&spec, None).unwrap_or_else(|error| panic!("{error}"));
    let mut engine =
        inference::load(&files, &options).unwrap_or_else(|failure| panic!("{failure}"));
    let mut dice = Dice(SplitMix64::new(SEED));
    let control = prompts(&mut Dice(SplitMix64::new(SEED + 1)), 8, 200);
    let expected = complete(&mut engine, &control, 16);
    let started = Instant::now();
    let (mut batches, mut left, mut wrong) = (0, 0, 0);
    let mut early: Option<Use> = None;
    while started.elapsed() < time {
        let size = 1 + dice.below(48);
        let longest = [8, 60, 400, 1_500][dice.below(4)];
        let batch = prompts(&mut dice, size, longest);
        let new_tokens = dice.below(40);
        batches += 1;
        if dice.below(3) == 0 {
            left += 1;
            let mut steps = dice.below(20);
            let settings = settings(new_tokens);
            // The engine is used again on purpose: what is left in the middle
            // must not spoil what comes after.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                engine.complete(batch, &settings, &mut |_| {
                    assert!(steps > 0, "left");
                    steps -= 1;
                })
            }));
        } else {
            complete(&mut engine, &batch, new_tokens);
        }
        if batches % 20 == 0 && complete(&mut engine, &control, 16) != expected {
            wrong += 1;
        }
        if early.is_none() && started.elapsed() >= time / 4 {
            early = Some(Use::now());
        }
    }
    let (early, late) = (early.unwrap_or_else(Use::now), Use::now());
    let grew = late.memory as f64 > early.memory as f64 * SLACK
        || late.handles > early.handles
        || late.threads > early.threads;
    println!(
        "{quantization}: {batches} batches, {left} left in the middle, {wrong} wrong; at a quarter of the time and at the end: {early}; {late}"
    );
    !grew && wrong == 0
}

/// Prompts of random tokens under their numbers, 1 to `longest` tokens each;
/// some begin like the one before.
fn prompts(dice: &mut Dice, count: usize, longest: usize) -> Vec<(usize, Vec<u32>)> {
    let mut prompts: Vec<(usize, Vec<u32>)> = Vec::new();
    for idx in 0..count {
        let length = 1 + dice.below(longest);
        let mut tokens = match prompts.last() {
            Some((_, last)) if dice.below(3) == 0 => last[..last.len() / 2].to_vec(),
            _ => Vec::new(),
        };
        while tokens.len() < length {
            tokens.push(10 + dice.below(3_000) as u32);
        }
        prompts.push((idx, tokens));
    }
    prompts
}

fn settings(max_new_tokens: usize) -> GenerationSettings {
    GenerationSettings {
        max_new_tokens,
        ..GenerationSettings::default()
    }
}

/// The tokens of each answer.
fn complete(
    engine: &mut Engine,
    batch: &[(usize, Vec<u32>)],
    new_tokens: usize,
) -> BTreeMap<usize, Vec<u32>> {
    let mut answers = BTreeMap::new();
    engine
        .complete(batch.to_vec(), &settings(new_tokens), &mut |step| {
            if let Step::Done { idx, tokens, .. } = step {
                answers.insert(idx, tokens);
            }
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(answers.len(), batch.len(), "every prompt is answered");
    answers
}

/// What the process holds.
#[derive(Clone, Copy)]
struct Use {
    /// Resident bytes.
    memory: usize,
    handles: usize,
    threads: usize,
}

impl Use {
    fn now() -> Self {
        let entries = |path: &str| Path::new(path).read_dir().map_or(0, Iterator::count);
        let pages = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
        Self {
            memory: pages.unwrap_or(0) * 4096,
            handles: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
        }
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} MiB, {} handles, {} threads",
            self.memory as f64 / f64::from(1 << 20),
            self.handles,
            self.threads
        )
    }
}

/// Numbers that a seed decides.
struct Dice(SplitMix64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_bits() % end.max(1) as u64) as usize
    }
}
