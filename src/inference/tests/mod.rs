#![allow(clippy::unwrap_used)]

mod batches;
mod failures;
mod gguf;
mod hostile;
mod kernels;
mod oracle;
mod parity;
mod precision;
mod prefixes;
mod settings;
mod templates;
mod texts;
mod weight_cache;

use super::*;
use crate::{
    domain::{
        Generated, GenerationEvent, GenerationRequest, GenerationSettings, Generator, ModelSpec,
        Provider,
    },
    hub,
};
use std::{collections::BTreeMap, path::PathBuf};

fn reader_files() -> ModelFiles {
    let model = ModelSpec {
        provider: Provider::Embedded,
        name: "reader".to_owned(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    hub::locate(&model, None).unwrap()
}

fn reader(options: LoadOptions) -> Engine {
    load(&reader_files(), &options).unwrap()
}

fn heldout(name: &str) -> Vec<(String, String)> {
    let path = format!(
        "{}/conf/models/reader/training/heldout/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("prompt"), text("answer"))
        })
        .collect()
}

fn requests(prompts: &[String]) -> Vec<GenerationRequest> {
    prompts
        .iter()
        .enumerate()
        .map(|(idx, prompt)| GenerationRequest {
            idx,
            system: None,
            prompt: prompt.clone(),
            raw: false,
            passages: Vec::new(),
        })
        .collect()
}

fn answers(
    engine: &mut Engine,
    requests: &[GenerationRequest],
    settings: &GenerationSettings,
) -> BTreeMap<usize, Result<Generated, Failure>> {
    let mut answers = BTreeMap::new();
    engine
        .generate(requests, settings, &mut |event| match event {
            GenerationEvent::Progress { tokens } => assert!(tokens > 0),
            GenerationEvent::Done { idx, generated } => {
                assert!(
                    answers.insert(idx, Ok(generated)).is_none(),
                    "one result each"
                );
            }
            GenerationEvent::Failed { idx, failure } => {
                assert!(
                    answers.insert(idx, Err(failure)).is_none(),
                    "one result each"
                );
            }
        })
        .unwrap();
    answers
}

/// A tiny random model of a family, made with its reference by
/// tests/fixtures/families/make.py.
fn family_files(name: &str) -> Option<ModelFiles> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    let file = |path: PathBuf| Some(hub::FileSource::Path(path));
    root.is_dir().then(|| ModelFiles {
        label: name.to_owned(),
        config: file(root.join(name).join("config.json")),
        tokenizer: file(root.join("tokenizer.json")),
        tokenizer_config: None,
        chat_template: None,
        generation_config: None,
        sentence: hub::SentenceFiles::default(),
        weights: hub::WeightFiles::Safetensors(vec![root.join(name).join("model.safetensors")]),
        revision: None,
    })
}

/// The families of the fixtures.
const FAMILIES: [&str; 13] = [
    "llama2",
    "llama3",
    "mistral",
    "qwen2",
    "qwen2_yarn",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_long",
    "granite",
    "smollm3",
];
