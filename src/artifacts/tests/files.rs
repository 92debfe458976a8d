use super::*;
use crate::artifacts::atomic;
use crate::domain::{Event, Phase};
use rustix::io::Errno;
use std::{io, os::unix::fs::PermissionsExt};

fn directory() -> (tempfile::TempDir, ExperimentDir) {
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path().join("direct_x_default_nq_8bit"));
    directory.create().unwrap();
    (root, directory)
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_write_that_fails_leaves_the_old_content_and_no_rest() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.json");
    atomic::write(&path, "test", Durability::Durable, b"old").unwrap();
    let error = atomic::write_with(&path, "test", Durability::Durable, |out| {
        out.write_all(b"half of the n")?;
        Err(Errno::NOSPC.into())
    })
    .unwrap_err();
    assert_eq!(error.class(), FailureClass::Environment);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn files_can_be_read_by_colleagues() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.json");
    atomic::write(&path, "test", Durability::Derivable, b"{}").unwrap();
    let plain = root.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(path), mode(plain));
}

#[test]
fn of_two_creations_the_second_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("lease");
    assert!(atomic::create_new(&path, "test", Durability::Durable, b"first").unwrap());
    assert!(!atomic::create_new(&path, "test", Durability::Durable, b"second").unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn where_there_are_no_hard_links_the_second_creation_changes_nothing_either() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("lease");
    assert!(atomic::create_exclusive(&path, b"first").unwrap());
    assert!(!atomic::create_exclusive(&path, b"second").unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    // Not to be made is something else than to be there already.
    let gone = root.path().join("gone/lease");
    let error = atomic::create_exclusive(&gone, b"first").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    for errno in [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK] {
        assert!(atomic::has_no_links(&errno.into()), "{errno}");
    }
    for errno in [Errno::NOSPC, Errno::NOENT, Errno::EXIST, Errno::IO] {
        assert!(!atomic::has_no_links(&errno.into()), "{errno}");
    }
}

#[test]
fn a_directory_that_is_gone_can_not_be_made_durable() {
    let root = tempfile::tempdir().unwrap();
    atomic::sync_directory(root.path()).unwrap();
    let error = atomic::sync_directory(&root.path().join("gone")).unwrap_err();
    assert!(error.to_string().starts_with("syncing "), "{error}");
}

#[test]
fn a_file_system_that_counts_no_inodes_does_not_lack_them() {
    let error = ArtifactError::Io {
        action: "writing",
        path: Path::new("/proc/state.json").to_owned(),
        source: Errno::NOSPC.into(),
    };
    assert_eq!(
        error.advice().unwrap(),
        "Free space on the file system of /proc (0 MB are left), then resume."
    );
}

#[test]
fn errors_of_the_environment_say_what_to_free_and_others_do_not_stop_the_study() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("gone/experiment/state.json");
    let error = |errno: Errno| ArtifactError::Io {
        action: "writing",
        path: path.clone(),
        source: io::Error::from(errno),
    };
    let environment = [
        (Errno::NOSPC, "Free space"),
        (Errno::DQUOT, "quota"),
        (Errno::ROFS, "read-only"),
        (Errno::IO, "dmesg"),
        (Errno::NOENT, "is gone"),
        (Errno::ACCESS, "permissions"),
    ];
    for (errno, word) in environment {
        let failure = Failure::from(error(errno));
        assert_eq!(failure.class, FailureClass::Environment, "{errno}");
        assert!(failure.message.contains("gone/experiment/state.json"));
        let advice = failure.detail.unwrap();
        assert!(advice.contains(word), "{advice}");
        // The place that exists, not the one that is gone.
        let shown = root.path().display().to_string();
        assert!(
            advice.contains(&shown) && !advice.contains("gone/exp"),
            "{advice}"
        );
    }
    for errno in [Errno::NAMETOOLONG, Errno::ISDIR, Errno::NOTDIR] {
        assert_eq!(error(errno).class(), FailureClass::Permanent, "{errno}");
    }
}

#[test]
fn a_real_missing_directory_is_the_environment_s_fault() {
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path().join("never/made"));
    let error = directory
        .write_state(&State::new(1, Vec::new()))
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Environment);
}

