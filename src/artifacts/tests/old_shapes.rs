//! Directories that other versions made, written by hand.

use super::*;
use crate::domain::{Outcome, Phase};
use proptest::prelude::*;

fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, ExperimentDir) {
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path());
    for (name, text) in files {
        fs::write(root.path().join(name), text).unwrap();
    }
    (root, directory)
}

#[test]
fn a_state_without_a_version_is_read() {
    let (_root, directory) = with(&[(
        "state.json",
        r#"{"phase": "computing_metrics", "predictions_complete": 100.0, "total_questions": "100",
            "started_at": "2025-12-10T03:58:22.123456", "metrics_requested": ["f1", "exact_match"],
            "metrics_computed": null, "error": null, "worker": {"gpu": 0}}"#,
    )]);
    let state = directory.state().unwrap().unwrap();
    assert_eq!(state.phase, Phase::ComputingMetrics);
    assert_eq!(
        (state.predictions_complete, state.total_questions),
        (100, 100)
    );
    assert_eq!(state.schema_version, 0);
    assert_eq!(state.metrics_requested, ["f1", "exact_match"]);
    assert_eq!(state.error, None);
    assert!(!state.interrupted);
    assert_eq!(state.extra["worker"], json!({"gpu": 0}));
    assert!(parse_time(&state.started_at).is_some());
}

#[test]
fn a_state_that_names_no_phase_of_ours_says_which() {
    let (_root, directory) = with(&[("state.json", r#"{"phase": "pondering"}"#)]);
    let error = directory.state().unwrap_err().to_string();
    assert!(error.contains("its phase is \"pondering\""), "{error}");
    for (text, why) in [
        ("", "it is empty"),
        ("\0\0\0\0", "it holds only zero bytes"),
        ("{\"phase\": \"comp", "it ends too early"),
        ("phase: complete", "it is no JSON"),
        ("[]", "it holds a list where an object belongs"),
        ("{}", "it names no phase"),
    ] {
        let (_root, directory) = with(&[("state.json", text)]);
        let error = directory.state().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Each of these is the same two answers and two failures.
const SHAPES: [&str; 4] = [
    r#"{"experiment": "e", "predictions": [
        {"idx": 0, "query": "q0", "prediction": "zero", "expected": ["0"]},
        {"idx": 1, "query": "q1", "prediction": "[ERROR: out of memory]", "expected": ["1"]},
        {"idx": 2, "query": "q2", "prediction": "two", "expected": ["2"]},
        {"idx": 3, "query": "q3", "prediction": "[ABORTED: 5 consecutive failures]", "expected": ["3"]}
    ], "aggregate_metrics": {"f1": 0.5}}"#,
    // A bare list, positions for ids, one gold answer as a text.
    r#"[{"question": "q0", "prediction": "zero", "expected": "0"},
        {"question": "q1", "prediction": null, "error": "out of memory", "expected": "1"},
        {"question": "q2", "prediction": "two", "expected": "2", "error": ""},
        {"question": "q3", "expected": "3"}]"#,
    // By id, and with an error of another type.
    r#"{"predictions": {
        "3": {"question": "q3", "prediction": "", "error": {"type": "oom"}, "expected": ["3"]},
        "0": {"question": "q0", "prediction": "zero", "expected": ["0"]},
        "2": {"question": "q2", "prediction": "two", "expected": ["2"], "error": false},
        "1": {"question": "q1", "prediction": "", "error": true, "expected": ["1"]}}}"#,
    // Without a frame, with duplicates: an answer wins over a failure.
    r#"{"0": {"idx": 0, "query": "q0", "prediction": "zero", "expected": ["0"]},
        "1": {"idx": 1, "query": "q1", "prediction": "[ERROR: x]", "expected": ["1"]},
        "2": {"idx": 2, "query": "q2", "prediction": "[ERROR: x]", "expected": ["2"]},
        "3": {"idx": 2, "query": "q2", "prediction": "two", "expected": ["2"]},
        "4": {"idx": 2, "query": "q2", "prediction": "later", "expected": ["2"]}}"#,
];

