//! The contract, file by file, and what a crash may leave behind.
#![allow(clippy::unwrap_used)]

mod directories;
mod files;
mod health;
mod interleavings;
mod journal;
mod lease;
mod old_shapes;
#[cfg(feature = "failpoints")]
mod storage_faults;

use super::*;
use crate::domain::{
    AgentKind, DatasetSpec, Dtype, ExperimentKind, ExperimentSpec, Failure, FailureClass, FieldMap,
    GenerationSettings, ModelSpec, Prediction, Prompt, Provider, Quantization, Question, Retrieved,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

fn spec(name: &str) -> ExperimentSpec {
    ExperimentSpec {
        name: name.to_owned(),
        kind: ExperimentKind::Direct,
        agent: AgentKind::DirectLlm,
        model: ModelSpec {
            provider: Provider::Hf,
            name: "Qwen/Qwen2.5-7B-Instruct".to_owned(),
            revision: None,
            dtype: Dtype::Auto,
            base_url: None,
        },
        quantization: Quantization::Int8,
        prompt: Prompt {
            name: "default".to_owned(),
            system: None,
            direct: "{question}".to_owned(),
            with_context: "{context} {question}".to_owned(),
            passage: "{text}".to_owned(),
            example: None,
            examples: Vec::new(),
        },
        dataset: DatasetSpec {
            name: "nq".to_owned(),
            path: None,
            split: None,
            revision: None,
            fields: FieldMap::default(),
            sample_seed: None,
        },
        retriever: None,
        top_k: None,
        generation: GenerationSettings::default(),
        options: BTreeMap::new(),
    }
}

fn question(idx: usize) -> Question {
    Question {
        idx,
        question: format!("What is {idx}?"),
        expected: vec![format!("number {idx}"), format!("{idx}")],
        id: None,
        supporting: Vec::new(),
        context: Vec::new(),
    }
}

fn questions(count: usize) -> Vec<Question> {
    (0..count).map(question).collect()
}

fn answer(idx: usize) -> Prediction {
    let question = question(idx);
    Prediction {
        idx,
        question: question.question,
        prediction: format!("It is {idx} — \"quoted\",\n\tin two lines. 🦀"),
        expected: question.expected,
        prompt: Some(format!("Answer: What is {idx}?")),
        error: None,
        failure_class: None,
        aborted: false,
        retrieved: vec![Retrieved {
            id: format!("passage-{idx}"),
            score: 0.25,
        }],
        batch_size: 32,
        attempt: 1,
        tokens_in: 12,
        tokens_out: 3,
        latency_ms: 45,
        metrics: Map::new(),
        extra: Map::new(),
    }
}

fn failure(idx: usize, message: &str) -> Prediction {
    let failure = Failure::new(FailureClass::Transient, message);
    Prediction {
        prediction: Prediction::error_marker(&failure),
        error: Some(message.to_owned()),
        failure_class: Some(FailureClass::Transient),
        retrieved: Vec::new(),
        ..answer(idx)
    }
}

fn by_idx(records: impl IntoIterator<Item = Prediction>) -> BTreeMap<usize, Prediction> {
    records
        .into_iter()
        .map(|record| (record.idx, record))
        .collect()
}

fn claim(directory: &ExperimentDir) -> Lease {
    match directory.claim(&LeaseOptions::default()).unwrap() {
        Claim::Mine(lease) => lease,
        Claim::Held(record) => panic!("held by {record}"),
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