#[test]
fn state_has_the_keys_of_the_contract_and_none_says_failed() {
    let (_root, directory) = directory();
    let mut state = State::new(100, vec!["exact_match".to_owned()]);
    state.phase = Phase::Failed;
    state.error = Some("Error invalid configuration argument at line 380".to_owned());
    state.predictions_complete = 32;
    state.unanswered = 68;
    state.failure_class = Some(FailureClass::Transient);
    state.extra.insert("failed_items".to_owned(), json!(68));
    state.extra.insert("note".to_owned(), json!("kept"));
    directory.write_state(&state).unwrap();
    let text = fs::read_to_string(directory.path.join("state.json")).unwrap();
    assert!(text.contains("\"phase\": \"failed\""));
    let value: Value = serde_json::from_str(&text).unwrap();
    for key in [
        "phase",
        "error",
        "predictions_complete",
        "total_questions",
        "started_at",
        "updated_at",
        "metrics_requested",
        "metrics_computed",
        "interrupted",
        "attempt",
        "schema_version",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    let bad: Vec<String> = keys(&value)
        .into_iter()
        .filter(|key| key.contains("failed"))
        .collect();
    assert_eq!(bad, Vec::<String>::new());
    let back = directory.state().unwrap().unwrap();
    state.extra.shift_remove("failed_items");
    assert!(back.updated_at >= state.updated_at);
    state.updated_at.clone_from(&back.updated_at);
    assert_eq!(back, state);
}

#[test]
fn times_are_rfc_3339_in_utc_and_old_ones_are_read() {
    let text = now();
    assert!(
        text.ends_with('Z') && text.len() == "2025-12-10T03:58:22.114Z".len(),
        "{text}"
    );
    assert!(parse_time(&text).is_some());
    let same = parse_time("2025-12-10T03:58:22Z").unwrap();
    assert_eq!(parse_time("2025-12-10T03:58:22"), Some(same));
    assert_eq!(parse_time("2025-12-10 03:58:22.000000"), Some(same));
    assert_eq!(parse_time("2025-12-10T04:58:22+01:00"), Some(same));
    assert_eq!(parse_time("yesterday"), None);
}

#[test]
fn predictions_have_every_key_of_the_contract_and_one_record_per_idx() {
    let (_root, directory) = directory();
    let mut asked = questions(4);
    asked.push(question(1));
    let mut answered = answer(0);
    answered.prompt = None;
    answered.retrieved.clear();
    let best = by_idx([answered, answer(1), failure(3, "Error x"), answer(9)]);
    let aggregate = Map::from_iter([("n_scored".to_owned(), json!(2))]);
    directory
        .write_predictions(&asked, &best, &aggregate, Durability::Durable)
        .unwrap();
    let value = read_json(&directory.path.join("predictions.json"));
    assert_eq!(value["experiment"], "direct_x_default_nq_8bit");
    assert_eq!(value["aggregate_metrics"], json!({"n_scored": 2}));
    let records = value["predictions"].as_array().unwrap();
    let idx: Vec<u64> = records.iter().map(|r| r["idx"].as_u64().unwrap()).collect();
    assert_eq!(idx, [0, 1, 3]);
    for record in records {
        for key in [
            "idx",
            "question",
            "prediction",
            "expected",
            "prompt",
            "error",
            "retrieved",
            "batch_size",
            "attempt",
            "tokens_in",
            "tokens_out",
            "latency_ms",
            "metrics",
        ] {
            assert!(record.get(key).is_some(), "{key}");
        }
    }
    assert_eq!(records[0]["prompt"], Value::Null);
    assert_eq!(records[0]["error"], Value::Null);
    assert_eq!(records[0]["retrieved"], json!([]));
    assert_eq!(
        records[1]["retrieved"],
        json!([{"id": "passage-1", "score": 0.25}])
    );
    assert_eq!(records[2]["prediction"], "[ERROR: Error x]");
    assert_eq!(records[2]["error"], "Error x");
    let read = directory.predictions().unwrap().unwrap();
    assert_eq!(read.predictions[1], answer(1));
    assert_eq!(read.predictions[2], failure(3, "Error x"));
}

#[test]
fn the_scores_of_a_metric_are_told_by_question() {
    let (_root, directory) = directory();
    assert_eq!(directory.scores("f1").unwrap(), []);
    let scored = |idx: usize, metric: &str, score: f64| {
        let mut record = answer(idx);
        record.metrics.insert(metric.to_owned(), json!(score));
        record
    };
    let best = by_idx([
        scored(2, "f1", 0.5),
        scored(0, "f1", 1.0),
        scored(1, "bleu", 0.7),
    ]);
    directory
        .write_predictions(&questions(3), &best, &Map::new(), Durability::Derivable)
        .unwrap();
    let scores = directory.scores("f1").unwrap();
    let told: Vec<(usize, &str, f64)> = scores.iter().map(|(i, q, s)| (*i, &**q, *s)).collect();
    assert_eq!(told, [(0, "What is 0?", 1.0), (2, "What is 2?", 0.5)]);
    // Older files have no order and other keys, and may score an error.
    fs::write(
        directory.path.join("predictions.json"),
        r#"[{"idx": 1, "query": "q1", "prediction": "one", "metrics": {"f1": 0.25}},
            {"idx": 0, "query": "q0", "prediction": "zero", "metrics": {"f1": 0.5}},
            {"idx": 2, "query": "q2", "prediction": "[ERROR: x]", "metrics": {"f1": 0.0}},
            {"idx": 1, "query": "q1", "prediction": "again", "metrics": {"f1": 1.0}}]"#,
    )
    .unwrap();
    let scores = directory.scores("f1").unwrap();
    let told: Vec<(usize, &str, f64)> = scores.iter().map(|(i, q, s)| (*i, &**q, *s)).collect();
    assert_eq!(told, [(0, "q0", 0.5), (1, "q1", 0.25)]);
}