#[test]
fn answers_without_error_markers_are_settled_in_every_shape() {
    for shape in SHAPES {
        let (_root, directory) = with(&[("predictions.json", shape)]);
        let answered = directory.answered().unwrap();
        let texts: Vec<(usize, &str, &str, &[String])> = answered
            .values()
            .map(|r| (r.idx, &*r.question, &*r.prediction, &*r.expected))
            .collect();
        assert_eq!(
            texts,
            [
                (0, "q0", "zero", &["0".to_owned()][..]),
                (2, "q2", "two", &["2".to_owned()][..])
            ],
            "{shape}"
        );
        let best = directory.predictions().unwrap().unwrap().best();
        let failed = |record: &&Prediction| record.outcome() != Outcome::Answered;
        assert!(best.values().filter(failed).count() >= 1, "{shape}");
    }
}

/// What other tools wrote: question, answer and gold answers of each record.
fn loaded(text: &str) -> Result<Vec<(String, String, Vec<String>)>> {
    let (_root, directory) = with(&[("other.json", text)]);
    let file = PredictionsFile::load(&directory.path.join("other.json"))?;
    let records = file.predictions.into_iter();
    Ok(records
        .map(|record| (record.question, record.prediction, record.expected))
        .collect())
}

#[test]
fn predictions_of_other_tools_are_read_with_their_names_for_gold_answers() {
    let records = [
        r#"{"question": "q0", "prediction": "zero", "expected": ["0", "null"]}"#,
        r#"{"question": "q1", "prediction": "one", "golden_answers": ["1"]}"#,
        r#"{"question": "q2", "prediction": "two", "answers": {"text": ["2"], "answer_start": [7]}}"#,
        r#"{"question": "q3", "prediction": "three", "answers": [{"text": "3"}, "iii"]}"#,
        r#"{"question": "q4", "prediction": "four", "expected": null, "answers": "4"}"#,
    ];
    let golds: [&[&str]; 5] = [&["0", "null"], &["1"], &["2"], &["3", "iii"], &["4"]];
    let list = records.join(",");
    for text in [
        records.join("\n\n"),
        format!("[{list}]"),
        format!("{{\"predictions\": [{list}]}}"),
        format!(
            "{{\"predictions\": {{\"0\": {}, \"1\": {}, \"2\": {}, \"3\": {}, \"4\": {}}}}}",
            records[0], records[1], records[2], records[3], records[4]
        ),
    ] {
        let found = loaded(&text).unwrap();
        assert_eq!(found.len(), 5, "{text}");
        for (number, (record, golds)) in found.iter().zip(golds).enumerate() {
            assert_eq!(record.0, format!("q{number}"), "{text}");
            assert_eq!(record.2, golds, "{text}");
        }
    }
    assert_eq!(loaded(records[1]).unwrap()[0].1, "one", "alone in its file");
}

#[test]
fn a_file_that_holds_no_predictions_says_what_it_holds() {
    for (text, why) in [
        ("", "it holds no records"),
        ("question,answer\n", "it is no JSON"),
        ("7", "it holds a number where predictions belong"),
        ("[]", "it holds no records"),
        ("[1, 2]", "it holds no records"),
        ("{}", "only an empty object"),
        ("{\"model\": 1, \"f1\": 2}", "only model, f1"),
        (
            "{\"prediction\": \"a\"}\n\n{\"prediction\": \"b\"\n",
            "line 3 is no JSON (EOF while parsing an object)",
        ),
    ] {
        let error = loaded(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let absent = PredictionsFile::load(Path::new("/nowhere/p.json")).unwrap_err();
    assert!(absent.to_string().contains("there is no such file"));
}

#[test]
fn questions_of_every_shape_are_read_once_per_id() {
    for shape in [
        r#"{"experiment": "e", "dataset": "nq", "count": 2, "questions": [
            {"idx": 0, "query": "q0", "expected": "a"}, {"idx": 1, "query": "q1", "expected": ["b"]},
            {"idx": 1, "query": "again", "expected": []}]}"#,
        r#"[{"question": "q0", "expected": ["a"]}, {"question": "q1", "expected": ["b"]}]"#,
        r#"{"questions": {"1": {"question": "q1", "expected": "b"}, "0": {"query": "q0", "expected": "a"}}}"#,
    ] {
        let (_root, directory) = with(&[("questions.json", shape)]);
        let file = directory.questions().unwrap().unwrap();
        let found: Vec<(usize, &str, &str)> = file
            .questions
            .iter()
            .map(|q| (q.idx, &*q.question, &*q.expected[0]))
            .collect();
        assert_eq!(found, [(0, "q0", "a"), (1, "q1", "b")], "{shape}");
        assert_eq!(file.count, 2);
    }
}

