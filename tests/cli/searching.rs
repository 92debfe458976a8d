//! A grid of which only some cells are run, each chosen by what the ones
//! before it scored.

use super::place::{Place, shipped};
use serde_json::Value;
use std::fs;

fn study(number: usize) -> String {
    format!(
        "name: s
num_questions: 3
datasets: [{{name: quick, path: {questions}}}]
direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none]}}
rag:
  models: ['embedded:reader']
  prompts: [default]
  quantization: [none]
  retrievers: [{{name: bm25, type: bm25, corpus: {corpus}, chunking: none}}]
  top_k_values: [1, 2, 3, 4, 5, 6, 7, 8]
  sampling: {{mode: tpe, n_experiments: {number}, optimize_metric: f1, seed: 7}}
generation: {{max_new_tokens: 3, temperature: 0}}
metrics: [f1]
batch_size: 4
",
        questions = shipped("conf/data/quickstart/questions.jsonl"),
        corpus = shipped("conf/data/quickstart/encyclopedia.jsonl"),
    )
}

fn experiments(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.path("outputs/s"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_searched_grid_runs_so_many_cells_and_goes_on_where_it_stopped() {
    let place = Place::new();
    place.write("search.yaml", &study(3));
    let done = place.ok(&["run", "search.yaml"]);
    let three = experiments(&place);
    // The direct cell is no part of the search.
    assert_eq!(three.len(), 1 + 3, "{three:?}");
    assert!(
        done.out.contains("4 complete, 0 failed, 0 left, of 4"),
        "{}",
        done.out
    );

    let again = place.ok(&["run", "search.yaml"]);
    assert_eq!(experiments(&place), three);
    assert!(again.out.contains("0 model loads"), "{}", again.out);

    // What was chosen and is unfinished is finished before anything new.
    let unfinished = three.iter().find(|name| name.starts_with("rag")).unwrap();
    let path = format!("outputs/s/{unfinished}/state.json");
    let mut state: Value = place.json(&path);
    state["phase"] = "generated".into();
    place.write(&path, &state.to_string());
    place.ok(&["resume", "outputs/s"]);
    assert_eq!(experiments(&place), three);
    assert_eq!(place.json(&path)["phase"], "complete");

    // A larger number keeps them.
    place.write("search.yaml", &study(5));
    place.ok(&["run", "search.yaml"]);
    let five = experiments(&place);
    assert_eq!(five.len(), 1 + 5, "{five:?}");
    assert!(three.iter().all(|name| five.contains(name)));
    let planned = place.ok(&["run", "search.yaml", "--dry-run"]).out;
    assert!(
        planned.contains("5 of these 8 cells are tried"),
        "{planned}"
    );
}

#[test]
fn a_search_tries_its_number_of_cells_whatever_parts_of_the_grid_are_run() {
    let place = Place::new();
    place.write("search.yaml", &study(3));
    for part in ["1/3", "2/3", "3/3", "1/3"] {
        place.ok(&["run", "search.yaml", "--shard", part]);
    }
    let tried = experiments(&place);
    assert_eq!(tried.len(), 1 + 3, "{tried:?}");
    let status = place.ok(&["status", "outputs/s"]).out;
    assert!(
        status.contains("4 of 4 experiments complete, 0 failed, 0 left"),
        "{status}"
    );
    let submitted = place.ok(&["submit", "search.yaml", "--engine", "slurm", "--print"]);
    assert!(submitted.out.contains("nothing to submit"), "{submitted:?}");
}