#[test]
fn equal_answers_give_equal_bytes_whatever_order_scores_came_in() {
    let render = |metrics: Vec<(&str, f64)>, aggregate: Vec<(&str, f64)>| {
        let (_root, directory) = directory();
        let map = |pairs: Vec<(&str, f64)>| -> Map<String, Value> {
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), json!(value)))
                .collect()
        };
        let mut record = answer(0);
        record.metrics = map(metrics);
        directory
            .write_predictions(
                &questions(1),
                &by_idx([record]),
                &map(aggregate),
                Durability::Derivable,
            )
            .unwrap();
        fs::read(directory.path.join("predictions.json")).unwrap()
    };
    assert_eq!(
        render(vec![("f1", 0.1), ("em", 0.0)], vec![("a", 1.0), ("b", 2.0)]),
        render(vec![("em", 0.0), ("f1", 0.1)], vec![("b", 2.0), ("a", 1.0)])
    );
}

#[test]
fn questions_results_and_metadata_come_back_as_they_went() {
    let (_root, directory) = directory();
    let asked = QuestionsFile::new("e", "nq", questions(3));
    directory.write_questions(&asked).unwrap();
    assert_eq!(directory.questions().unwrap().unwrap(), asked);
    let value = read_json(&directory.path.join("questions.json"));
    assert_eq!(
        keys(&value),
        ["experiment", "dataset", "count", "questions"]
    );
    assert_eq!(
        value["questions"][1],
        json!({"idx": 1, "question": "What is 1?", "expected": ["number 1", "1"]})
    );

    let metrics = Map::from_iter([("exact_match".to_owned(), json!(0.5))]);
    let results = Results::new("e", &directory.path, metrics, 3, 1.25, Map::new());
    directory.write_results(&results).unwrap();
    assert_eq!(directory.results().unwrap().unwrap(), results);
    assert_eq!(
        keys(&read_json(&directory.path.join("results.json"))),
        [
            "name",
            "metrics",
            "num_examples",
            "duration_seconds",
            "output_path",
            "predictions_path",
            "metadata",
            "timestamp"
        ]
    );

    let metadata = Metadata::new(&spec("e"));
    directory
        .write_metadata(&metadata, Durability::Ordered)
        .unwrap();
    assert_eq!(directory.metadata().unwrap().unwrap(), metadata);
    let identity = directory.identity().unwrap().unwrap();
    assert_eq!(identity.hash, spec("another name").hash());
    assert_eq!(
        serde_json::from_value::<ExperimentSpec>(identity.spec).unwrap(),
        spec("e")
    );
}

