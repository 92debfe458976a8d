//! How fast the engine answers: batches against single prompts, and weights
//! of 8 and 4 bits against f32, on the embedded reader. Three times: questions
//! with passages, whose answers are a few tokens, so that reading the prompt
//! is the work; short texts to go on with, where most end at once and a few
//! run on alone; and those that run on to 32 tokens each, where every step of
//! a batch is full.
//!
//! `cargo bench --bench engine`; further models as arguments:
//! `cargo bench --bench engine -- hf:./path/to/model`.

use ragicamp::{
    domain::{
        Dtype, GenerationEvent, GenerationRequest, GenerationSettings, Generator, ModelSpec,
        Provider, Quantization,
    },
    hub,
    inference::{self, Device, Engine, LoadOptions},
};
use std::{collections::HashSet, time::Instant};

/// Each figure is the best of this many runs.
const RUNS: usize = 3;

/// Tokens that an answer may have.
const LONGEST: usize = 32;

fn main() {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    bench("embedded:reader");
    for name in names {
        bench(&name);
    }
}

fn bench(name: &str) {
    for (what, requests) in [
        ("questions with passages", questions()),
        ("short texts, gone on with", beginnings(64)),
        ("short texts, 32 tokens each", endless(name)),
    ] {
        if requests.is_empty() {
            println!("{name}: {what}: no answer is that long");
            continue;
        }
        println!("{name}: {what}");
        let full = rates(name, Quantization::None, &requests);
        let [one, .., all] = full;
        println!("  batch 32 against batch 1: {:.2} x", all / one);
        for quantization in [Quantization::Int8, Quantization::Int4] {
            let [.., quantized] = rates(name, quantization, &requests);
            println!(
                "  {quantization} against f32 at batch 32: {:.2} x",
                quantized / all
            );
        }
    }
}

fn load(name: &str, quantization: Quantization) -> Engine {
    let options = LoadOptions {
        quantization,
        device: Device::Auto,
        ..LoadOptions::default()
    };
    let files = hub::locate(&model(name), None).unwrap_or_else(|error| panic!("{error}"));
    inference::load(&files, &options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Prompts per second at batch 1, 8 and 32.
fn rates(name: &str, quantization: Quantization, requests: &[GenerationRequest]) -> [f64; 3] {
    let started = Instant::now();
    let mut engine = load(name, quantization);
    let loaded = started.elapsed();
    let mut tokens = 0;
    let rates = [1, 8, 32].map(|size| {
        (0..RUNS)
            .map(|_| {
                let started = Instant::now();
                tokens = requests
                    .chunks(size)
                    .map(|batch| run(&mut engine, batch))
                    .sum();
                requests.len() as f64 / started.elapsed().as_secs_f64()
            })
            .fold(0.0, f64::max)
    });
    println!(
        "  {quantization}: prompts/s at batch 1, 8, 32: {:.1}, {:.1}, {:.1}; {:.1} tokens an answer; loaded in {:.2} s",
        rates[0],
        rates[1],
        rates[2],
        tokens as f64 / requests.len() as f64,
        loaded.as_secs_f64()
    );
    rates
}

/// The tokens of all answers.
fn run(engine: &mut Engine, batch: &[GenerationRequest]) -> usize {
    let answers = answer(engine, batch);
    assert_eq!(answers.len(), batch.len(), "every prompt is answered");
    answers.iter().map(|(_, tokens)| tokens).sum()
}

/// The number of each prompt and the tokens of its answer.
fn answer(engine: &mut Engine, batch: &[GenerationRequest]) -> Vec<(usize, usize)> {
    let settings = GenerationSettings {
        max_new_tokens: LONGEST,
        ..GenerationSettings::default()
    };
    let mut answers = Vec::new();
    engine
        .generate(batch, &settings, &mut |event| {
            if let GenerationEvent::Done { idx, generated } = event {
                answers.push((idx, generated.tokens_out));
            }
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    answers
}

fn model(name: &str) -> ModelSpec {
    let (provider, name) = match name.split_once(':') {
        Some(("embedded", name)) => (Provider::Embedded, name),
        Some(("hf", name)) => (Provider::Hf, name),
        _ => panic!("{name} is neither embedded:reader nor hf:..."),
    };
    ModelSpec {
        provider,
        name: name.to_owned(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    }
}

/// The first 64 beginnings whose answers are as long as they may be.
fn endless(name: &str) -> Vec<GenerationRequest> {
    let mut requests = beginnings(1_024);
    let answers = answer(&mut load(name, Quantization::None), &requests);
    let long: HashSet<usize> = answers
        .into_iter()
        .filter_map(|(idx, tokens)| (tokens == LONGEST).then_some(idx))
        .collect();
    requests.retain(|request| long.contains(&request.idx));
    requests.truncate(64);
    requests
}

/// Beginnings of a text of different lengths, without a question.
fn beginnings(count: usize) -> Vec<GenerationRequest> {
    (0..count)
        .map(|idx| GenerationRequest {
            idx,
            system: None,
            prompt: format!(
                "The river Fal{idx} flows below {} bridges. It{}",
                idx % 90 + 2,
                " runs".repeat(idx % 5)
            ),
            raw: true,
            passages: Vec::new(),
        })
        .collect()
}

/// 64 prompts with one to three passages.
fn questions() -> Vec<GenerationRequest> {
    let passage = |i: usize| {
        format!(
            "[{}] The river Fal{i} flows below {} bridges. The river Fal{i} runs down into Lake Mun{i}. The Fal{i} runs for {} km.",
            i % 3 + 1,
            i % 90 + 2,
            i * 7 + 31
        )
    };
    (0..64)
        .map(|idx| {
            let context: Vec<String> = (0..=idx % 3).map(|j| passage(3 * idx + j)).collect();
            GenerationRequest {
                idx,
                system: None,
                prompt: format!(
                    "Context:\n{}\n\nQuestion: In which lake does the Fal{} end?\nAnswer:",
                    context.join("\n"),
                    3 * idx
                ),
                raw: false,
                passages: Vec::new(),
            }
        })
        .collect()
}
