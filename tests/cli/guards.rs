//! Answers of two models, two corpora or two studies never get into one
//! directory, and nobody's files are replaced.

use super::place::{EIGHT, FULL, Place, shipped, study};
use serde_json::json;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// A study over a model and a corpus of the place's own.
fn own(place: &Place, questions: usize) -> String {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = shipped(&format!("conf/models/reader/{name}"));
        fs::create_dir_all(place.path("lm")).unwrap();
        fs::copy(from, place.path(&format!("lm/{name}"))).unwrap();
    }
    let passages = shipped("conf/data/quickstart/encyclopedia.jsonl");
    let corpus = fs::read_to_string(passages).unwrap();
    place.write("corpus.jsonl", &corpus);
    format!(
        "name: s
num_questions: {questions}
datasets: [{{name: quick, path: {data}}}]
rag:
  models: ['hf:./lm']
  corpus: corpus.jsonl
  retrievers: [{{name: words, type: bm25}}]
  top_k_values: [1]
  prompts: [default]
  quantization: [none]
generation: {{max_new_tokens: 4}}
metrics: [exact_match]
",
        data = shipped("conf/data/quickstart/questions.jsonl"),
    )
}

#[test]
fn an_experiment_does_not_go_on_with_another_model() {
    let place = Place::new();
    let yaml = own(&place, 2);
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    let weights = place.path("lm/model.safetensors");
    let before = fs::read(&weights).unwrap();
    let mut after = before.clone();
    let last = after.len() - 1;
    after[last] ^= 1;
    fs::write(&weights, after).unwrap();
    place.write("study.yaml", &yaml.replace("questions: 2", "questions: 4"));
    let done = place.exits(1, &["run", "study.yaml"]);
    let said = format!("{}{}", done.out, done.err);
    assert!(
        said.contains("its weights are not what the answers"),
        "{said}"
    );
    // Twice told is not taken for granted, and what it was goes on.
    place.exits(1, &["run", "study.yaml"]);
    fs::write(&weights, before).unwrap();
    place.ok(&["run", "study.yaml"]);
}

#[test]
fn an_experiment_does_not_go_on_with_another_corpus() {
    let place = Place::new();
    let yaml = own(&place, 2);
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    let corpus = place.text("corpus.jsonl");
    let half: Vec<&str> = corpus.lines().step_by(2).collect();
    place.write("corpus.jsonl", &half.join("\n"));
    place.write("study.yaml", &yaml.replace("questions: 2", "questions: 4"));
    let done = place.exits(1, &["run", "study.yaml"]);
    let said = format!("{}{}", done.out, done.err);
    assert!(
        said.contains("of the retriever words is not what"),
        "{said}"
    );
    place.write("corpus.jsonl", &corpus);
    place.ok(&["run", "study.yaml"]);
}

