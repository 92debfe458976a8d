//! Looking at what is there.

use super::place::{FULL, Place, shipped, study};
use serde_json::{Value, json};
use std::fs;

#[test]
fn show_prints_one_question_with_its_prompt_answer_and_gold() {
    let place = Place::ran();
    let directory = format!("outputs/s/{FULL}");
    let done = place.ok(&["show", &directory, "--idx", "3"]);
    assert!(
        done.out
            .starts_with("Question 3: How many titles has Harmouth Athletic taken?\n")
    );
    assert!(
        done.out.contains("    | Question: How many titles"),
        "{}",
        done.out
    );
    assert!(done.out.contains("  Gold:    648"), "{}", done.out);
    let shown = done
        .out
        .lines()
        .filter(|line| line.starts_with("Question "));
    assert_eq!(shown.count(), 1, "{}", done.out);
    let all = place.ok(&["show", &directory]);
    assert_eq!(all.out.matches("  Gold: ").count(), 4);
    let none = place.ok(&["show", &directory, "--failed"]);
    assert_eq!(none.out, "Every question has an answer.\n");

    let too_far = place.exits(2, &["show", &directory, "--idx", "33"]);
    assert!(
        too_far
            .err
            .contains("has no question 33: its questions are 0 to 3"),
        "{}",
        too_far.err
    );
    let nothing = place.exits(2, &["show", "outputs"]);
    assert!(
        nothing.err.contains("is no experiment's directory"),
        "{}",
        nothing.err
    );
    let json: Value =
        serde_json::from_str(&place.ok(&["show", &directory, "--idx", "1", "--json"]).out).unwrap();
    assert_eq!(json[0]["idx"], 1);
}

#[test]
fn health_exits_0_when_all_is_well_1_when_something_failed_2_when_nothing_is_there() {
    let place = Place::ran();
    let well = place.ok(&["health", "outputs/s"]);
    assert!(
        well.out.contains("2 experiments: 2 complete"),
        "{}",
        well.out
    );
    // Without a directory it looks at ./outputs, and moved-aside ones are not there.
    let ageless = |out: &str| -> String {
        let words = out.split_inclusive(' ');
        let words = words.filter(|word| word.trim().parse::<u64>().is_err());
        words.collect()
    };
    assert_eq!(ageless(&place.ok(&["health"]).out), ageless(&well.out));

    let path = format!("outputs/s/{FULL}/state.json");
    let mut state = place.json(&path);
    state["phase"] = json!("failed");
    state["error"] = json!("CUDA error: out of memory");
    place.write(&path, &state.to_string());
    let failed = place.exits(1, &["health", "outputs/s", "--show-failed"]);
    assert!(
        failed.out.contains("CUDA error: out of memory"),
        "{}",
        failed.out
    );
    let json: Value = serde_json::from_str(&place.exits(1, &["health", "--json"]).out).unwrap();
    assert_eq!(
        json["studies"][0]["experiments"].as_array().unwrap().len(),
        2
    );

    let nowhere = place.exits(2, &["health", "nowhere"]);
    assert!(
        nowhere.err.contains("there is no directory nowhere"),
        "{}",
        nowhere.err
    );
}

#[test]
fn health_says_where_a_directory_that_was_named_holds_no_study() {
    let place = Place::new();
    place.write("outputs/readme", "");
    let named = place.exits(2, &["health", "outputs"]);
    assert_eq!(
        named.err,
        "error: outputs holds no study: name a directory that a run made, as in outputs/STUDY\n"
    );
    assert_eq!(named.out, "");
    let json = place.exits(2, &["health", "outputs", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json, json!({"studies": []}));
    // Where nothing was named nothing is amiss.
    assert_eq!(place.ok(&["health"]).out, "No study in outputs.\n");
}

#[test]
fn a_directory_of_another_version_is_read_by_health_show_and_resume() {
    let place = Place::new();
    place.write("outputs/s/study.yaml", &study(4, "exact_match", 0.0));
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    let question = |idx: usize| {
        let line: Value = serde_json::from_str(questions.lines().nth(idx).unwrap()).unwrap();
        line["question"].as_str().unwrap().to_owned()
    };
    let experiment = format!("outputs/s/{FULL}");
    // No schema_version, no journal, `query`, one idx twice, one failed.
    let record = |idx: usize, prediction: &str, error: Value| json!({"idx": idx, "query": question(idx), "prediction": prediction, "expected": ["x"], "error": error});
    let predictions = json!({"experiment": FULL, "predictions": [
        record(0, "[ERROR: out of memory]", json!("out of memory")),
        record(0, "tea", Value::Null),
        record(1, "a town", Value::Null),
        record(2, "[ERROR: out of memory]", json!("out of memory")),
    ]});
    place.write(
        &format!("{experiment}/predictions.json"),
        &predictions.to_string(),
    );
    let state = json!({"phase": "failed", "error": "out of memory", "predictions_complete": 3,
        "total_questions": 4, "started_at": "2025-12-10T03:58:22.123456",
        "metrics_requested": ["exact_match"], "metrics_computed": null});
    place.write(&format!("{experiment}/state.json"), &state.to_string());

    let health = place.exits(1, &["health", "outputs/s", "--deep"]);
    let row = health
        .out
        .lines()
        .find(|line| line.starts_with(FULL))
        .unwrap();
    assert!(row.contains("failed") && row.contains("2/4"), "{row}");
    assert!(
        health
            .out
            .contains("state.json says 3 answers, predictions.json holds 2"),
        "{}",
        health.out
    );
    place.exits(1, &["health", "outputs/s"]);
    let shown = place.ok(&["show", &experiment, "--idx", "0"]);
    assert!(shown.out.contains("Answer:  tea"), "{}", shown.out);
    assert!(shown.out.contains(&question(0)), "{}", shown.out);
    let lost = place.ok(&["show", &experiment, "--failed", "--json"]);
    let lost: Value = serde_json::from_str(&lost.out).unwrap();
    assert!(
        lost.as_array().unwrap().iter().any(|item| item["idx"] == 2),
        "{lost}"
    );
    assert!(
        lost.as_array().unwrap().iter().all(|item| item["idx"] != 0),
        "{lost}"
    );

    place.ok(&["resume", "outputs/s", "--filter", FULL]);
    let predictions = place.json(&format!("{experiment}/predictions.json"));
    let records = predictions["predictions"].as_array().unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["prediction"], "tea");
    assert_eq!(records[1]["prediction"], "a town");
    assert!(records[2]["error"].is_null(), "{}", records[2]);
    assert_eq!(
        place.json(&format!("{experiment}/state.json"))["phase"],
        "complete"
    );
    place.ok(&["health", "outputs/s"]);
}