#[test]
fn the_error_log_has_the_text_of_the_contract() {
    let failure = Failure::new(
        FailureClass::Transient,
        "\nError invalid configuration argument at line 380\nin file ops.cu",
    )
    .with_detail("worker's last lines:\n  launching\n");
    let mut spec = spec("rag_x");
    spec.kind = ExperimentKind::Rag;
    spec.top_k = Some(5);
    let log = ErrorLog::new(&spec, &failure)
        .batch_size(32)
        .advice("Update\nthe driver.");
    let (_root, directory) = directory();
    directory.write_error_log(&log).unwrap();
    assert_eq!(
        fs::read_to_string(directory.path.join("error.log")).unwrap(),
        "Error: Error invalid configuration argument at line 380

Experiment: rag_x
Model: hf:Qwen/Qwen2.5-7B-Instruct
Quantization: 8bit
Dataset: nq
Type: rag
Top-K: 5
Batch size: 32
Failure class: transient
Advice: Update the driver.

Traceback:

Error invalid configuration argument at line 380
in file ops.cu

worker's last lines:
  launching
"
    );
    assert_eq!(
        directory.error_log().unwrap().unwrap(),
        StoredErrorLog {
            headline: Some("Error invalid configuration argument at line 380".to_owned()),
            class: Some(FailureClass::Transient),
            advice: Some("Update the driver.".to_owned()),
        }
    );
}

#[test]
fn the_error_of_an_earlier_attempt_is_kept_beside() {
    let (_root, directory) = directory();
    let log = |message: &str| ErrorLog::new(&spec("e"), &Failure::new(FailureClass::Oom, message));
    directory.write_error_log(&log("first")).unwrap();
    directory.write_error_log(&log("first")).unwrap();
    directory.write_error_log(&log("second")).unwrap();
    directory.retire_error_log().unwrap();
    directory.retire_error_log().unwrap();
    assert!(!directory.path.join("error.log").exists());
    let earlier = directory.path.join("earlier_errors");
    assert_eq!(fs::read_dir(&earlier).unwrap().count(), 2);
    let second = fs::read_to_string(earlier.join("002.log")).unwrap();
    assert!(second.starts_with("Error: second\n"));
}

#[test]
fn log_lines_have_one_form_for_every_line_of_a_message() {
    let text = log_line(
        "ragicamp::worker [child]",
        "info",
        "Generating",
        "one\n\n  two\n",
    );
    let lines: Vec<&str> = text.lines().collect();
    let rest: Vec<&str> = lines
        .iter()
        .map(|line| {
            assert!(
                line.starts_with("[20") && line[20..].starts_with("] "),
                "{line}"
            );
            &line[22..]
        })
        .collect();
    assert_eq!(
        rest,
        [
            "[workerchild] [INFO] [Generating] one",
            "[workerchild] [INFO] [Generating] ",
            "[workerchild] [INFO] [Generating]   two",
        ]
    );
    assert!(log_line("", "", "", "").ends_with("] [-] [-] [-] \n"));
}

#[test]
fn events_have_a_time_and_a_torn_line_does_not_swallow_the_next() {
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path().join("study")).unwrap();
    let event = Event::PhaseChanged {
        experiment: "e".to_owned(),
        phase: Phase::Generating,
    };
    study.events().unwrap().append(&event).unwrap();
    let path = study.path().join("events.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"{\"ts\":\"2025");
    fs::write(&path, bytes).unwrap();
    study.events().unwrap().append(&event).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    for line in [lines[0], lines[2]] {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(keys(&value)[..2], ["ts", "event"]);
        assert_eq!(value["event"], "phase_changed");
        assert!(parse_time(value["ts"].as_str().unwrap()).is_some());
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }
}

