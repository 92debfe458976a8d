//! Comparing a study: 500 experiments of 1,000 questions against one of them,
//! with 10,000 resamples of the bootstrap and as many of the permutation test.
//!
//! `cargo bench --bench analysis`. The figure that has a bar is marked PASS or
//! MISS; a MISS ends with exit code 1.

use ragicamp::{
    analysis::{ExperimentRow, ItemScore, Measured, against},
    domain::Phase,
    statistics::{SplitMix64, paired_differences},
};
use serde_json::{Map, json};
use std::{process::ExitCode, time::Instant};

const QUESTIONS: usize = 1_000;
const RESAMPLES: usize = 10_000;

/// Seconds within which the comparison is there.
const BAR: f64 = 10.0;

fn main() -> ExitCode {
    let (experiments, resamples) = match cfg!(debug_assertions) {
        // Only shows that it works.
        true => (20, 500),
        false => (500, RESAMPLES),
    };
    let mut random = SplitMix64::new(1);
    let mut uniform = move || (random.next_bits() >> 11) as f64 / (1_u64 << 53) as f64;
    let all: Vec<Measured> = (0..=experiments)
        .map(|number| {
            let skill = uniform();
            let scores = (0..QUESTIONS).map(|idx| ItemScore {
                idx,
                question: idx as u64,
                score: (skill + uniform()) / 2.0,
            });
            measured(&format!("experiment_{number:03}"), scores.collect())
        })
        .collect();
    let (baseline, others) = all.split_first().expect("there are experiments");
    let others: Vec<&Measured> = others.iter().collect();
    let start = Instant::now();
    let found = against(baseline, &others, "f1", resamples);
    let together = start.elapsed().as_secs_f64();
    assert_eq!(found.table.rows.len(), experiments);
    println!(
        "{experiments} experiments x {QUESTIONS} questions, {resamples} shared resamples: \
         {together:.2} s"
    );

    let lists: Vec<Vec<f64>> = others
        .iter()
        .map(|other| {
            let pairs = other.scores.iter().zip(&baseline.scores);
            pairs
                .map(|(here, there)| here.score - there.score)
                .collect()
        })
        .collect();
    let few = &lists[..lists.len() / 20];
    let start = Instant::now();
    for list in few {
        let alone = paired_differences(std::slice::from_ref(list), resamples, 1);
        assert!(alone[0].is_some());
    }
    let alone = start.elapsed().as_secs_f64() * lists.len() as f64 / few.len() as f64;
    println!("one by one, each with resamples of its own: {alone:.2} s");
    println!("ratio: {:.1}", alone / together);

    let passed = together < BAR || cfg!(debug_assertions);
    println!("{} (bar: {BAR} s)", if passed { "PASS" } else { "MISS" });
    ExitCode::from(u8::from(!passed))
}

fn measured(name: &str, scores: Vec<ItemScore>) -> Measured {
    let mean = scores.iter().map(|item| item.score).sum::<f64>() / scores.len() as f64;
    let metrics = Map::from_iter([("f1".to_owned(), json!(mean))]);
    Measured {
        row: ExperimentRow::described(
            name,
            &Map::new(),
            Phase::Complete,
            scores.len(),
            scores.len(),
            metrics,
        ),
        scores,
    }
}
