#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::{ExperimentKind, Phase};
use serde_json::json;

fn row(name: &str, model: &str, top_k: Option<usize>, score: f64) -> ExperimentRow {
    ExperimentRow {
        name: name.into(),
        kind: if top_k.is_some() {
            ExperimentKind::Rag
        } else {
            ExperimentKind::Direct
        },
        model: model.into(),
        quantization: None,
        prompt: "default".into(),
        retriever: top_k.map(|_| "bm25".into()),
        top_k,
        dataset: "nq".into(),
        phase: Phase::Complete,
        answered: 100,
        total: 100,
        metrics: json!({"f1": score, "f1_ci95": [score - 0.1, score + 0.1], "coverage": 1.0})
            .as_object()
            .unwrap()
            .clone(),
    }
}

fn rows() -> Vec<ExperimentRow> {
    let mut failed = row("failed", "m2", Some(3), 0.99);
    failed.phase = Phase::Failed;
    failed.answered = 3;
    vec![
        row("direct_m1", "m1", None, 0.2),
        row("rag_m1_k1", "m1", Some(1), 0.5),
        row("rag_m1_k10", "m1", Some(10), 0.7),
        row("rag_m2_k1", "m2", Some(1), 0.4),
        failed,
    ]
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_summary_has_a_row_per_experiment_with_intervals() {
    let table = summary(&rows(), &names(&["f1", "bleurt"]));
    assert_eq!(table.rows.len(), 5);
    assert!(
        table
            .rows
            .iter()
            .all(|row| row.len() == table.headers.len())
    );
    let csv = table.to_csv();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next().unwrap(),
        "experiment,type,model,quantization,prompt,retriever,top_k,dataset,phase,answered,total,\
         f1,f1_low,f1_high,bleurt,coverage"
    );
    assert_eq!(
        lines.next().unwrap(),
        "direct_m1,direct,m1,,default,,,nq,complete,100,100,0.2,0.1,0.30000000000000004,,1.0"
    );
    assert_eq!(table.to_json()[1]["f1"], 0.5);
    assert_eq!(table.to_json()[0]["bleurt"], json!(null));
}

#[test]
fn csv_cells_survive_a_csv_reader() {
    let wild = "a,\"b\"\nc";
    let table = Table {
        headers: names(&["x", "y"]),
        rows: vec![vec![Cell::Text(wild.into()), Cell::Count(3)]],
    };
    let csv = table.to_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!(&record[0], wild);
    assert_eq!(&record[1], "3");
}

#[test]
fn markdown_is_aligned_and_pipes_are_escaped() {
    let table = Table {
        headers: names(&["name", "n"]),
        rows: vec![
            vec![Cell::Text("a|b".into()), Cell::Count(7)],
            vec![Cell::Empty, Cell::Number(0.5)],
        ],
    };
    assert_eq!(
        table.to_markdown(),
        "| name |      n |\n| ---- | -----: |\n| a\\|b |      7 |\n| -    | 0.5000 |\n"
    );
    assert_eq!(Table::default().to_csv(), "\n");
}

#[test]
fn columns_that_say_the_same_everywhere_are_said_once() {
    let (constants, rest) = summary(&rows(), &names(&["f1"])).without_constant_columns();
    let constants: Vec<&str> = constants
        .iter()
        .map(|(header, _)| header.as_str())
        .collect();
    assert_eq!(constants, ["prompt", "dataset"]);
    assert!(!rest.headers.contains(&"quantization".to_owned()));
    assert!(rest.headers.contains(&"model".to_owned()));
    assert!(rest.headers.contains(&"total".to_owned()));
    assert!(rest.rows.iter().all(|row| row.len() == rest.headers.len()));
}

#[test]
fn groups_are_means_over_complete_experiments_best_first() {
    let table = group_by(&rows(), Axis::Model, "f1");
    let json = table.to_json();
    assert_eq!(json[0]["model"], "m1");
    assert_eq!(json[0]["experiments"], 3);
    assert!((json[0]["mean f1"].as_f64().unwrap() - 1.4 / 3.0).abs() < 1e-12);
    assert_eq!(json[0]["best experiment"], "rag_m1_k10");
    // The failed experiment's 0.99 over three questions is not m2's best.
    assert_eq!(json[1]["best f1"], 0.4);
    assert_eq!(best(&rows(), "f1")[0].0.name, "rag_m1_k10");
    assert!(group_by(&rows(), Axis::Model, "nonsense").rows.is_empty());
}

