//! Looking before running.

use super::place::{EIGHT, FULL, Place, plan, shipped};
use std::fs;

#[test]
fn validate_says_that_nothing_is_wrong_and_does_nothing() {
    let place = Place::new();
    let done = place.ok(&["run", "study.yaml", "--validate"]);
    assert_eq!(done.out, "study.yaml: 2 experiments, nothing is wrong\n");
    assert!(!place.path("outputs").exists());
}

#[test]
fn files_that_a_study_names_and_that_are_not_there_are_all_told_before_anything_runs() {
    let place = Place::new();
    place.write(
        "missing.yaml",
        "name: s
num_questions: 1
datasets: [{path: nowhere.jsonl}, {name: there, path: q.jsonl}, {path: directory}]
direct: {models: ['embedded:reader', 'gguf:no.gguf'], quantization: [none]}
rag: {models: ['hf:./nowhere'], corpus: ~/docs, retrievers: [{type: bm25}]}
",
    );
    place.write(
        "q.jsonl",
        "{\"question\": \"Who?\", \"answers\": [\"I\"]}\n",
    );
    fs::create_dir(place.path("directory")).unwrap();
    let done = place.exits(2, &["run", "missing.yaml", "--validate"]);
    let here = place.dir.path().display().to_string();
    let said = done.err.replace(&here, "HERE");
    let told = [
        "error: missing.yaml:3: datasets[0].path: there is no file 'HERE/nowhere.jsonl'",
        "missing.yaml:3: datasets[2].path: 'HERE/directory' is a directory; name a file in it",
        "missing.yaml:4: direct.models[1]: gguf:no.gguf is not there",
        "missing.yaml:5: rag.models[0]: hf:./nowhere is not there",
        "missing.yaml:5: rag.corpus: there is no file or directory 'HERE/docs'; correct the path",
        "5 problems; nothing was run",
    ];
    for line in told {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert_eq!(said.matches("HERE/nowhere.jsonl'").count(), 1, "{said}");
    // A run warns, and goes on without them.
    let dry = place.ok(&["run", "missing.yaml", "--dry-run"]);
    let real = place.exits(1, &["run", "missing.yaml"]);
    for done in [dry, real] {
        let warning = "missing.yaml:4: warning: direct.models[1]: gguf:no.gguf is not there";
        assert_eq!(done.err.matches(warning).count(), 1, "{}", done.err);
    }
    // What is wrong with the text and what is not there are told in one go.
    let yaml = place.text("missing.yaml");
    place.write("both.yaml", &yaml.replace("questions: 1", "question: 1"));
    let done = place.exits(2, &["run", "both.yaml", "--validate"]);
    for line in [
        "error: both.yaml:2: num_question: unknown key",
        "both.yaml:3: datasets[0].path: there is no file",
        "both.yaml:5: rag.corpus: there is no file or directory",
        "6 problems; nothing was run",
    ] {
        assert!(done.err.contains(line), "{line}\n{}", done.err);
    }
    let done = place.exits(2, &["run", "both.yaml"]);
    assert!(done.err.contains("1 problem; nothing"), "{}", done.err);
}

#[test]
fn metrics_that_look_deeper_than_the_passages_are_warned_of_once() {
    let place = Place::new();
    let warned = |top_ks: &str, metrics: &str| {
        let study = format!(
            "name: s
datasets: [{{name: quick, path: {questions}}}]
rag:
  models: ['embedded:reader']
  retrievers: [{{type: bm25, corpus: {corpus}, chunking: none}}]
  top_k_values: [{top_ks}]
metrics: [{metrics}]
",
            questions = shipped("conf/data/quickstart/questions.jsonl"),
            corpus = shipped("conf/data/quickstart/encyclopedia.jsonl"),
        );
        place.write("deep.yaml", &study);
        place.ok(&["run", "deep.yaml", "--validate"]).err
    };
    let told = warned("1, 3, 10", "f1, recall@1, recall@5, ndcg@10, mrr");
    let warning = "metrics: recall@5 with top_k 1, 3; ndcg@10 with top_k 1, 3: fewer passages are \
                   kept than the metric looks at";
    assert_eq!(told.matches(warning).count(), 1, "{told}");
    assert_eq!(told.matches("warning").count(), 1, "{told}");
    assert_eq!(warned("5, 10", "recall@5, mrr"), "");
}

#[test]
fn a_dry_run_of_a_fresh_study_shows_everything_as_new_and_leaves_nothing() {
    let place = Place::new();
    let before = place.files(".");
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out.contains(
            "s: 2 experiments in outputs/s; 2 to run, 2 model loads, 8 questions to answer"
        ),
        "{}",
        done.out
    );
    let plan = plan(&place, &["run", "study.yaml"]);
    assert_eq!(
        plan,
        [format!("{FULL} new 0/4"), format!("{EIGHT} new 0/4")]
    );
    assert!(place.files(".") == before, "a dry run wrote something");
}

#[test]
fn fewer_questions_than_were_answered_are_told() {
    let place = Place::ran();
    let fewer = place
        .text("study.yaml")
        .replace("num_questions: 4", "num_questions: 2");
    place.write("study.yaml", &fewer);
    for arguments in [
        &["run", "study.yaml", "--dry-run"][..],
        &["run", "study.yaml"],
    ] {
        let done = place.ok(arguments);
        assert!(
            done.err.contains(
                "2 experiments have more answers than num_questions asks for now; they keep all"
            ),
            "{}",
            done.err
        );
    }
}

#[test]
fn a_dry_run_of_a_half_done_study_tells_what_is_left_of_it() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    let before = place.files("outputs");
    let expected = [format!("{FULL} complete 4/4"), format!("{EIGHT} new 0/4")];
    assert_eq!(plan(&place, &["run", "study.yaml"]), expected);
    assert_eq!(plan(&place, &["resume", "outputs/s"]), expected);
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out
            .contains("1 to run, 1 model load, 4 questions to answer"),
        "{}",
        done.out
    );
    assert!(
        place.files("outputs") == before,
        "a dry run wrote something"
    );
}
