#![allow(clippy::unwrap_used)]

use super::{super::ItemScore, *};
use crate::analysis::ExperimentRow;
use serde_json::json;

const WILD: &str = "\"><script>alert('x')</script>\u{202e}&amp;\n\u{7}";

fn experiment(name: &str, about: serde_json::Value, phase: Phase, score: f64) -> Measured {
    let metrics = json!({"f1": score, "f1_ci95": [score - 0.05, score + 0.05], "n_scored": 10});
    Measured {
        row: ExperimentRow::described(
            name,
            about.as_object().unwrap(),
            phase,
            10,
            10,
            metrics.as_object().unwrap().clone(),
        ),
        scores: (0..10)
            .map(|idx| ItemScore {
                idx,
                question: 0,
                score: score + (idx as f64 - 4.5) / 100.0,
            })
            .collect(),
    }
}

fn study(name: &str) -> Vec<Measured> {
    let about = |kind, top_k| json!({"type": kind, "model": name, "prompt": "default", "dataset": "nq", "top_k": top_k});
    vec![
        experiment("direct", about("direct", None), Phase::Complete, 0.3),
        experiment("rag_1", about("rag", Some(1)), Phase::Complete, 0.5),
        experiment("rag_5", about("rag", Some(5)), Phase::Complete, 0.6),
        experiment(name, about("rag", Some(9)), Phase::Failed, 0.9),
    ]
}

fn page(name: &str, experiments: &[Measured], failures: &[FailureCause]) -> String {
    Report {
        study: name,
        made: "today",
        metric: "f1",
        metrics: &["f1".to_owned()],
        experiments,
        speeds: BTreeMap::from([("direct", 12.0), ("rag_1", 5.0), ("rag_5", 0.25)]),
        failures,
    }
    .html()
}

#[test]
fn a_page_has_every_section_and_a_failed_experiment_in_no_plot() {
    let failures = [FailureCause {
        message: "CUDA out of memory".into(),
        class: "oom".into(),
        meaning: "The device is full.".into(),
        advice: vec!["Use a smaller batch.".into()],
        experiments: vec!["failed".into()],
    }];
    let html = page("failed", &study("failed"), &failures);
    let titles: Vec<&str> = html
        .split("<h2>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!(
        titles,
        [
            "Scores by configuration",
            "With and without retrieval",
            "Quality against speed",
            "Failures by cause",
            "All experiments"
        ]
    );
    assert!(html.contains("4 experiments: 3 complete, 1 failed, 0 unfinished"));
    assert!(html.contains("0.600 [0.550, 0.650]"));
    assert!(html.contains("mean of 2 with retrieval"));
    let plots = html.split("Failures by cause").next().unwrap();
    assert!(!plots.contains("0.900"), "a failed experiment is plotted");
    assert_eq!(html.matches("<svg").count(), 4);
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn nothing_that_a_file_says_becomes_a_tag() {
    let failures = [FailureCause {
        message: WILD.into(),
        class: WILD.into(),
        meaning: WILD.into(),
        advice: vec![WILD.into()],
        experiments: vec![WILD.into()],
    }];
    let html = page(WILD, &study(WILD), &failures);
    assert!(!html.contains("<script"), "{html}");
    assert!(!html.contains("alert('x')"));
    assert!(!html.contains('\u{202e}') && !html.contains('\u{7}'));
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    // No place of a plot is a number that is none.
    assert!(!html.contains("NaN") && !html.contains("inf\""));
    // It asks for nothing from elsewhere.
    for reference in ["src=", "href=", "url(", "@import"] {
        assert!(!html.contains(reference), "{reference}");
    }
}

#[test]
fn a_study_without_a_score_still_makes_a_page() {
    let html = page("empty", &[], &[]);
    assert!(html.contains("No experiment is complete yet."));
    let equal: Vec<Measured> = study("x").into_iter().take(1).collect();
    let html = page("one", &equal, &[]);
    assert!(!html.contains("NaN"), "{html}");
    assert!(!html.contains("Quality against speed"));
}