#[test]
fn a_pivot_orders_numbers_as_numbers_and_leaves_holes_open() {
    let table = pivot(&rows(), Axis::TopK, Axis::Model, "f1");
    assert_eq!(table.headers, ["top_k \\ model", "m1", "m2"]);
    let first: Vec<String> = table.rows.iter().map(|row| row[0].to_string()).collect();
    assert_eq!(first, ["-", "1", "10"]);
    assert_eq!(table.rows[2][2], Cell::Empty);
    assert_eq!(table.rows[1][2], Cell::Number(0.4));
}

#[test]
fn every_axis_is_found_by_its_word() {
    for axis in Axis::ALL {
        assert_eq!(axis.as_str().parse(), Ok(axis));
    }
    let error = "topk".parse::<Axis>().unwrap_err().to_string();
    assert!(error.contains("'topk'") && error.contains("top_k"));
}

fn right_and_wrong(only_first: usize, only_second: usize, both: usize) -> Vec<(f64, f64)> {
    let mut pairs = vec![(1.0, 0.0); only_first];
    pairs.extend(vec![(0.0, 1.0); only_second]);
    pairs.extend(vec![(1.0, 1.0); both]);
    pairs
}

#[test]
fn mcnemar_equals_the_exact_binomial_test() {
    // References: 2 * sum of C(n, i) / 2^n in rational arithmetic.
    for (first, second, reference) in [
        (10, 2, 0.038_574_218_75),
        (0, 5, 0.062_5),
        (30, 45, 0.105_342_268_874_604_88),
        (700, 800, 0.010_559_255_466_711_544),
        (0, 0, 1.0),
        (4, 4, 1.0),
    ] {
        let test = mcnemar_exact(&right_and_wrong(first, second, 50));
        assert_eq!((test.only_first, test.only_second), (first, second));
        assert!((test.p_value - reference).abs() < 1e-9, "{test:?}");
    }
}

#[test]
fn holm_is_the_step_down_procedure() {
    // The worked example of statsmodels' multipletests(method="holm").
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (ours, reference) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!((ours - reference).abs() < 1e-12, "{adjusted:?}");
    }
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}

#[test]
fn only_questions_that_both_have_are_paired() {
    let first = [(3, 1.0), (1, 0.0), (9, 1.0)];
    let second = [(1, 1.0), (2, 1.0), (3, 0.5)];
    assert_eq!(paired_scores(&first, &second), [(1.0, 0.5), (0.0, 1.0)]);
}

#[test]
fn a_constant_advantage_is_certain_and_none_at_all_is_not() {
    let better: Vec<(f64, f64)> = (0..50).map(|i| (0.5 + f64::from(i) / 1e3, 0.4)).collect();
    let certain = paired_difference(&better, 2_000, 1).unwrap();
    assert_eq!(certain.n, 50);
    assert!(certain.low > 0.0 && certain.p_value < 0.001, "{certain:?}");
    assert!(certain.low <= certain.mean && certain.mean <= certain.high);
    assert_eq!(certain, paired_difference(&better, 2_000, 1).unwrap());

    let equal = paired_difference(&[(0.3, 0.3); 20], 500, 1).unwrap();
    assert_eq!(
        (equal.mean, equal.low, equal.high, equal.p_value),
        (0.0, 0.0, 0.0, 1.0)
    );
    assert_eq!(paired_difference(&[], 500, 1), None);
}

#[test]
fn the_permutation_test_agrees_with_mcnemar_on_right_and_wrong() {
    let pairs = right_and_wrong(30, 45, 100);
    let exact = mcnemar_exact(&pairs).p_value;
    let sampled = paired_difference(&pairs, 20_000, 7).unwrap().p_value;
    assert!((sampled - exact).abs() < 0.01, "{sampled} {exact}");
}
