//! `evaluate` and `metrics`: scores for answers that are there.

use super::place::{EIGHT, FULL, Place, shipped, study};
use serde_json::{Value, json};
use std::fs;

fn aggregate(place: &Place, file: &str) -> Value {
    let done = place.ok(&["evaluate", file, "--metrics", "exact_match,f1", "--json"]);
    let json: Value = serde_json::from_str(&done.out).unwrap();
    json["aggregate_metrics"].clone()
}

#[test]
fn a_file_of_any_shape_is_scored_and_an_error_in_it_never() {
    let place = Place::new();
    place.write(
        "ours.json",
        &json!({"experiment": "e", "predictions": [
            {"idx": 0, "question": "q", "prediction": "The Cat", "expected": ["cat"], "error": null},
            {"idx": 1, "question": "q", "prediction": "dog", "expected": ["cat"], "error": null},
            {"idx": 2, "question": "q", "prediction": "[ERROR: boom]", "expected": ["[ERROR: boom]"], "error": "boom"},
            {"idx": 3, "question": "q", "prediction": "[ABORTED: 5 consecutive failures]", "expected": ["cat"], "error": "x", "aborted": true},
        ]})
        .to_string(),
    );
    let ours = aggregate(&place, "ours.json");
    assert_eq!(ours["exact_match"], 0.5);
    assert_eq!(ours["n_scored"], 2);
    assert_eq!(ours["n_failed"], 2);
    assert_eq!(ours["coverage"], 0.5);
    assert!(ours["exact_match_ci95"][0].as_f64().unwrap() < 0.5);

    // An older shape: `query`, markers without an error key, an idx twice.
    place.write(
        "old.json",
        &json!({"predictions": [
            {"idx": 0, "query": "q", "prediction": "[ERROR: out of memory]", "expected": ["cat"]},
            {"idx": 0, "query": "q", "prediction": "cat", "expected": ["cat"]},
            {"idx": 1, "query": "q", "prediction": "[ABORTED: 5 consecutive failures]", "expected": ["cat"]},
        ]})
        .to_string(),
    );
    let old = aggregate(&place, "old.json");
    assert_eq!(
        (&old["exact_match"], &old["n_failed"]),
        (&json!(1.0), &json!(1))
    );
    let told = place.ok(&["evaluate", "old.json", "--metrics", "f1"]).err;
    assert!(
        told.contains("1 of 3 records have the idx of another one"),
        "{told}"
    );

    place.write(
        "lines.jsonl",
        "{\"prediction\": \"cat\", \"expected\": [\"cat\"]}\n\
         {\"prediction\": \"cat\", \"answers\": [\"dog\"]}\n\n\
         {\"prediction\": \"cat\", \"golden_answers\": \"cat\"}\n\
         {\"prediction\": \"cat\", \"answers\": {\"text\": [\"cat\"]}}\n",
    );
    let lines = aggregate(&place, "lines.jsonl");
    assert_eq!(
        (&lines["exact_match"], &lines["n_scored"]),
        (&json!(0.75), &json!(4))
    );
    place.write(
        "one.jsonl",
        "{\"prediction\": \"cat\", \"answers\": [\"cat\"]}\n",
    );
    assert_eq!(aggregate(&place, "one.jsonl")["f1"], 1.0);
    let done = place.ok(&["evaluate", "lines.jsonl"]);
    insta::assert_snapshot!(done.out, @r"
    metric                       mean  n
    exact_match  0.750 [0.250, 1.000]  4
    f1           0.750 [0.250, 1.000]  4

    4 scored, 0 failed and not scored, 0 without a gold answer; coverage 100.0 %; in brackets the 95 % bootstrap interval
    ");
}

#[test]
fn a_file_or_a_metric_that_is_none_gets_one_sentence() {
    let place = Place::new();
    place.write(
        "torn.jsonl",
        "{\"prediction\": \"a\", \"answers\": [\"a\"]}\n{\"predi\n",
    );
    place.write("text.json", "hello\n");
    place.write("empty.json", "");
    place.write("list.json", "[]");
    place.write("other.json", "{\"text\": \"a\", \"model\": \"b\"}");
    place.write(
        "gold.jsonl",
        "{\"prediction\": \"a\"}\n{\"prediction\": \"b\"}\n",
    );
    place.write(
        "key.jsonl",
        "{\"answer\": \"a\", \"answers\": [\"a\"]}\n{\"answer\": \"a\", \"answers\": [\"a\"]}\n",
    );
    place.write(
        "good.jsonl",
        "{\"prediction\": \"a\", \"answers\": [\"a\"]}\n",
    );
    let said: Vec<String> = [
        &["evaluate", "nowhere.json"][..],
        &["evaluate", "torn.jsonl"],
        &["evaluate", "text.json"],
        &["evaluate", "empty.json"],
        &["evaluate", "list.json"],
        &["evaluate", "gold.jsonl"],
        &["evaluate", "key.jsonl"],
        &["evaluate", "other.json"],
        &["evaluate", "good.jsonl", "--metrics", "recall@5"],
        &["evaluate", "good.jsonl", "--metrics", "answer_in_context"],
        &["evaluate", "good.jsonl", "--metrics", "exact_mach"],
        &["evaluate", "good.jsonl", "--metrics", "bleurt"],
        &["evaluate", "good.jsonl", "--metrics", "recall@k"],
        &["evaluate", "good.jsonl", "--metrics", "llm_judge"],
        &["metrics", "nowhere", "-m", "f1"],
        &["metrics", "study.yaml", "-m", "f1"],
    ]
    .iter()
    .map(|arguments| {
        let done = place.exits(2, arguments);
        assert_eq!(done.out, "", "{arguments:?}");
        done.err
    })
    .collect();
    insta::assert_snapshot!(said.concat(), @r"
    error: nowhere.json can not be read: there is no such file
    error: torn.jsonl can not be read: line 2 is no JSON (EOF while parsing a string)
    error: text.json can not be read: it is no JSON (expected value at line 1 column 1)
    error: empty.json can not be read: it holds no records
    error: list.json can not be read: it holds no records
    error: gold.jsonl: no record has gold answers; they belong under expected, answers or golden_answers
    error: key.jsonl: no record has a prediction; it belongs under the key prediction
    error: other.json can not be read: it holds neither a list under predictions nor a record with a prediction, only text, model
    error: good.jsonl: no record says which passages hold its answer, which recall@5 looks at; their ids belong under supporting
    error: good.jsonl: no record has the passages that answer_in_context looks at; their texts belong under passages or contexts
    error: unknown metric 'exact_mach'; did you mean 'exact_match'?
    error: the metric bleurt is not computed: it needs a scoring model that this version can not run
    error: the metric recall@k wants a number for k: write for example recall@5
    error: the metric llm_judge needs a study, which says who judges: `ragicamp metrics OUTPUTS/STUDY -m llm_judge`
    error: nowhere: there is no such directory; name a study's directory, like outputs/STUDY
    error: study.yaml: it is a file; name a study's directory, like outputs/STUDY
    ");
}

#[test]
fn adding_a_metric_computes_only_it_and_asks_no_model() {
    let place = Place::ran();
    let file = |experiment: &str, name: &str| format!("outputs/s/{experiment}/{name}");
    // A score that only this file has: it would not survive being computed.
    let path = file(FULL, "results.json");
    let mut results = place.json(&path);
    results["metrics"]["exact_match"] = json!(0.123);
    place.write(&path, &results.to_string());
    let journal = place.text(&file(FULL, "journal/000001.jsonl"));

    let done = place.ok(&["metrics", "outputs/s", "-m", "f1,contains"]);
    assert!(
        done.out.contains(FULL) && done.out.contains(EIGHT),
        "{}",
        done.out
    );
    assert!(!done.err.contains("load"), "{}", done.err);
    for experiment in [FULL, EIGHT] {
        let state = place.json(&file(experiment, "state.json"));
        assert_eq!(state["phase"], "complete");
        let all = json!(["exact_match", "f1", "contains"]);
        assert_eq!(state["metrics_computed"], all);
        assert_eq!(state["attempt"], 1);
        let predictions = place.json(&file(experiment, "predictions.json"));
        let first = &predictions["predictions"][0]["metrics"];
        for metric in ["exact_match", "f1", "contains"] {
            assert!(first[metric].is_number(), "{first}");
            assert!(predictions["aggregate_metrics"][metric].is_number());
        }
        assert!(place.json(&file(experiment, "results.json"))["metrics"]["f1_ci95"].is_array());
    }
    let results = place.json(&path);
    assert_eq!(results["metrics"]["exact_match"], 0.123);
    assert!(results["duration_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(place.text(&file(FULL, "journal/000001.jsonl")), journal);
    assert_eq!(place.segments(FULL), 1);
    // The study's tables tell of it.
    let table = place.text("outputs/s/results.csv");
    assert!(
        table.lines().next().unwrap().contains("contains"),
        "{table}"
    );
    let summary = place.json("outputs/s/study_summary.json");
    assert!(summary["experiments"][0]["metrics"]["f1"].is_number());
    // Named again, it is computed again.
    place.ok(&["metrics", &format!("outputs/s/{FULL}"), "-m", "exact_match"]);
    assert_ne!(place.json(&path)["metrics"]["exact_match"], 0.123);
    place.ok(&["health", "outputs/s", "--deep"]);
    // And a run finds nothing to do.
    let again = place.ok(&["run", "study.yaml"]);
    assert!(again.out.contains("0 model loads"), "{}", again.out);
}

const RAG: &str = "rag_embedded_reader_bm25_k2_default_quick_none";

/// A study that answers from a corpus of its own, and has run.
fn ran_over_a_corpus(metrics: &str) -> Place {
    let place = Place::new();
    write_rag(&place, metrics);
    let corpus = fs::read_to_string(shipped("conf/data/quickstart/encyclopedia.jsonl")).unwrap();
    place.write("encyclopedia.jsonl", &corpus);
    place.ok(&["run", "rag.yaml"]);
    place
}

fn write_rag(place: &Place, metrics: &str) {
    place.write(
        "rag.yaml",
        &format!(
            "name: s
num_questions: 3
datasets: [{{name: quick, path: {questions}}}]
rag:
  models: ['embedded:reader']
  prompts: [default]
  quantization: [none]
  retrievers: [{{name: bm25, type: bm25, corpus: encyclopedia.jsonl, chunking: none}}]
  top_k_values: [2]
generation: {{max_new_tokens: 2, temperature: 0}}
metrics: [{metrics}]
",
            questions = shipped("conf/data/quickstart/questions.jsonl"),
        ),
    );
}

/// Turns every text of the corpus into another one, so that its index is
/// another one too.
fn change_corpus(place: &Place) {
    let corpus = fs::read_to_string(place.path("encyclopedia.jsonl")).unwrap();
    let turned: Vec<String> = corpus
        .lines()
        .map(|line| {
            let mut passage: Value = serde_json::from_str(line).unwrap();
            passage["text"] = json!("Nothing that is of use to anybody.");
            passage.to_string()
        })
        .collect();
    place.write("encyclopedia.jsonl", &turned.join("\n"));
}

#[test]
fn metrics_over_passages_find_them_again() {
    let place = ran_over_a_corpus("f1");
    // The corpus is found where the run found it, wherever one stands now.
    let outputs = place.path("outputs/s");
    let mut command = place.command(&["metrics", outputs.to_str().unwrap()]);
    fs::create_dir(place.path("elsewhere")).unwrap();
    command
        .args(["-m", "answer_in_context,recall@1"])
        .current_dir(place.path("elsewhere"));
    let done = super::place::done(&mut command);
    assert_eq!(done.code, 0, "{done:#?}");
    let results = place.json(&format!("outputs/s/{RAG}/results.json"));
    assert!(
        results["metrics"]["answer_in_context"].as_f64().unwrap() > 0.0,
        "{results}"
    );
    assert!(results["metrics"]["recall@1"].is_number(), "{results}");
    assert!(results["metrics"]["f1"].is_number());
}

#[test]
fn passages_of_another_index_than_was_searched_are_no_evidence() {
    let place = ran_over_a_corpus("f1, answer_in_context");
    let results = format!("outputs/s/{RAG}/results.json");
    let before = place.json(&results)["metrics"].clone();
    assert!(before["answer_in_context"].as_f64().unwrap() > 0.0);
    change_corpus(&place);

    // What is there stays, and what is not there stays away.
    let again = place.call(&["metrics", "outputs/s", "-m", "answer_in_context"]);
    assert!(
        again
            .err
            .contains("the index of the retriever bm25 is not what the answers"),
        "{again:#?}"
    );
    assert!(
        again.err.contains("the scores that are there stay"),
        "{again:#?}"
    );
    assert_eq!(place.json(&results)["metrics"], before);
    let more = place.exits(1, &["metrics", "outputs/s", "-m", "context_recall,rouge_l"]);
    assert!(
        more.err.contains("context_recall is not computed"),
        "{more:#?}"
    );
    let after = place.json(&results)["metrics"].clone();
    assert!(after.get("context_recall").is_none(), "{after}");
    assert!(after["rouge_l"].is_number());
    assert_eq!(after["answer_in_context"], before["answer_in_context"]);
}

#[test]
fn passages_that_are_not_found_any_more_are_no_evidence_either() {
    let place = ran_over_a_corpus("f1");
    // As of a version that did not put the index on record.
    let path = format!("outputs/s/{RAG}/metadata.json");
    let mut metadata = place.json(&path);
    metadata["index"] = Value::Null;
    place.write(&path, &metadata.to_string());
    let corpus = place.text("encyclopedia.jsonl");
    place.write(
        "encyclopedia.jsonl",
        &corpus.replace("\"id\": \"", "\"id\": \"new-"),
    );
    assert_ne!(place.text("encyclopedia.jsonl"), corpus);
    let done = place.exits(1, &["metrics", "outputs/s", "-m", "answer_in_context"]);
    assert!(
        done.err.contains("which is not found for it any more"),
        "{done:#?}"
    );
}

#[test]
fn a_study_that_asks_for_one_more_metric_keeps_those_over_passages() {
    let place = ran_over_a_corpus("answer_in_context");
    let results = format!("outputs/s/{RAG}/results.json");
    let before = place.json(&results)["metrics"].clone();
    change_corpus(&place);
    write_rag(&place, "answer_in_context, rouge_l");
    place.ok(&["run", "rag.yaml"]);
    let after = place.json(&results)["metrics"].clone();
    assert!(after["rouge_l"].is_number(), "{after}");
    assert_eq!(after["answer_in_context"], before["answer_in_context"]);
}

#[test]
fn metrics_without_a_name_are_those_of_the_study() {
    let place = Place::ran();
    let path = format!("outputs/s/{FULL}/results.json");
    let before = place.json(&path)["metrics"].clone();
    place.ok(&["metrics", "outputs/s"]);
    assert_eq!(place.json(&path)["metrics"], before);
}

#[test]
fn what_is_unfinished_is_left_alone_and_what_failed_stays_failed() {
    let place = Place::ran();
    let path = |experiment: &str| format!("outputs/s/{experiment}/state.json");
    let mut state = place.json(&path(FULL));
    state["phase"] = json!("generating");
    place.write(&path(FULL), &state.to_string());
    let mut state = place.json(&path(EIGHT));
    state["phase"] = json!("failed");
    state["error"] = json!("out of memory");
    place.write(&path(EIGHT), &state.to_string());
    let done = place.exits(1, &["metrics", "outputs/s", "-m", "f1"]);
    assert!(
        done.err.contains(&format!(
            "{FULL}: left alone: it is generating; `ragicamp resume` finishes it"
        )),
        "{}",
        done.err
    );
    let state = place.json(&path(EIGHT));
    assert_eq!(state["phase"], "failed");
    assert_eq!(state["error"], "out of memory");
    let predictions = place.json(&format!("outputs/s/{EIGHT}/predictions.json"));
    assert!(predictions["aggregate_metrics"]["f1"].is_number());
}

#[test]
fn an_old_directory_gets_scores_too() {
    let place = Place::new();
    place.write(
        "old/exp/predictions.json",
        &json!({"predictions": [
            {"idx": 0, "query": "q", "prediction": "cat", "expected": ["cat"]},
            {"idx": 1, "query": "r", "prediction": "dog", "expected": ["cat"]},
        ]})
        .to_string(),
    );
    place.write(
        "old/exp/state.json",
        &json!({"phase": "complete", "predictions_complete": 2, "total_questions": 2}).to_string(),
    );
    let done = place.ok(&["metrics", "old", "-m", "exact_match"]);
    assert!(done.out.contains("0.500"), "{}", done.out);
    let results = place.json("old/exp/results.json");
    assert_eq!(results["metrics"]["exact_match"], 0.5);
    assert_eq!(results["num_examples"], 2);
    let compared = place.ok(&["compare", "old"]);
    assert!(compared.out.contains("0.500"), "{}", compared.out);
}

#[test]
fn an_experiment_that_another_process_holds_is_left_alone() {
    let place = Place::ran();
    let lease = format!("outputs/s/{FULL}/lease");
    // The holder is this very test: alive, and on this host.
    let newest = fs::read_dir(place.path(&lease))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    let mut record: Value = serde_json::from_slice(&fs::read(&newest).unwrap()).unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(19)
        .unwrap();
    record["pid"] = json!(std::process::id());
    record["start_time"] = json!(start.parse::<u64>().unwrap());
    record["released_at"] = Value::Null;
    fs::write(&newest, record.to_string()).unwrap();
    let before = place.files(&format!("outputs/s/{FULL}"));
    let done = place.exits(1, &["metrics", "outputs/s", "-m", "f1"]);
    assert!(
        done.err.contains("left alone: it is being run by process"),
        "{}",
        done.err
    );
    assert!(place.files(&format!("outputs/s/{FULL}")) == before);
}

#[test]
fn a_study_asked_for_more_metrics_scores_without_generating() {
    let place = Place::ran();
    place.write("study.yaml", &study(4, "exact_match, rouge_l", 0.0));
    let done = place.ok(&["run", "study.yaml"]);
    assert!(done.out.contains("0 model loads"), "{}", done.out);
    let state = place.json(&format!("outputs/s/{FULL}/state.json"));
    assert_eq!(state["metrics_computed"], json!(["exact_match", "rouge_l"]));
}

#[test]
fn a_directory_in_the_place_of_the_predictions_is_told_with_the_file_in_it() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    let done = place.exits(2, &["evaluate", &experiment]);
    let meant = format!("name the file in it, {experiment}/predictions.json\n");
    assert!(done.err.ends_with(&meant), "{}", done.err);
    let done = place.exits(2, &["evaluate", "outputs"]);
    assert!(
        done.err.contains("without a predictions.json"),
        "{}",
        done.err
    );
}

/// What `evaluate` says of a file of JSON lines.
fn rated(metrics: &str, lines: &[Value]) -> Value {
    let place = Place::new();
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    place.write("p.jsonl", &text.join("\n"));
    let done = place.ok(&["evaluate", "p.jsonl", "--metrics", metrics, "--json"]);
    let evaluated: Value = serde_json::from_str(&done.out).unwrap();
    evaluated["aggregate_metrics"].clone()
}

#[test]
fn a_search_that_has_found_nothing_is_a_miss() {
    let record = |more: Value| {
        let mut record = json!({"prediction": "x", "answers": ["x"], "supporting": ["a"]});
        let more = more.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(more);
        record
    };
    let found = record(json!({"retrieved": [{"id": "a"}]}));
    let nothing = record(json!({"retrieved": []}));
    let names = "recall@5,hit@5,mrr,ndcg@5";
    let scores = rated(names, &[found.clone(), nothing]);
    for name in names.split(',') {
        assert_eq!(scores[name], 0.5, "{name}: {scores:#}");
    }
    // Who does not say what was retrieved, or has an agent that did not
    // search, is not measured.
    let unsaid = record(json!({}));
    let unsearched = record(json!({"retrieved": [], "steps": [{"kind": "answer"}]}));
    let scores = rated(names, &[found, unsaid, unsearched]);
    assert_eq!(scores["mrr"], 1.0, "{scores:#}");
    assert_eq!(scores["mrr_n"], 1);
}

#[test]
fn supporting_ids_may_be_numbers_and_whatever_datasets_have() {
    for supporting in [json!([7]), json!(["7"]), json!("7"), json!([["7", 0]])] {
        let record = json!({"prediction": "x", "answers": ["x"], "supporting": supporting,
            "retrieved": [{"id": 7}, {"id": 8}]});
        assert_eq!(rated("mrr", &[record])["mrr"], 1.0, "{supporting}");
    }
}

#[test]
fn gold_answers_may_be_those_of_triviaqa_behind_a_byte_order_mark() {
    let place = Place::new();
    let golds =
        json!({"value": "Oslo", "aliases": ["Oslo", "Christiania"], "type": "WikipediaEntity"});
    let record = |prediction| json!({"prediction": prediction, "answers": golds}).to_string();
    let lines = [record("Christiania"), record("oslo"), record("Bergen")].join("\n");
    place.write("p.jsonl", &format!("\u{feff}{lines}"));
    let scores = aggregate(&place, "p.jsonl");
    assert_eq!(scores["exact_match"], 2.0 / 3.0, "{scores:#}");
}

#[test]
fn predictions_may_come_out_of_a_pipe() {
    let place = Place::new();
    let records = "{\"prediction\": \"a\", \"golden_answers\": [\"a\"]}\n";
    let mut call = place.command(&["evaluate", "/dev/stdin"]);
    let done = call.write_stdin(records).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}
