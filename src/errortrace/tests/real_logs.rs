use super::super::{Contract, Status, read};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The contract of a log file, as `ragicamp errors --json` gives it.
fn contract(path: &Path) -> (Contract, String) {
    let report = read(&fs::read(path).unwrap());
    let status = if report.has_failed() {
        Status::Failed
    } else {
        Status::Completed
    };
    let root = report
        .root_cause
        .as_ref()
        .map(|root| root.message.clone())
        .unwrap_or_default();
    (report.contract("x", status, None), root)
}

fn found(contract: &Contract) -> (Value, Value) {
    let class = contract
        .analysis
        .as_ref()
        .map_or(Value::Null, |analysis| analysis.error_type.clone().into());
    let kind = contract
        .traceback
        .as_ref()
        .and_then(|traceback| traceback.exception_type.clone())
        .map_or(Value::Null, Value::from);
    (class, kind)
}

#[test]
fn real_logs_get_class_and_exception_right() {
    let shared = std::env::var_os("RAGICAMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let logs = shared.join("logs");
    let Ok(text) = fs::read_to_string(logs.join("expected.json")) else {
        eprintln!(
            "skipped: {} is absent",
            logs.join("expected.json").display()
        );
        return;
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let files = expected["files"].as_object().unwrap();
    let mut wrong = Vec::new();
    for (name, truth) in files {
        let (contract, root) = contract(&logs.join(name));
        let (class, kind) = found(&contract);
        let right = truth["expected_class"].as_array().unwrap().contains(&class)
            && truth["exception_type"].as_array().unwrap().contains(&kind);
        if !right {
            wrong.push(format!("{name}: {class} {kind}"));
        }
        if let Some(message) = truth["root_cause"]["message"].as_str() {
            let start: String = message.trim_end_matches('…').chars().take(40).collect();
            assert!(
                root.contains(&start),
                "{name}: root cause {root:?}, not {message:?}"
            );
        }
    }
    eprintln!(
        "{} of {} real logs right",
        files.len() - wrong.len(),
        files.len()
    );
    assert!(
        wrong.len() * 100 <= files.len() * 5,
        "wrong:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_log_of_the_corpus_is_read_as_it_was_made() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs");
    let Ok(text) = fs::read_to_string(directory.join("expected.json")) else {
        eprintln!("skipped: {} is absent", directory.display());
        return;
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let files = expected.as_object().unwrap();
    assert!(files.len() >= 150, "{} logs", files.len());
    let mut wrong = Vec::new();
    for (name, truth) in files {
        let (contract, root) = contract(&directory.join(name));
        let (class, kind) = found(&contract);
        let message = contract
            .traceback
            .as_ref()
            .and_then(|traceback| traceback.exception_message.clone())
            .unwrap_or_default();
        let count: u64 = contract.errors.iter().map(|error| error.count).sum();
        let starts = truth["message"].as_str().unwrap_or("");
        let started_by = truth["root"].as_str().unwrap_or("");
        if !truth["classes"].as_array().unwrap().contains(&class)
            || truth.get("exception_type").unwrap_or(&Value::Null) != &kind
            || !message.starts_with(starts)
            || !root.contains(started_by)
            || truth["count"]
                .as_u64()
                .is_some_and(|wanted| wanted != count)
        {
            wrong.push(format!(
                "{name}: {class} {kind} {message:?} {count}x, root {root:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
