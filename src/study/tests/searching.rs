//! Grids that are searched.

use super::study;
use crate::domain::ExperimentSpec;
use crate::study::Study;
use std::collections::{BTreeSet, HashMap};

/// 3 models x 4 retrievers x 5 top_k x 2 prompts = 120 cells.
fn grid(number: usize, seed: usize) -> Study {
    study(&format!(
        "name: s
datasets: [nq]
rag:
  models: [hf:a/a, hf:a/b, hf:a/c]
  retrievers:
    - {{type: bm25, name: r1, corpus: c1.jsonl}}
    - {{type: bm25, name: r2, corpus: c2.jsonl}}
    - {{type: bm25, name: r3, corpus: c3.jsonl}}
    - {{type: bm25, name: r4, corpus: c4.jsonl}}
  top_k_values: [1, 2, 3, 5, 8]
  prompts: [default, concise]
  quantization: [none]
  sampling: {{mode: tpe, n_experiments: {number}, optimize_metric: f1, seed: {seed}}}
metrics: [f1]
"
    ))
}

/// Best at b, r3, k 5; the prompt does not matter.
fn quality(spec: &ExperimentSpec) -> f64 {
    let retriever = spec.retriever.as_ref().map_or("", |one| one.name.as_str());
    let part = |is: bool| if is { 0.3 } else { 0.0 };
    part(spec.model.name == "a/b") + part(retriever == "r3") + part(spec.top_k == Some(5))
}

/// The names in the order in which they are tried. Those that `fails` picks
/// have no score.
fn searched(study: &Study, known: usize, fails: fn(&ExperimentSpec) -> bool) -> Vec<String> {
    let search = study.search.as_ref().unwrap();
    let mut order: Vec<&ExperimentSpec> = Vec::new();
    loop {
        // As after a restart: only what is on disk is known.
        let mut on_disk = order.clone();
        if order.len() == known {
            on_disk.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let tried: BTreeSet<&str> = on_disk.iter().map(|spec| spec.name.as_str()).collect();
        let scores: HashMap<&str, f64> = on_disk
            .iter()
            .filter(|spec| !fails(spec))
            .map(|spec| (spec.name.as_str(), quality(spec)))
            .collect();
        match search.next(&study.experiments, |_| true, &tried, &scores) {
            Some(spec) => order.push(spec),
            None => return order.into_iter().map(|spec| spec.name.clone()).collect(),
        }
    }
}

fn best(study: &Study, names: &[String]) -> f64 {
    let found = study
        .experiments
        .iter()
        .filter(|spec| names.contains(&spec.name));
    found.map(quality).fold(0.0, f64::max)
}

#[test]
fn a_search_finds_the_best_of_a_grid_more_often_than_chance() {
    let (mut searched_best, mut drawn_best) = (0.0, 0.0);
    for seed in 0..20 {
        let study = grid(35, seed);
        assert_eq!(study.experiments.len(), 120);
        let names = searched(&study, usize::MAX, |_| false);
        assert_eq!(names.len(), 35);
        let different: BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), 35);
        searched_best += best(&study, &names);
        // The same number by lot: what nothing is known of is drawn so.
        let drawn = searched(&study, usize::MAX, |_| true);
        drawn_best += best(&study, &drawn);
    }
    // 0.9 is the best there is; two of 120 cells have it.
    assert!(searched_best > 20.0 * 0.85, "{searched_best}");
    assert!(searched_best > drawn_best, "{searched_best} {drawn_best}");
}

#[test]
fn the_level_of_a_dataset_does_not_lead_a_search() {
    let source = |seed: usize| {
        format!(
            "name: s
datasets: [nq, squad]
rag:
  models: [hf:a/a, hf:a/b, hf:a/c]
  retrievers:
    - {{type: bm25, name: r1, corpus: c1.jsonl}}
    - {{type: bm25, name: r3, corpus: c3.jsonl}}
  top_k_values: [1, 2, 3, 5, 8]
  prompts: [default]
  quantization: [none]
  sampling: {{mode: tpe, n_experiments: 30, optimize_metric: f1, seed: {seed}}}
metrics: [f1]
"
        )
    };
    let study = study(&source(4));
    let order = |raised: f64| {
        let search = study.search.as_ref().unwrap();
        let mut order: Vec<String> = Vec::new();
        loop {
            let tried: BTreeSet<&str> = order.iter().map(String::as_str).collect();
            let scores: HashMap<&str, f64> = study
                .experiments
                .iter()
                .filter(|spec| tried.contains(spec.name.as_str()))
                .map(|spec| {
                    let is_raised = spec.dataset.name == "squad";
                    let level = if is_raised { raised } else { 0.0 };
                    (spec.name.as_str(), quality(spec) + level)
                })
                .collect();
            match search.next(&study.experiments, |_| true, &tried, &scores) {
                Some(spec) => order.push(spec.name.clone()),
                None => return order,
            }
        }
    };
    // Sums of binary fractions stay exact, so that ties stay ties.
    assert_eq!(order(0.0).len(), 30);
    assert_eq!(order(0.0)[..12], order(4.0)[..12]);
}

#[test]
fn a_search_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let study = grid(30, 1);
    let whole = searched(&study, usize::MAX, |_| false);
    for known in [3, 10, 17] {
        assert_eq!(searched(&study, known, |_| false), whole);
    }
    assert_ne!(searched(&grid(30, 2), usize::MAX, |_| false), whole);
}

#[test]
fn the_first_ten_cells_are_drawn_by_lot_and_the_others_are_not() {
    let study = grid(30, 1);
    let guided = searched(&study, usize::MAX, |_| false);
    let drawn = searched(&study, usize::MAX, |_| true);
    assert_eq!(guided[..10], drawn[..10]);
    assert_ne!(guided[10..], drawn[10..]);
}

#[test]
fn what_failed_is_tried_once_and_is_no_bad_score() {
    let study = grid(60, 3);
    // Every cell of r3, where the best ones are, fails.
    let fails = |spec: &ExperimentSpec| spec.retriever.as_ref().is_some_and(|one| one.name == "r3");
    let names = searched(&study, usize::MAX, fails);
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(different.len(), 60);
    // As 0 they would drive the search away from r3 altogether; so they are
    // drawn as anything of which nothing is known.
    let guided = &names[10..];
    assert!(guided.iter().any(|name| name.contains("_r3_")), "{names:?}");
}

#[test]
fn a_search_by_a_metric_that_is_not_computed_is_refused() {
    insta::assert_snapshot!(super::problems(
        "name: s
datasets: [nq]
rag:
  models: [hf:a/a]
  retrievers: [{type: bm25, name: r1, corpus: c1.jsonl}]
  sampling: {mode: tpe, n_experiments: 3, optimize_metric: exact_match}
metrics: [f1]
"
    ), @r"
    s.yaml:6: rag.sampling: the search is by exact_match, which is not among the computed metrics; add it to metrics, or name another with optimize_metric
    ");
}
