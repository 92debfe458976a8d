//! A judging model with the real program: a server on this machine that
//! answers by a script.
#![cfg(feature = "inference")]
#![allow(clippy::unwrap_used)]

// The room's own tests use all of it.
#[allow(dead_code)]
#[path = "../src/remote/tests/loopback.rs"]
mod loopback;

use assert_cmd::Command;
use loopback::{Loopback, Says, Seen};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const EXPERIMENT: &str = "direct_embedded_reader_default_quick_none";
const QUESTIONS: usize = 6;

fn call(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ragicamp"))
        .args(arguments)
        .current_dir(dir)
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("OPENAI_API_KEY")
        .env_remove("OPENAI_BASE_URL")
        .env_remove("FAILPOINTS")
        .output()
        .unwrap()
}

fn write_study(dir: &Path, metrics: &str, judge: &str) {
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
direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none]}}
generation: {{max_new_tokens: 4, temperature: 0}}
metrics: [{metrics}]
{judge}
"
    );
    fs::write(dir.join("study.yaml"), study).unwrap();
}

fn judge(url: &str, more: &str) -> String {
    format!("llm_judge: {{model: {{id: 'openai:judge', base_url: '{url}'}}{more}}}")
}

fn json_of(dir: &Path, file: &str) -> Value {
    let path = dir.join("outputs/s").join(EXPERIMENT).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The number of the question that is judged.
fn asked(seen: &Seen) -> usize {
    let prompt = seen.body["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap();
    (0..QUESTIONS)
        .find(|n| prompt.contains(&format!("Question: Who is {n}?")))
        .unwrap()
}

fn even_is_correct(seen: &Seen) -> Says {
    Says::answer(if asked(seen).is_multiple_of(2) {
        "CORRECT"
    } else {
        "incorrect"
    })
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_study_is_judged_with_few_requests_at_once_and_each_answer_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_, seen| even_is_correct(seen).after(30));
    let llm_judge = judge(&server.url(), ", judgment_type: binary, concurrency: 2");
    write_study(dir.path(), "exact_match, llm_judge_qa", &llm_judge);
    let output = call(dir.path(), &["run", "study.yaml", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(dir.path(), "state.json")["phase"], "complete");
    let metrics = &json_of(dir.path(), "results.json")["metrics"];
    assert_eq!(metrics["llm_judge_qa"], 0.5, "{metrics}");
    assert_eq!(server.seen().len(), QUESTIONS);
    assert!(server.peak() <= 2, "{} at once", server.peak());
    let system = server.seen()[0].body["messages"][0]["content"].to_string();
    assert!(!system.contains("PARTIAL"), "{system}");

    // Verdicts are kept: scoring again, under the other name too, asks nobody.
    let output = call(dir.path(), &["metrics", "outputs/s", "-m", "llm_judge"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        json_of(dir.path(), "results.json")["metrics"]["llm_judge"],
        0.5
    );
    assert_eq!(server.seen().len(), QUESTIONS);
}

#[test]
fn a_failure_of_the_api_is_a_missing_score_and_never_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Loopback::start(move |_, seen| match asked(seen) {
        1 if !is_well.load(Ordering::SeqCst) => Says::error(400, "no"),
        3 if !is_well.load(Ordering::SeqCst) => Says::answer("I would rather not say."),
        _ => even_is_correct(seen),
    });
    write_study(
        dir.path(),
        "exact_match, llm_judge",
        &judge(&server.url(), ""),
    );
    let output = call(dir.path(), &["run", "study.yaml", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let state = json_of(dir.path(), "state.json");
    assert_eq!(state["phase"], "computing_metrics");
    let error = state["error"].as_str().unwrap();
    assert!(
        error.contains("the metric llm_judge is not computed: 2 of 6 answers have no score"),
        "{error}"
    );
    let metrics = &json_of(dir.path(), "results.json")["metrics"];
    // Three of four verdicts: 0, 2 and 4 are correct, 5 is not.
    assert_eq!(metrics["llm_judge"], 0.75, "{metrics}");
    assert_eq!(metrics["llm_judge_n"], 4);
    assert_eq!(metrics["llm_judge_failed"], 2);
    let predictions = json_of(dir.path(), "predictions.json");
    assert!(
        predictions["predictions"][1]["metrics"]
            .get("llm_judge")
            .is_none()
    );
    assert_eq!(predictions["predictions"][2]["metrics"]["llm_judge"], 1.0);

    well.store(true, Ordering::SeqCst);
    let before = server.seen().len();
    let output = call(dir.path(), &["resume", "outputs/s", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(dir.path(), "state.json")["phase"], "complete");
    assert_eq!(
        json_of(dir.path(), "results.json")["metrics"]["llm_judge"],
        0.5
    );
    assert_eq!(
        server.seen().len(),
        before + 2,
        "only what had no verdict is asked"
    );
}

#[test]
fn a_ternary_judge_may_say_that_an_answer_is_partly_right() {
    let dir = tempfile::tempdir().unwrap();
    let server = Loopback::start(|_, _| Says::answer("PARTIAL"));
    write_study(
        dir.path(),
        "exact_match",
        &judge(&server.url(), ", type: ternary"),
    );
    let output = call(dir.path(), &["run", "study.yaml", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(server.seen().len(), 0, "nobody asked for a verdict");
    let output = call(dir.path(), &["metrics", "outputs/s", "-m", "llm_judge"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        json_of(dir.path(), "results.json")["metrics"]["llm_judge"],
        0.5
    );
}

#[test]
fn a_study_without_a_judge_says_so_and_computes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    write_study(dir.path(), "exact_match, llm_judge", "");
    let output = call(dir.path(), &["run", "study.yaml", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        shown(&output).contains("nobody is there to judge for llm_judge"),
        "{}",
        shown(&output)
    );
    let output = call(dir.path(), &["metrics", "outputs/s", "-m", "llm_judge"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        shown(&output).contains("the metric llm_judge needs a judge"),
        "{}",
        shown(&output)
    );
}
