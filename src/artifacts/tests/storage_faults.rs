//! Full disks and the like at every write; with the feature `failpoints`.

use super::*;
use crate::domain::{Event, Phase};
use fail::FailScenario;

const KINDS: [&str; 6] = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOENT", "EACCES"];

/// Fail points are the whole process's: the body of a test runs in a child
/// that runs nothing else. True in that child.
fn in_a_process_of_its_own(test: &str) -> bool {
    const CHILD: &str = "RAGICAMP_TEST_STORAGE_FAULTS";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}{errors}");
    false
}

fn files(directory: &ExperimentDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(&directory.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lease")
        .collect();
    names.sort();
    names
}

#[test]
fn every_write_that_fails_is_the_environment_s_fault_and_leaves_nothing_half_done() {
    if !in_a_process_of_its_own(
        "every_write_that_fails_is_the_environment_s_fault_and_leaves_nothing_half_done",
    ) {
        return;
    }
    let scenario = FailScenario::setup();
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path()).unwrap();
    let directory = study.experiment("e");
    directory.create().unwrap();
    let log = ErrorLog::new(&spec("e"), &Failure::new(FailureClass::Oom, "x"));
    type Write<'a> = Box<dyn Fn() -> Result<()> + 'a>;
    let writes: Vec<(&str, Write<'_>)> = vec![
        (
            "state::write",
            Box::new(|| directory.write_state(&State::new(1, Vec::new()))),
        ),
        (
            "questions::write",
            Box::new(|| directory.write_questions(&QuestionsFile::new("e", "nq", questions(2)))),
        ),
        (
            "metadata::write",
            Box::new(|| directory.write_metadata(&Metadata::new(&spec("e")), Durability::Ordered)),
        ),
        (
            "predictions::write",
            Box::new(|| {
                let best = by_idx([answer(0)]);
                directory.write_predictions(&questions(2), &best, &Map::new(), Durability::Durable)
            }),
        ),
        (
            "results::write",
            Box::new(|| {
                let results = Results::new("e", &directory.path, Map::new(), 1, 1.0, Map::new());
                directory.write_results(&results)
            }),
        ),
        (
            "error_log::write",
            Box::new(|| directory.write_error_log(&log)),
        ),
        (
            "lease::write",
            Box::new(|| directory.claim(&LeaseOptions::default()).map(drop)),
        ),
        ("study::write", Box::new(|| study.write_study("name: s"))),
        (
            "manifest::write",
            Box::new(|| study.write_manifest(&json!({}))),
        ),
        (
            "csv::write",
            Box::new(|| study.write_tables(&Tables::new("s"))),
        ),
        (
            "summary::write",
            Box::new(|| study.write_tables(&Tables::new("s"))),
        ),
        (
            "events::append",
            Box::new(|| {
                study.events()?.append(&Event::StudyFinished {
                    study: "s".to_owned(),
                    complete: 0,
                    failed: 0,
                    left: 0,
                    seconds: 0.0,
                })
            }),
        ),
    ];
    for (point, write) in &writes {
        let stages: &[&str] = match *point {
            "lease::write" | "events::append" => &[""],
            _ => &["", "::rename"],
        };
        for stage in stages {
            let before = files(&directory);
            for kind in KINDS {
                let name = format!("{point}{stage}");
                fail::cfg(&*name, &format!("return({kind})")).unwrap();
                let error = write().unwrap_err();
                fail::remove(&*name);
                assert_eq!(error.class(), FailureClass::Environment, "{name} {kind}");
                assert!(error.advice().is_some(), "{name} {kind}");
            }
            assert_eq!(files(&directory), before, "{point}{stage}");
        }
        write().unwrap();
    }
    assert_eq!(directory.state().unwrap().unwrap().phase, Phase::Init);
    scenario.teardown();
}

#[test]
fn an_append_that_failed_can_be_made_again_and_nothing_is_there_twice() {
    if !in_a_process_of_its_own(
        "an_append_that_failed_can_be_made_again_and_nothing_is_there_twice",
    ) {
        return;
    }
    let scenario = FailScenario::setup();
    for point in ["journal::append", "journal::sync", "journal::torn"] {
        let root = tempfile::tempdir().unwrap();
        let directory = ExperimentDir::new(root.path());
        let lease = claim(&directory);
        let mut journal = directory.open_journal(&lease).unwrap();
        journal.append(&[answer(0)]).unwrap();
        fail::cfg(point, "return").unwrap();
        let error = journal.append(&[answer(1), answer(2)]).unwrap_err();
        assert_eq!(error.class(), FailureClass::Environment, "{point}");
        fail::remove(point);
        let records = directory.records().unwrap();
        assert_eq!(records.best, by_idx([answer(0)]), "{point}");
        assert_eq!(records.damaged, []);
        journal.append(&[answer(1), answer(2)]).unwrap();
        let records = directory.records().unwrap();
        assert_eq!(records.records, 3, "{point}");
        assert_eq!(records.best, by_idx([answer(0), answer(1), answer(2)]));
    }
    scenario.teardown();
}

#[test]
fn what_was_written_and_could_not_be_made_durable_is_cut_off_and_nothing_else() {
    if !in_a_process_of_its_own(
        "what_was_written_and_could_not_be_made_durable_is_cut_off_and_nothing_else",
    ) {
        return;
    }
    let scenario = FailScenario::setup();
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path());
    let lease = claim(&directory);
    let mut journal = directory.open_journal(&lease).unwrap();
    journal.append(&[answer(0)]).unwrap();
    // Who reads it meanwhile, or after this process, finds what was written.
    journal.write(&[answer(1)]).unwrap();
    assert_eq!(directory.records().unwrap().records, 2);
    fail::cfg("journal::append", "return(ENOSPC)").unwrap();
    journal.write(&[answer(2)]).unwrap_err();
    fail::remove("journal::append");
    assert_eq!(directory.records().unwrap().records, 2);
    journal.write(&[answer(2)]).unwrap();
    fail::cfg("journal::sync", "return(EIO)").unwrap();
    journal.sync().unwrap_err();
    fail::remove("journal::sync");
    assert_eq!(directory.records().unwrap().best, by_idx([answer(0)]));
    journal.append(&[answer(1), answer(2)]).unwrap();
    let records = directory.records().unwrap();
    assert_eq!((records.records, records.damaged), (3, vec![]));
    scenario.teardown();
}

#[test]
fn a_segment_that_can_not_be_started_leaves_no_trace_of_it() {
    if !in_a_process_of_its_own("a_segment_that_can_not_be_started_leaves_no_trace_of_it") {
        return;
    }
    let scenario = FailScenario::setup();
    let root = tempfile::tempdir().unwrap();
    let directory = ExperimentDir::new(root.path());
    fs::write(
        root.path().join("predictions.json"),
        r#"[{"prediction": "zero"}]"#,
    )
    .unwrap();
    let lease = claim(&directory);
    fail::cfg("journal::create", "return(EDQUOT)").unwrap();
    let error = directory.open_journal(&lease).unwrap_err();
    assert_eq!(error.class(), FailureClass::Environment);
    fail::remove("journal::create");
    assert_eq!(directory.answered().unwrap().len(), 1);
    drop(directory.open_journal(&lease).unwrap());
    assert_eq!(directory.records().unwrap().segments, [1]);
    assert_eq!(directory.answered().unwrap().len(), 1);
    scenario.teardown();
}
