//! `ragicamp generate`.

use super::place::{Done, Place, done, objects, shipped};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

const READER: &str = "embedded:reader";

const PROMPT: &str = "Question: what is the capital of Talvania?\nAnswer:";

/// Prompts of different lengths, as JSONL of token ids.
fn prompts(count: usize) -> String {
    (0..count)
        .map(|i| {
            let tokens: Vec<usize> = (0..1 + i * 7 % 20)
                .map(|j| (i * 37 + j * j * 11) % 250 + 1)
                .collect();
            format!("{}\n", json!({"token_ids": tokens}))
        })
        .collect()
}

/// A model with random weights, whose answers differ from prompt to prompt.
fn random_model() -> String {
    format!("gguf:{}", shipped("tests/fixtures/gguf/llama3.gguf"))
}

fn generate(place: &Place, model: &str, arguments: &[&str]) -> Done {
    let fixed = ["generate", "--model", model, "--max-new-tokens", "6"];
    place.ok(&[&fixed[..], arguments].concat())
}

fn told(place: &Place, model: &str, arguments: &[&str]) -> Vec<Value> {
    objects(&generate(place, model, &[arguments, &["--json"]].concat()).out)
}

/// The answers without what differs from run to run.
fn answers(lines: &[Value]) -> Vec<(Value, Value, Value)> {
    lines
        .iter()
        .map(|line| {
            (
                line["idx"].clone(),
                line["text"].clone(),
                line["token_ids"].clone(),
            )
        })
        .collect()
}

#[test]
fn generate_helps() {
    insta::assert_snapshot!(Place::new().ok(&["generate", "--help"]).out);
}

