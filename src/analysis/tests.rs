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

/// The same, each with scores of the questions 0 to 3.
fn measured() -> Vec<Measured> {
    rows()
        .into_iter()
        .map(|row| {
            let mean = row.metric("f1").unwrap();
            let scores = [-0.1, 0.1, 0.05, -0.05];
            Measured {
                row,
                scores: scored(scores.map(|around| mean + around)),
            }
        })
        .collect()
}

fn scored(scores: impl IntoIterator<Item = f64>) -> Vec<ItemScore> {
    let item = |(idx, score)| ItemScore {
        idx,
        question: idx as u64,
        score,
    };
    scores.into_iter().enumerate().map(item).collect()
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
    let table = group_by(&measured(), Axis::Model, "f1");
    let json = table.to_json();
    assert_eq!(json[0]["model"], "m1");
    assert_eq!(json[0]["experiments"], 3);
    assert!((json[0]["mean f1"].as_f64().unwrap() - 1.4 / 3.0).abs() < 1e-12);
    assert_eq!(json[0]["best experiment"], "rag_m1_k10");
    // The failed experiment's 0.99 over three questions is not m2's best.
    assert_eq!(json[1]["best f1"], 0.4);
    assert_eq!(best(&measured(), "f1")[0].row.name, "rag_m1_k10");
    assert!(
        group_by(&measured(), Axis::Model, "nonsense")
            .rows
            .is_empty()
    );
}

#[test]
fn a_pivot_orders_numbers_as_numbers_and_leaves_holes_open() {
    let table = pivot(&measured(), Axis::TopK, Axis::Model, "f1");
    assert_eq!(table.headers, ["top_k \\ model", "m1", "m2"]);
    let first: Vec<String> = table.rows.iter().map(|row| row[0].to_string()).collect();
    assert_eq!(first, ["-", "1", "10"]);
    assert_eq!(table.rows[2][2], Cell::Empty);
    assert_eq!(table.rows[1][2].value(), Some(0.4));
}

#[test]
fn every_axis_is_found_by_its_word() {
    for axis in Axis::ALL {
        assert_eq!(axis.as_str().parse(), Ok(axis));
    }
    let error = "topk".parse::<Axis>().unwrap_err().to_string();
    assert!(error.contains("'topk'") && error.contains("top_k"));
}

#[test]
fn the_interval_of_a_group_resamples_questions_and_not_experiments() {
    let table = group_by(&measured(), Axis::Model, "f1");
    let Cell::Estimate { mean, low, high } = table.rows[0][2] else {
        panic!("{:?}", table.rows[0]);
    };
    // The three experiments go up and down together: four questions, not
    // twelve answers, and the distances between the experiments are no part of
    // it.
    assert!((mean - 1.4 / 3.0).abs() < 1e-12);
    assert!(low < mean && mean < high, "{low} {mean} {high}");
    assert!((mean - low - 0.075).abs() < 0.03, "{low} {mean}");
    // A group of one has the interval of its experiment.
    let one = table.rows[1][2].clone();
    assert_eq!(
        one,
        Cell::Estimate {
            mean: 0.4,
            low: 0.4 - 0.1,
            high: 0.4 + 0.1
        }
    );
    // Without scores by question there is a mean and no interval.
    let mut unread = measured();
    unread[0].scores.clear();
    let table = group_by(&unread, Axis::Model, "f1");
    assert!(matches!(table.rows[0][2], Cell::Number(_)));
}

#[test]
fn only_questions_that_both_have_are_paired() {
    let first = [(3, 1.0), (1, 0.0), (9, 1.0)];
    let second = [(1, 1.0), (2, 1.0), (3, 0.5)];
    let items = |scores: &[(usize, f64)]| -> Vec<ItemScore> {
        scores
            .iter()
            .map(|&(idx, score)| ItemScore {
                idx,
                question: 7,
                score,
            })
            .collect()
    };
    let pairs = paired_scores(&items(&first), &items(&second));
    assert_eq!(pairs, [(1.0, 0.5), (0.0, 1.0)]);
    // Equal numbers of different questions are no pairs.
    let mut others = items(&second);
    others.iter_mut().for_each(|item| item.question = 8);
    assert_eq!(paired_scores(&items(&first), &others), []);
}

#[test]
fn against_a_baseline_who_is_better_is_told_from_chance() {
    let right = |is_right: fn(usize) -> bool| {
        scored((0..200).map(move |i| f64::from(u8::from(is_right(i)))))
    };
    let one = |name: &str, scores| Measured {
        row: row(name, "m", None, 0.5),
        scores,
    };
    let baseline = one("baseline", right(|i| i % 2 == 0));
    let better = one("better", right(|i| i % 2 == 0 || i % 5 == 1));
    let worse = one("worse", right(|i| i % 2 == 0 && i % 5 != 0));
    let same = one(
        "same",
        right(|i| if i < 4 { i % 2 == 1 } else { i % 2 == 0 }),
    );
    let elsewhere = one("elsewhere", Vec::new());
    let others = [&same, &worse, &better, &elsewhere];
    let found = against(&baseline, &others, "exact_match", 2_000);
    assert_eq!(found.unpaired, ["elsewhere"]);
    let json = found.table.to_json();
    let verdicts: Vec<(&str, &str)> = (0..3)
        .map(|i| {
            let text = |key: &str| json[i][key].as_str().unwrap();
            (text("experiment"), text("verdict"))
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("better", "better"),
            ("same", "no difference shown"),
            ("worse", "worse")
        ]
    );
    assert_eq!(json[0]["questions"], 200);
    assert_eq!(json[0]["only_here"], 20);
    assert_eq!(json[0]["only_baseline"], 0);
    assert!((json[0]["difference"].as_f64().unwrap() - 0.1).abs() < 1e-12);
    // Scores between 0 and 1 are no right and wrong.
    let half = one("half", scored([0.5; 200]));
    let found = against(&half, &[&better], "f1", 500);
    assert!(!found.table.headers.contains(&"p_mcnemar".to_owned()));
}