#[test]
fn another_study_and_files_of_others_are_not_replaced() {
    let place = Place::ran();
    let other = study(4, "exact_match", 0.0).replace("name: s", "name: t");
    place.write("other.yaml", &other);
    let before = place.files("outputs/s");
    let done = place.exits(2, &["run", "other.yaml", "--output", "outputs/s"]);
    insta::assert_snapshot!(done.err, @r#"error: outputs/s holds the study "s", and this one is "t": give it an output_dir of its own, or --output DIR"#);
    assert_eq!(place.files("outputs/s"), before);

    place.write("notes/study.yaml", "notes: mine\n");
    let done = place.exits(2, &["run", "other.yaml", "--output", "notes"]);
    insta::assert_snapshot!(done.err, @r#"error: notes/study.yaml is no study that was run there, and this one is "t": give it an output_dir of its own, or --output DIR"#);
    assert_eq!(place.text("notes/study.yaml"), "notes: mine\n");

    // Beside the study's own file is a place like any other.
    place.write("own/study.yaml", &other);
    place.ok(&["run", "own/study.yaml", "--output", "own", "--limit", "1"]);
    assert_eq!(place.text("own/study.yaml"), other);
}

#[test]
fn a_directory_of_studies_does_not_become_one_and_hide_them() {
    let place = Place::ran();
    let other = study(4, "exact_match", 0.0).replace("name: s", "name: t");
    place.write("other.yaml", &other);
    place.write("named.yaml", &format!("{other}output_dir: outputs\n"));
    let before = place.files("outputs");
    for arguments in [
        &["run", "other.yaml", "--output", "outputs"][..],
        &["run", "named.yaml"],
    ] {
        let done = place.exits(2, arguments);
        assert_eq!(
            done.err,
            "error: outputs holds other studies, as outputs/s, which \"t\" would hide: give it a \
             directory of its own with output_dir or --output, e.g. outputs/t\n"
        );
    }
    // Also one of which only the experiments are left.
    fs::remove_file(place.path("outputs/s/study.yaml")).unwrap();
    fs::remove_file(place.path("outputs/s/manifest.json")).unwrap();
    place.exits(2, &["run", "named.yaml"]);
    assert!(place.files("outputs").len() == before.len() - 2);
    // The study that is there goes on beside whatever was put there.
    place.ok(&["run", "other.yaml", "--limit", "1"]);
    place.write("outputs/t/below/study.yaml", "name: u\n");
    place.ok(&["run", "other.yaml"]);
}

#[test]
fn a_file_in_the_place_of_the_output_directory_is_told() {
    let place = Place::new();
    place.write("mine", "mine");
    for output in ["mine", "mine/below"] {
        let done = place.exits(2, &["run", "study.yaml", "--output", output]);
        assert_eq!(
            done.err,
            "error: mine is no directory, and \"s\" needs one to write to: give it another \
             output_dir, or --output DIR\n"
        );
    }
    assert_eq!(place.text("mine"), "mine");
}

#[test]
fn repro_compares_with_a_second_run_only() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    let done = place.exits(2, &["repro", &experiment, "--output", "outputs/s"]);
    assert!(done.err.contains("there is an experiment"), "{}", done.err);
}

#[test]
fn what_is_corrected_before_anything_was_answered_needs_no_force() {
    let place = Place::new();
    let yaml = study(4, "exact_match", 0.0);
    let data = shipped("conf/data/quickstart/questions.jsonl");
    place.write("study.yaml", &yaml.replace(&data, "nowhere.jsonl"));
    place.exits(1, &["run", "study.yaml"]);
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    // With answers it does.
    place.write(
        "study.yaml",
        &yaml.replace("max_new_tokens: 4", "max_new_tokens: 5"),
    );
    let done = place.exits(2, &["run", "study.yaml"]);
    assert!(done.err.contains("--force --filter NAME"), "{}", done.err);
}

#[test]
fn scores_are_added_without_the_model() {
    let place = Place::new();
    let yaml = own(&place, 2);
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    fs::remove_dir_all(place.path("lm")).unwrap();
    place.write(
        "study.yaml",
        &yaml.replace("[exact_match]", "[exact_match, f1]"),
    );
    let done = place.ok(&["run", "study.yaml"]);
    assert!(done.out.contains("1 complete"), "{}", done.out);
}

#[test]
fn a_cell_that_this_program_can_not_run_stays_complete() {
    let place = Place::ran();
    let state = format!("outputs/s/{EIGHT}/state.json");
    let metadata = format!("outputs/s/{EIGHT}/metadata.json");
    // As of another program, of a provider that is not here.
    fs::remove_file(place.path(&metadata)).unwrap();
    let yaml = place.text("study.yaml");
    let name = EIGHT.replace("embedded_reader", "vllm_reader");
    fs::rename(
        place.path(&format!("outputs/s/{EIGHT}")),
        place.path(&format!("outputs/s/{name}")),
    )
    .unwrap();
    fs::remove_file(place.path("outputs/s/manifest.json")).unwrap();
    place.write(
        "study.yaml",
        &yaml.replace("['embedded:reader']", "['embedded:reader', 'vllm:reader']"),
    );
    let before = place.files(&format!("outputs/s/{name}"));
    place.call(&["run", "study.yaml"]);
    let after = place.files(&format!("outputs/s/{name}"));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    let state = state.replace(EIGHT, &name);
    assert_eq!(place.json(&state)["phase"], json!("complete"));
}

#[test]
fn a_file_in_the_place_of_an_experiment_costs_that_experiment() {
    let place = Place::new();
    place.write(&format!("outputs/s/{FULL}"), "mine");
    let done = place.exits(1, &["run", "study.yaml"]);
    assert!(done.out.contains("1 complete, 1 failed"), "{}", done.out);
    assert_eq!(place.text(&format!("outputs/s/{FULL}")), "mine");
}

#[test]
fn a_directory_that_is_removed_ends_the_run_with_what_happened() {
    let place = Place::new();
    place.write("study.yaml", &study(100, "exact_match", 0.0));
    let child = Command::new(env!("CARGO_BIN_EXE_ragicamp"))
        .args(["run", "study.yaml", "--batch-size", "1"])
        .current_dir(place.path(""))
        .env("HOME", place.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = place.path(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    let other = place.path(&format!("outputs/s/{EIGHT}/journal/000001.jsonl"));
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    while length(&journal) + length(&other) == 0 {
        thread::sleep(Duration::from_millis(2));
    }
    fs::remove_dir_all(place.path("outputs")).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("the study stops"), "{said}");
}