#[test]
fn a_prompt_on_the_command_line_is_answered_with_its_text_alone() {
    let place = Place::new();
    let plain = generate(&place, READER, &["--prompt", PROMPT]);
    assert_eq!(plain.out.lines().count(), 1);
    assert!(plain.err.contains("1 prompt: "), "{}", plain.err);
    let lines = told(&place, READER, &["--prompt", PROMPT]);
    assert_eq!(
        plain.out.trim_end(),
        lines[0]["text"].as_str().unwrap().trim_end()
    );
    let ids = lines[0]["token_ids"].as_array().unwrap();
    assert_eq!(ids.len() as u64, lines[0]["tokens_out"].as_u64().unwrap());
    assert!(lines[0]["tokens_in"].as_u64().unwrap() > 5);
    assert!(lines[0]["latency_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn answers_come_in_the_order_of_the_prompts_whatever_the_batches() {
    let place = Place::new();
    place.write("prompts.jsonl", &prompts(11));
    let one = told(
        &place,
        &random_model(),
        &["--prompts", "prompts.jsonl", "--batch-size", "1"],
    );
    let idx: Vec<u64> = one
        .iter()
        .map(|line| line["idx"].as_u64().unwrap())
        .collect();
    assert_eq!(idx, (0..11).collect::<Vec<u64>>());
    let four = told(
        &place,
        &random_model(),
        &["--prompts", "prompts.jsonl", "--batch-size", "4"],
    );
    assert_eq!(answers(&one), answers(&four));
    let texts: BTreeSet<&str> = one
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert!(
        texts.len() > 8,
        "the prompts have answers of their own: {texts:?}"
    );
    assert_eq!(four[0]["batch_size"], 4);
    assert_eq!(four[10]["batch_size"], 3);
    let mut command = place.command(&[
        "generate",
        "--model",
        &random_model(),
        "--max-new-tokens",
        "6",
        "--json",
        "-",
    ]);
    let piped = done(command.write_stdin(prompts(11)));
    assert_eq!(
        answers(&objects(&piped.out)),
        answers(&one),
        "{}",
        piped.err
    );
}

#[test]
fn draws_depend_on_the_seed_and_not_on_the_batch() {
    let place = Place::new();
    place.write("prompts.jsonl", &prompts(6));
    let drawn = |seed: &str, batch: &str| {
        let arguments = [
            "--prompts",
            "prompts.jsonl",
            "--temperature",
            "1.5",
            "--seed",
            seed,
            "--batch-size",
            batch,
        ];
        answers(&told(&place, &random_model(), &arguments))
    };
    assert_eq!(drawn("1", "6"), drawn("1", "2"));
    assert_ne!(drawn("1", "6"), drawn("2", "6"));
}

#[test]
fn token_ids_are_taken_as_they_are_and_logits_are_written() {
    let place = Place::new();
    let lines = [
        json!({"token_ids": [1, 40, 41]}),
        json!({"prompt": "x"}),
        json!({"token_ids": [1]}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n\n")).collect();
    place.write("p.jsonl", &text);
    let out = told(
        &place,
        READER,
        &["--prompts", "p.jsonl", "--logits", "l.safetensors"],
    );
    assert_eq!(out[0]["tokens_in"], 3);
    assert_eq!(out[2]["tokens_in"], 1);
    let tensors =
        candle_core::safetensors::load(place.path("l.safetensors"), &candle_core::Device::Cpu)
            .unwrap();
    let logits: Vec<Vec<f32>> = tensors["logits"].to_vec2().unwrap();
    assert_eq!(logits.len(), 3);
    for (row, line) in logits.iter().zip(&out) {
        let best = (0..row.len())
            .max_by(|a, b| row[*a].total_cmp(&row[*b]))
            .unwrap();
        // The first token of a greedy answer is the likeliest one; the end
        // token is not told.
        match line["token_ids"].as_array().unwrap().first() {
            Some(first) => assert_eq!(first.as_u64().unwrap() as usize, best),
            None => assert_eq!(best, 2, "the end token"),
        }
    }
}

#[test]
fn a_prompt_that_can_not_be_used_fails_alone_with_exit_code_1() {
    let place = Place::new();
    let long = vec![5; 3000];
    let lines = [
        json!({"prompt": PROMPT}),
        json!({"token_ids": long}),
        json!({"token_ids": [1, 99_999]}),
        json!({"prompt": PROMPT}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    place.write("p.jsonl", &text);
    let arguments = [
        "generate",
        "--model",
        "embedded:reader",
        "--prompts",
        "p.jsonl",
        "--logits",
        "l.safetensors",
    ];
    let failed = place.exits(1, &[&arguments[..], &["--json"]].concat());
    let lines = objects(&failed.out);
    assert_eq!(lines[0]["text"], lines[3]["text"]);
    assert!(
        lines[1]["error"].as_str().unwrap().contains("3000 tokens"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2]["error"].as_str().unwrap().contains("99999"),
        "{}",
        lines[2]
    );
    assert_eq!(lines[1]["class"], "bad_item");
    assert!(failed.err.contains("4 prompts, 2 failed"), "{}", failed.err);
    let plain = place.exits(1, &arguments);
    assert!(
        plain.err.contains("prompt 1: the prompt has 3000 tokens"),
        "{}",
        plain.err
    );
    assert_eq!(plain.out.lines().count(), 2);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_batch_that_does_not_fit_is_halved_until_it_does() {
    let place = Place::new();
    place.write("prompts.jsonl", &prompts(9));
    let whole = told(&place, &random_model(), &["--prompts", "prompts.jsonl"]);
    let mut command = place.command(&[
        "generate",
        "--model",
        &random_model(),
        "--max-new-tokens",
        "6",
        "--json",
        "--prompts",
        "prompts.jsonl",
        "--batch-size",
        "8",
    ]);
    let halved = done(command.env("FAILPOINTS", "generate::batch=return"));
    assert_eq!(halved.code, 0, "{}", halved.err);
    let halved = objects(&halved.out);
    assert_eq!(answers(&halved), answers(&whole));
    let sizes: Vec<u64> = halved
        .iter()
        .map(|line| line["batch_size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [2, 2, 2, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn every_mistake_gets_one_clear_sentence() {
    let place = Place::new();
    place.write("bad.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n");
    place.write("both.jsonl", "{\"prompt\": \"a\", \"token_ids\": [1]}\n");
    place.write("none.jsonl", "\n\n");
    let reader = ["--model", "embedded:reader"];
    let cases: [(&[&str], &str); 10] = [
        (&["--prompt", "x"], "--model"),
        (&["--model", "reader", "--prompt", "x"], "embedded:reader"),
        (
            &["--model", "openai:gpt", "--prompt", "x"],
            "runs on a server",
        ),
        (
            &["--model", "hf:a/b", "--prompt", "x"],
            "hf:a/b is not on this machine",
        ),
        (
            &["--model", "gguf:x.gguf", "--prompt", "x"],
            "x.gguf does not exist",
        ),
        (&[reader[0], reader[1]], "there is no prompt"),
        (
            &[reader[0], reader[1], "--prompts", "bad.jsonl"],
            "bad.jsonl:2: unknown field `promt`",
        ),
        (
            &[reader[0], reader[1], "--prompts", "both.jsonl"],
            "both.jsonl:1: has prompt and token_ids",
        ),
        (
            &[reader[0], reader[1], "--prompts", "none.jsonl"],
            "there is no prompt in none.jsonl",
        ),
        (
            &[
                reader[0], reader[1], "--prompt", "x", "--logits", "no/where",
            ],
            "no/where can not be written",
        ),
    ];
    for (arguments, part) in cases {
        let wrong = place.exits(2, &[&["generate"], arguments].concat());
        assert!(wrong.err.contains(part), "{arguments:?}: {}", wrong.err);
        assert!(wrong.out.is_empty(), "{}", wrong.out);
    }
    for arguments in [
        &["--prompt", "x", "--temperature", "-1"][..],
        &["--prompt", "x", "--top-p", "0"],
        &["--prompt", "x", "--batch-size", "0"],
        &["--prompt", "x", "--quantization", "2bit"],
        &["--prompt", "x", "--prompts", "bad.jsonl"],
    ] {
        place.exits(2, &[&["generate"], &reader[..], arguments].concat());
    }
    for (option, why) in [
        ("--temperature", "write a number from 0 on"),
        ("--top-p", "write a number above 0, at most 1"),
        ("--seed", "write a whole number from 0 on"),
        ("--batch-size", "-1 is not in 1.."),
        ("--max-new-tokens", "-1 is not in 0.."),
    ] {
        let arguments = ["--prompt", "x", option, "-1"];
        let wrong = place.exits(2, &[&["generate"], &reader[..], &arguments].concat());
        assert!(wrong.err.contains(why), "{option}: {}", wrong.err);
    }
}

#[test]
fn a_gguf_file_is_tried_as_any_model() {
    let place = Place::new();
    let model = format!("gguf:{}", shipped("tests/fixtures/gguf/llama_q8_0.gguf"));
    let fixed = [
        "generate",
        "--model",
        model.as_str(),
        "--prompt",
        "The river",
        "--json",
    ];
    let lines = objects(&place.ok(&fixed).out);
    assert_eq!(lines.len(), 1);
    let refused = place.exits(2, &[&fixed[..], &["--quantization", "8bit"]].concat());
    assert!(
        refused.err.contains("leave the quantization out"),
        "{}",
        refused.err
    );
    fs::write(place.path("torn.gguf"), b"GGUF").unwrap();
    let torn = place.exits(
        2,
        &["generate", "--model", "gguf:torn.gguf", "--prompt", "x"],
    );
    assert!(
        torn.err.contains("gguf:torn.gguf can not be used"),
        "{}",
        torn.err
    );
}