#[test]
fn an_old_directory_is_examined_without_a_single_false_alarm() {
    let predictions = r#"{"predictions": [
        {"idx": 0, "query": "q0", "prediction": "zero", "expected": ["0"], "metrics": {"f1": 1.0}},
        {"idx": 1, "query": "q1", "prediction": "one", "expected": ["1"], "metrics": {"f1": 1.0}}]}"#;
    let (_root, directory) = with(&[
        (
            "state.json",
            r#"{"phase": "complete", "predictions_complete": 2, "total_questions": 2,
                "updated_at": "2025-12-10T03:58:22", "metrics_requested": ["f1"], "metrics_computed": ["f1"]}"#,
        ),
        (
            "questions.json",
            r#"{"questions": [{"idx": 0, "query": "q0"}, {"idx": 1, "query": "q1"}]}"#,
        ),
        ("predictions.json", predictions),
        ("results.json", r#"{"name": "e", "metrics": {"f1": 1.0}}"#),
        ("metadata.json", r#"{"model": "hf:x", "started": 5}"#),
    ]);
    for deep in [false, true] {
        let health = examine(&directory, deep).unwrap();
        assert_eq!(health.lies, []);
        assert_eq!(health.what_resume_does, NextStep::Nothing);
        assert_eq!((health.answered, health.total), (2, 2));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9\\[:]{0,8}".prop_map(Value::from),
        Just(json!("[ERROR: x]")),
        Just(json!("complete")),
    ];
    let key = prop_oneof![
        Just("predictions".to_owned()),
        Just("questions".to_owned()),
        Just("idx".to_owned()),
        Just("prediction".to_owned()),
        Just("question".to_owned()),
        Just("query".to_owned()),
        Just("error".to_owned()),
        Just("expected".to_owned()),
        Just("retrieved".to_owned()),
        Just("metrics".to_owned()),
        Just("phase".to_owned()),
        Just("spec".to_owned()),
        Just("spec_hash".to_owned()),
        Just("experiments".to_owned()),
        "[0-9]{1,3}",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_content_of_any_file_makes_a_reader_panic(
        value in any_json(),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let text = value.to_string();
        let bytes = text.as_bytes();
        let kept = if whole { bytes } else { &bytes[..cut.index(bytes.len() + 1)] };
        let root = tempfile::tempdir().unwrap();
        let directory = ExperimentDir::new(root.path().join("e"));
        fs::create_dir_all(directory.path.join("lease")).unwrap();
        for name in [
            "state.json", "predictions.json", "questions.json", "metadata.json", "results.json",
            "error.log", "lease/000001.json",
        ] {
            fs::write(directory.path.join(name), kept).unwrap();
        }
        fs::write(root.path().join("manifest.json"), kept).unwrap();
        let answered = directory.answered().unwrap();
        for record in answered.values() {
            prop_assert!(record.is_answered());
        }
        let study = scan(root.path(), true).unwrap();
        prop_assert_eq!(study.experiments.len(), 1);
    }
}
