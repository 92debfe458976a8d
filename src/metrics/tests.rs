#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::{Failure, FailureClass, Prediction, Retrieved};
use serde_json::{Value, json};
use std::path::PathBuf;

fn shared(file: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let dir = std::env::var_os("RAGICAMP_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = dir.join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn rate(metric: &str, prediction: &str, expected: &[&str]) -> Option<f64> {
    let expected = strings(expected);
    score(
        metric,
        &Scored {
            prediction,
            expected: &expected,
            ..Scored::default()
        },
    )
}

fn answered(idx: usize, prediction: &str, expected: &[&str]) -> Prediction {
    serde_json::from_value(json!({
        "idx": idx, "question": "q", "prediction": prediction, "expected": expected, "error": null
    }))
    .unwrap()
}

fn failed(idx: usize, prediction: &str) -> Prediction {
    let mut failed = answered(idx, prediction, &["x"]);
    failed.error = Some("boom".into());
    failed
}

/// The item of the reference whose only gold answer normalises to nothing, and
/// whose answer does not.
const AN_EMPTY_GOLD: &str = "hand:053";

#[test]
fn every_reference_item_and_mean_is_equal_to_the_published_scripts() {
    let Some(path) = shared("metrics_ref.json") else {
        return;
    };
    let reference: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let columns = [
        ("exact_match", "em_v11"),
        ("f1", "f1_v11"),
        ("exact_match_v2", "em_v2"),
        ("f1_v2", "f1_v2"),
        ("contains", "contains_norm"),
        ("rouge_l", "rougeL_f"),
    ];
    let items = reference["items"].as_array().unwrap();
    assert_eq!(items.len(), 2_000);
    for item in items {
        let prediction = item["prediction"].as_str().unwrap();
        let expected: Vec<String> = serde_json::from_value(item["golds"].clone()).unwrap();
        assert_eq!(
            normalise_answer(prediction),
            item["norm_prediction"].as_str().unwrap(),
            "{item}"
        );
        for (name, key) in columns {
            let ours = score(
                name,
                &Scored {
                    prediction,
                    expected: &expected,
                    ..Scored::default()
                },
            );
            match (ours, item[key].as_f64()) {
                // The reference looks for the empty text in every text.
                _ if item["id"] == AN_EMPTY_GOLD && name == "contains" => {
                    assert_eq!(ours, Some(0.0));
                }
                // The reference is written with six digits.
                (Some(ours), Some(theirs)) => assert!(
                    ((ours * 1e6).round_ties_even() / 1e6 - theirs).abs() < 1e-9,
                    "{name} {ours} {item}"
                ),
                (None, None) => {}
                other => panic!("{name} {other:?} {item}"),
            }
        }
    }

    let predictions: Vec<Prediction> = items
        .iter()
        .enumerate()
        .map(|(idx, item)| {
            let golds: Vec<&str> = item["golds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|gold| gold.as_str().unwrap())
                .collect();
            answered(idx, item["prediction"].as_str().unwrap(), &golds)
        })
        .collect();
    let names = strings(&columns.map(|(name, _)| name));
    let evaluation = evaluate(&names, &predictions);
    for (name, key) in columns {
        let mean = evaluation.aggregate[name].as_f64().unwrap();
        let mut theirs = reference["aggregate"][key]["mean"].as_f64().unwrap();
        if name == "contains" {
            theirs -= 1.0 / 1_750.0;
        }
        assert!((mean - theirs).abs() < 1e-6, "{name}: {mean} {theirs}");
    }
    assert_eq!(evaluation.aggregate["n_scored"], 1_750);
    assert_eq!(evaluation.aggregate["n_without_gold"], 250);
    assert_eq!(evaluation.aggregate["f1_v2_n"], 2_000);
}

#[test]
fn normalisation_follows_python_and_not_rust() {
    // A combining mark is no word character: the article before it stands alone.
    assert_eq!(normalise_answer("a\u{301} b"), "\u{301} b");
    // A vulgar fraction is one: the article is a part of a longer word.
    assert_eq!(normalise_answer("a½"), "a½");
    // An enclosed letter is alphabetic for Rust, and no word for Python.
    assert_eq!(normalise_answer("theⓐ"), "ⓐ");
    assert_eq!(normalise_answer("x\u{1c}y"), "x y");
    assert_eq!(normalise_answer("well-known, U.S."), "wellknown us");
    assert_eq!(normalise_answer("“quoted”—dash"), "“quoted”—dash");
    assert_eq!(normalise_answer("The A an"), "");
}

#[test]
fn the_two_squads_disagree_about_nothing() {
    assert_eq!(rate("f1", "a", &["the"]), Some(0.0));
    assert_eq!(rate("f1_v2", "a", &["the"]), Some(1.0));
    assert_eq!(rate("exact_match", "", &[]), None);
    assert_eq!(rate("exact_match_v2", "", &[]), Some(1.0));
    assert_eq!(rate("f1_v2", "something", &[]), Some(0.0));
}

#[test]
fn a_repeated_word_counts_as_often_as_it_stands_on_both_sides() {
    let f1 = rate("f1", "very very good", &["very good"]).unwrap();
    assert!((f1 - 0.8).abs() < 1e-12);
}

#[test]
fn a_gold_answer_that_normalises_to_nothing_is_contained_only_in_nothing() {
    for gold in ["The", "A", "%"] {
        assert_eq!(rate("contains", "Oslo", &[gold]), Some(0.0), "{gold}");
        assert_eq!(rate("contains", "Oslo", &[gold, "oslo"]), Some(1.0));
        assert_eq!(rate("contains", gold, &[gold]), Some(1.0));
    }
}

#[test]
fn an_error_is_never_scored_even_if_it_reads_like_the_answer() {
    let failure = Failure::new(FailureClass::Oom, "x");
    let mut marker = answered(3, &Prediction::error_marker(&failure), &["x"]);
    marker.error = None;
    let mut aborted = answered(4, &Prediction::aborted_marker(5), &["x"]);
    aborted.aborted = true;
    let predictions = [
        answered(0, "x", &["x"]),
        answered(1, "y", &["x"]),
        failed(2, "x"),
        marker,
        aborted,
    ];
    let evaluation = evaluate(&strings(&["exact_match", "contains"]), &predictions);
    assert_eq!(evaluation.aggregate["exact_match"], 0.5);
    assert_eq!(evaluation.aggregate["contains"], 0.5);
    assert_eq!(evaluation.aggregate["n_scored"], 2);
    assert_eq!(evaluation.aggregate["n_failed"], 3);
    assert_eq!(evaluation.aggregate["coverage"], 0.4);
    assert!(evaluation.per_item[2].1.is_empty());
    assert_eq!(evaluation.per_item[0].1["exact_match"], 1.0);
    assert_eq!(evaluation.per_item.len(), 5);
}

#[test]
fn an_experiment_without_a_single_answer_has_null_means_and_no_interval() {
    let evaluation = evaluate(&strings(&["f1"]), &[failed(0, "x")]);
    assert_eq!(evaluation.aggregate["f1"], Value::Null);
    assert!(!evaluation.aggregate.contains_key("f1_ci95"));
    assert_eq!(evaluation.aggregate["coverage"], 0.0);
    let empty = evaluate(&strings(&["f1"]), &[]);
    assert_eq!(empty.aggregate["coverage"], Value::Null);
}

#[test]
fn questions_without_gold_are_counted_apart_and_do_not_lower_the_mean() {
    let predictions = [answered(0, "x", &["x"]), answered(1, "x", &[])];
    let evaluation = evaluate(&strings(&["exact_match"]), &predictions);
    assert_eq!(evaluation.aggregate["exact_match"], 1.0);
    assert_eq!(evaluation.aggregate["n_without_gold"], 1);
    assert_eq!(evaluation.aggregate["coverage"], 1.0);
}

#[test]
fn an_interval_holds_the_mean_and_is_the_same_every_time() {
    let predictions: Vec<Prediction> = (0..100)
        .map(|idx| answered(idx, if idx < 30 { "x" } else { "y" }, &["x"]))
        .collect();
    let names = strings(&["exact_match"]);
    let first = evaluate(&names, &predictions);
    assert_eq!(first, evaluate(&names, &predictions));
    let bounds: [f64; 2] =
        serde_json::from_value(first.aggregate["exact_match_ci95"].clone()).unwrap();
    // The normal approximation is 0.3 +- 1.96 * sqrt(0.3 * 0.7 / 100).
    assert!((bounds[0] - 0.21).abs() < 0.02, "{bounds:?}");
    assert!((bounds[1] - 0.39).abs() < 0.02, "{bounds:?}");
}

#[test]
fn metrics_nobody_computes_are_named_with_the_reason() {
    let names = strings(&["f1", "bleurt", "recall@k", "nonsense", "f1"]);
    let evaluation = evaluate(&names, &[answered(0, "x", &["x"])]);
    assert_eq!(evaluation.computed, ["f1"]);
    let uncomputed: Vec<&str> = evaluation
        .uncomputed
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(uncomputed, ["bleurt", "recall@k", "nonsense"]);
    assert!(evaluation.uncomputed[0].1.contains("model"));
}

#[test]
fn every_available_name_is_computed_and_every_other_is_not() {
    let retrieved = ["p1"];
    let item = Scored {
        prediction: "x",
        expected: &strings(&["x"]),
        retrieved: Some(&retrieved),
        supporting: &strings(&["p1"]),
        passages: Some(&["x"]),
    };
    for metric in known() {
        let name = metric.name.replace("@k", "@3");
        assert_eq!(find(&name), Some(metric), "{name}");
        let scored = score(&name, &item);
        match metric.availability {
            // What a model says is given, not computed.
            Availability::Available if is_given(&name) => assert_eq!(scored, None, "{name}"),
            Availability::Available => assert_eq!(scored, Some(1.0), "{name}"),
            Availability::Unavailable { .. } => assert_eq!(scored, None, "{name}"),
        }
    }
    assert_eq!(find("recall@0"), None);
    assert_eq!(find("recall@"), None);
    assert_eq!(find("recall@+3"), None);
    assert_eq!(find("exact_match@3"), None);
    assert_eq!(find("exactmatch"), None);
}

#[test]
fn passages_are_rated_by_rank_and_chunks_count_for_their_document() {
    let retrieved = ["p9", "p1#2", "p1#0", "p3", "p2"];
    let supporting = strings(&["p1", "p2", "p2"]);
    let rate = |name| {
        score(
            name,
            &Scored {
                retrieved: Some(&retrieved),
                supporting: &supporting,
                ..Scored::default()
            },
        )
        .unwrap()
    };
    assert_eq!(rate("recall@1"), 0.0);
    assert_eq!(rate("recall@3"), 0.5);
    assert_eq!(rate("recall@5"), 1.0);
    assert_eq!(rate("recall@100"), 1.0);
    assert_eq!(rate("hit@1"), 0.0);
    assert_eq!(rate("hit@2"), 1.0);
    assert_eq!(rate("mrr"), 0.5);
    assert_eq!(rate("mrr@1"), 0.0);
    let ideal = 1.0 + 1.0 / 3f64.log2();
    let gain = 1.0 / 3f64.log2() + 1.0 / 6f64.log2();
    assert!((rate("ndcg@5") - gain / ideal).abs() < 1e-12);
    // `p1` is not a prefix rule: p10 and p1#x are other documents.
    let others = ["p10", "p1#x", "p1#"];
    assert_eq!(
        score(
            "recall@5",
            &Scored {
                retrieved: Some(&others),
                supporting: &supporting,
                ..Scored::default()
            }
        ),
        Some(0.0)
    );
}

#[test]
fn a_passage_gains_once_and_nothing_gains_a_zero_without_a_sign() {
    let supporting = strings(&["a", "a#1"]);
    let rate = |retrieved: &[&str]| {
        score(
            "ndcg@5",
            &Scored {
                retrieved: Some(retrieved),
                supporting: &supporting,
                ..Scored::default()
            },
        )
        .unwrap()
    };
    let of_two = 1.0 / (1.0 + 1.0 / 3f64.log2());
    assert!((rate(&["a#1"]) - of_two).abs() < 1e-12);
    assert!((rate(&["b", "a#1", "a#2"]) - of_two / 3f64.log2()).abs() < 1e-12);
    for nothing in [&[][..], &["b"][..]] {
        assert_eq!(serde_json::json!(rate(nothing)).to_string(), "0.0");
    }
}

#[test]
fn retrieval_is_rated_only_where_something_was_searched() {
    let names = strings(&["mrr", "answer_in_context", "context_recall"]);
    let supporting = strings(&["p1"]);
    let direct = answered(0, "x", &["x"]);
    let evaluation = evaluate_with(&names, std::slice::from_ref(&direct), &|_| Evidence {
        supporting: &supporting,
        ..Evidence::default()
    });
    assert_eq!(evaluation.aggregate["mrr"], Value::Null);
    assert_eq!(evaluation.aggregate["mrr_n"], 0);

    let mut rag = answered(0, "x", &["New York City"]);
    rag.retrieved = vec![Retrieved {
        id: "p1".into(),
        score: 1.0,
    }];
    let evaluation = evaluate_with(&names, std::slice::from_ref(&rag), &|_| Evidence {
        supporting: &supporting,
        passages: Some(vec!["He left new York.", "Nothing"]),
        ..Evidence::default()
    });
    assert_eq!(evaluation.aggregate["mrr"], 1.0);
    assert_eq!(evaluation.aggregate["answer_in_context"], 0.0);
    assert_eq!(evaluation.aggregate["context_recall"], 2.0 / 3.0);
}

#[test]
fn a_verdict_that_was_not_given_is_in_no_mean() {
    let names = strings(&["exact_match", "llm_judge"]);
    let predictions: Vec<Prediction> = (0..4).map(|idx| answered(idx, "x", &["x"])).collect();
    let given: Vec<GivenScores> = [
        Ok(Some(1.0)),
        Ok(Some(0.0)),
        Ok(Some(1.0)),
        Err("no".to_owned()),
    ]
    .into_iter()
    .map(|score| GivenScores::from([("llm_judge".to_owned(), score)]))
    .collect();
    let evaluation = evaluate_with(&names, &predictions, &|prediction| Evidence {
        given: given.get(prediction.idx),
        ..Evidence::default()
    });
    assert_eq!(evaluation.aggregate["llm_judge"], 2.0 / 3.0);
    assert_eq!(evaluation.aggregate["llm_judge_n"], 3);
    assert_eq!(evaluation.aggregate["llm_judge_failed"], 1);
    assert_eq!(evaluation.computed, ["exact_match"]);
    assert_eq!(
        evaluation.uncomputed,
        [(
            "llm_judge".to_owned(),
            "1 of 4 answers have no score: no".to_owned()
        )]
    );
    assert!(!evaluation.per_item[3].1.contains_key("llm_judge"));
    let nobody = evaluate(&names, &predictions);
    assert_eq!(nobody.aggregate["llm_judge"], Value::Null);
    assert!(nobody.uncomputed[0].1.contains("no judge was asked"));
}

#[test]
fn a_gold_answer_stands_in_the_context_only_as_whole_words() {
    let rate = |gold: &str, passage: &str| {
        score(
            "answer_in_context",
            &Scored {
                expected: &strings(&[gold]),
                passages: Some(&[passage]),
                ..Scored::default()
            },
        )
    };
    assert_eq!(rate("no", "Nothing is known."), Some(0.0));
    assert_eq!(rate("no", "The answer is: no!"), Some(1.0));
    assert_eq!(rate("the", "the"), Some(0.0));
}

proptest::proptest! {
    #[test]
    fn scores_lie_between_zero_and_one_and_an_answer_matches_itself(
        prediction in ".{0,40}", other in ".{0,40}", word in "[b-z0-9]{2,12}",
    ) {
        for name in ["exact_match", "f1", "exact_match_v2", "f1_v2", "contains", "rouge_l"] {
            let mixed = rate(name, &prediction, &[&other, &prediction]).unwrap();
            proptest::prop_assert!((0.0..=1.0).contains(&mixed));
            proptest::prop_assert_eq!(rate(name, &word, &[&other, &word]), Some(1.0));
        }
        let once = normalise_answer(&prediction);
        proptest::prop_assert!(!once.contains("  "));
    }
}