fn row(name: &str, fields: &[(&str, &str)], metrics: Value) -> TableRow {
    TableRow {
        experiment: name.to_owned(),
        status: Phase::Complete,
        fields: fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        metrics: metrics.as_object().unwrap().clone(),
        duration: None,
        error: None,
    }
}

#[test]
fn the_csv_quotes_what_needs_it_and_has_all_columns() {
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path()).unwrap();
    let mut tables = Tables::new("s");
    tables.add(row(
        "a",
        &[("model", "x, \"y\"")],
        json!({"f1": 0.5, "by_type": {}, "model": "z"}),
    ));
    tables.add(row("b", &[("top_k", "3")], json!({"exact_match": null})));
    study.write_tables(&tables).unwrap();
    assert_eq!(
        fs::read_to_string(root.path().join("results.csv")).unwrap(),
        "experiment,status,model,top_k,exact_match,f1,model\n\
         a,complete,\"x, \"\"y\"\"\",,,0.5,z\n\
         b,complete,,3,,,\n"
    );
}

#[test]
fn the_summary_has_one_entry_per_experiment() {
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path()).unwrap();
    let mut tables = Tables::new("the \"s\"");
    study.write_tables(&tables).unwrap();
    let summary = read_json(&root.path().join("study_summary.json"));
    assert_eq!(summary["experiments"], json!([]));
    tables.add(TableRow {
        status: Phase::Failed,
        duration: Some(1.5),
        error: Some("Error x\n  y".to_owned()),
        ..row("a", &[], json!({}))
    });
    tables.add(row("b", &[("top_k", "3")], json!({"f1": 0.5})));
    study.write_tables(&tables).unwrap();
    let text = fs::read_to_string(root.path().join("study_summary.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["study"], "the \"s\"");
    assert_eq!(
        value["experiments"],
        json!([
            {"name": "a", "status": "failed", "metrics": {}, "duration": 1.5, "error": "Error x\n  y"},
            {"name": "b", "status": "complete", "metrics": {"f1": 0.5}, "duration": null, "error": null},
        ])
    );
    assert!(parse_time(value["timestamp"].as_str().unwrap()).is_some());
    assert_eq!(
        text,
        format!("{}\n", serde_json::to_string_pretty(&value).unwrap()),
        "as every artifact is written"
    );
}

#[test]
fn of_two_texts_the_place_where_they_differ_is_shown() {
    let shown = |common: usize| {
        let text = |end: &str| json!({ "text": format!("{}{end}", "x".repeat(common)) });
        differences(&text("old"), &text("new"))
    };
    let start = "x".repeat(29);
    assert_eq!(shown(0), ["text: \"old\" -> \"new\""]);
    assert_eq!(
        shown(29),
        [format!("text: \"{start}old\" -> \"{start}new\"")]
    );
    let start = format!("...{}", "x".repeat(10));
    assert_eq!(
        shown(30),
        [format!("text: \"{start}old\" -> \"{start}new\"")]
    );
}

#[test]
fn a_changed_spec_is_shown_value_by_value() {
    let old = serde_json::to_value(spec("a")).unwrap();
    let mut changed = spec("b");
    changed.generation.temperature = 0.7;
    changed.generation.stop = vec!["\n".to_owned()];
    changed.model.revision = Some("main".to_owned());
    let long = "The same beginning of a long prompt, over and over. ".repeat(3);
    changed.prompt.direct = format!("{long}new");
    let mut old_long = old.clone();
    old_long["prompt"]["direct"] = json!(format!("{long}old"));
    let new = serde_json::to_value(changed).unwrap();
    assert_eq!(
        differences(&old_long, &new),
        [
            "generation.stop: [] -> [\"\\n\"]",
            "generation.temperature: 0 -> 0.7",
            "model.revision: (not set) -> \"main\"",
            "prompt.direct: \"...and over. old\" -> \"...and over. new\"",
        ]
    );
    assert_eq!(differences(&old, &old), Vec::<String>::new());
    assert_eq!(
        differences(&json!({"x": 0}), &json!({"x": 0.0})),
        ["x: 0 -> 0.0"]
    );
}
