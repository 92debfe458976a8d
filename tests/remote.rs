//! Remote models with the real program: a server on this machine that answers
//! by a script, and one that is not there.
#![cfg(feature = "inference")]
#![allow(clippy::unwrap_used)]

// The room's own tests use all of it.
#[allow(dead_code)]
#[path = "../src/remote/tests/loopback.rs"]
mod loopback;

use assert_cmd::Command;
use loopback::{Loopback, Says, nobody};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

const REMOTE: &str = "direct_openai_tiny_default_quick";
const LOCAL: &str = "direct_embedded_reader_default_quick_none";
const KEY: &str = "sk-very-secret-0123456789";
const QUESTIONS: usize = 6;

fn run(dir: &Path, url: &str) -> Output {
    let questions: String = (0..QUESTIONS)
        .map(|n| {
            let question =
                json!({"question": format!("Who is {n}?"), "answers": [format!("n{n}")]});
            format!("{question}\n")
        })
        .collect();
    fs::write(dir.join("quick.jsonl"), questions).unwrap();
    let study = format!(
        "\
name: s
datasets: [{{name: quick, path: quick.jsonl, fields: {{question: question, answers: answers}}}}]
direct:
  models:
    - {{id: 'openai:tiny', base_url: '{url}'}}
    - embedded:reader
  prompts: [default]
  quantization: [none]
generation: {{max_new_tokens: 4, temperature: 0}}
metrics: [exact_match]
batch_size: 4
"
    );
    fs::write(dir.join("study.yaml"), study).unwrap();
    Command::new(env!("CARGO_BIN_EXE_ragicamp"))
        .args(["run", "study.yaml", "--device", "cpu"])
        .current_dir(dir)
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env("OPENAI_API_KEY", KEY)
        .env_remove("OPENAI_BASE_URL")
        .env_remove("FAILPOINTS")
        .output()
        .unwrap()
}

fn json_of(dir: &Path, experiment: &str, file: &str) -> Value {
    let path = dir.join("outputs/s").join(experiment).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Whether any file below the directory holds the key.
fn holds_key(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds_key(&path)
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(KEY)
        }
    })
}

#[test]
fn answers_that_were_cut_off_before_a_word_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_, _| {
        let reply = json!({
            "choices": [{"message": {"content": null}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
        });
        Says::Reply(200, "", reply.to_string())
    });
    let output = run(dir.path(), &server.url());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    let sentence = "6 of 6 answers are empty, and took all 4 tokens of max_new_tokens";
    assert_eq!(told.matches(sentence).count(), 1, "{told}");
}

#[test]
fn a_remote_model_answers_a_study_through_its_troubles() {
    let dir = tempfile::tempdir().unwrap();
    let server = Loopback::start(|number, seen| {
        let prompt = seen.body["messages"].as_array().unwrap().last().unwrap()["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let asked = (0..QUESTIONS).find(|n| prompt.contains(&format!("Who is {n}?")));
        match number {
            1 => Says::Reply(429, "Retry-After: 0\r\n", String::new()),
            3 => Says::Nothing,
            _ => Says::answer(&format!("n{}", asked.unwrap())),
        }
    });
    let output = run(dir.path(), &server.url());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let predictions = json_of(dir.path(), REMOTE, "predictions.json");
    let predictions = predictions["predictions"].as_array().unwrap();
    let answers: Vec<_> = predictions
        .iter()
        .map(|p| p["prediction"].clone())
        .collect();
    let expected: Vec<_> = (0..QUESTIONS).map(|n| json!(format!("n{n}"))).collect();
    assert_eq!(answers, expected);
    assert_eq!(
        json_of(dir.path(), REMOTE, "state.json")["phase"],
        "complete"
    );
    assert_eq!(server.seen().len(), QUESTIONS + 2);
    assert_eq!(
        server.seen()[0].authorization,
        Some(format!("Bearer {KEY}"))
    );
    assert!(!holds_key(&dir.path().join("outputs")));
}

#[test]
fn a_server_that_is_down_costs_its_experiment_one_sentence_and_the_study_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let url = nobody();
    let output = run(dir.path(), &url);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains(&format!("openai:tiny at {url} can not be reached")),
        "{shown}"
    );
    assert_eq!(json_of(dir.path(), REMOTE, "state.json")["phase"], "failed");
    assert_eq!(
        json_of(dir.path(), LOCAL, "state.json")["phase"],
        "complete"
    );
    assert!(!shown.contains(KEY) && !holds_key(&dir.path().join("outputs")));
}

#[cfg(feature = "index")]
#[test]
fn metrics_of_retrieval_are_of_the_questions_that_an_agent_searched_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_, seen| {
        let prompt = seen.body["messages"].as_array().unwrap().last().unwrap()["content"]
            .as_str()
            .unwrap()
            .to_owned();
        Says::answer(
            match (
                prompt.contains("How sure are you"),
                prompt.contains("Who is 0?"),
            ) {
                (true, true) => "1.0",
                (true, false) => "0.0",
                (false, _) => "somebody",
            },
        )
    });
    let (mut questions, mut corpus) = (String::new(), String::new());
    for n in 0..3 {
        let question = json!({"question": format!("Who is {n}?"), "answers": [format!("n{n}")],
            "supporting": [format!("p{n}")]});
        questions += &format!("{question}\n");
        let passage = json!({"id": format!("p{n}"), "text": format!("Who is {n}? It is n{n}.")});
        corpus += &format!("{passage}\n");
    }
    fs::write(dir.path().join("quick.jsonl"), questions).unwrap();
    fs::write(dir.path().join("corpus.jsonl"), corpus).unwrap();
    let study = format!(
        "\
name: s
datasets: [{{name: quick, path: quick.jsonl}}]
rag:
  models: [{{id: 'openai:tiny', base_url: '{}'}}]
  prompts: [default]
  quantization: [none]
  retrievers: [{{name: bm25, type: bm25, corpus: corpus.jsonl, chunking: none}}]
  top_k_values: [1]
  agent: {{type: self_rag, retrieval_threshold: 0.5, verify_answer: false}}
generation: {{max_new_tokens: 4, temperature: 0}}
metrics: [mrr, answer_in_context]
",
        server.url()
    );
    fs::write(dir.path().join("study.yaml"), study).unwrap();
    let call = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ragicamp"))
            .args(arguments)
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .env("XDG_CACHE_HOME", dir.path().join("cache"))
            .env("OPENAI_API_KEY", KEY)
            .env_remove("OPENAI_BASE_URL")
            .env_remove("FAILPOINTS")
            .output()
            .unwrap()
    };
    let output = call(&["run", "study.yaml", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let experiments = fs::read_dir(dir.path().join("outputs/s")).unwrap();
    let experiment = experiments
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("rag_"))
        .unwrap();
    let metrics = json_of(dir.path(), &experiment, "results.json")["metrics"].clone();
    for name in ["mrr", "answer_in_context"] {
        assert_eq!(metrics[name], 1.0, "{metrics:#}");
        assert_eq!(metrics[format!("{name}_n")], 2, "{metrics:#}");
    }
    let verified = call(&["verify", "outputs/s"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
