use super::*;
use crate::artifacts::lease::lease_path;
use crate::domain::Phase;
use std::{process::Command, time::Instant};

struct Fixture {
    _root: tempfile::TempDir,
    study: StudyDir,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let study = StudyDir::create(root.path().join("outputs/study")).unwrap();
        study.write_study("name: study\n").unwrap();
        Self { _root: root, study }
    }

    /// An experiment of `total` questions, the first `answered` answered, the
    /// next `failed` failed, as a run leaves it in `phase`.
    fn experiment(
        &self,
        name: &str,
        phase: Phase,
        total: usize,
        answered: usize,
        failed: usize,
    ) -> ExperimentDir {
        let directory = self.study.experiment(name);
        let lease = claim(&directory);
        let asked = questions(total);
        directory
            .write_questions(&QuestionsFile::new(name, "nq", asked.clone()))
            .unwrap();
        directory
            .write_metadata(&Metadata::new(&spec(name)), Durability::Ordered)
            .unwrap();
        let mut journal = directory.open_journal(&lease).unwrap();
        let records: Vec<Prediction> = (0..answered)
            .map(answer)
            .chain((answered..answered + failed).map(|idx| failure(idx, "Error x")))
            .collect();
        journal.append(&records).unwrap();
        directory
            .write_predictions(&asked, &by_idx(records), &Map::new(), Durability::Derivable)
            .unwrap();
        let mut state = State::new(total, vec!["f1".to_owned()]);
        state.phase = phase;
        state.attempt = 1;
        state.predictions_complete = answered;
        state.unanswered = failed;
        if phase == Phase::Failed {
            state.error = Some("Error x\nand more".to_owned());
            state.failure_class = Some(FailureClass::Transient);
        }
        if phase == Phase::Complete {
            state.metrics_computed = vec!["f1".to_owned()];
            let results =
                Results::new(name, &directory.path, Map::new(), answered, 1.0, Map::new());
            directory.write_results(&results).unwrap();
        }
        directory.write_state(&state).unwrap();
        lease.release().unwrap();
        directory
    }
}

fn change_state(directory: &ExperimentDir, change: impl FnOnce(&mut State)) {
    let mut state = directory.state().unwrap().unwrap();
    change(&mut state);
    directory.write_state(&state).unwrap();
}

/// Makes the last owner one whose process is gone.
fn kill_owner(directory: &ExperimentDir) {
    let lease = claim(directory);
    let path = lease_path(&directory.path, lease.fence());
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut record = read_json(&path);
    record["pid"] = json!(child.id());
    fs::write(path, record.to_string()).unwrap();
    std::mem::forget(lease);
}

fn kinds(directory: &ExperimentDir, deep: bool) -> Vec<&'static str> {
    let health = examine(directory, deep).unwrap();
    health.lies.iter().map(Lie::kind).collect()
}

#[test]
fn what_is_true_is_no_lie_and_resume_has_its_word_for_each_phase() {
    let fixture = Fixture::new();
    fixture.experiment("a", Phase::Complete, 4, 4, 0);
    fixture.experiment("b", Phase::Failed, 100, 32, 68);
    fixture.experiment("c", Phase::Failed, 4, 0, 0);
    fixture.experiment("d", Phase::ComputingMetrics, 4, 4, 0);
    let stopped = fixture.experiment("e", Phase::Generating, 4, 1, 0);
    change_state(&stopped, |state| state.interrupted = true);
    fixture.experiment("f", Phase::Init, 4, 0, 0);
    for deep in [false, true] {
        let study = scan(fixture.study.path(), deep).unwrap();
        let seen: Vec<(&str, String, usize, usize, usize)> = study
            .experiments
            .iter()
            .map(|health| {
                assert_eq!(health.lies, [], "{} {deep}", health.name);
                (
                    &*health.name,
                    health.what_resume_does.to_string(),
                    health.answered,
                    health.total,
                    health.failed_questions,
                )
            })
            .collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|(a, b, c, d, e)| (*a, &**b, *c, *d, *e))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "nothing", 4, 4, 0),
                ("b", "retries 68 questions", 32, 100, 68),
                ("c", "retries 4 questions", 0, 4, 0),
                ("d", "computes f1", 4, 4, 0),
                ("e", "answers 3 more questions", 1, 4, 0),
                ("f", "starts it", 0, 4, 0),
            ]
        );
        assert!(study.is_failed());
        assert_eq!(study.count(Phase::Failed), 2);
        let failed = &study.experiments[1];
        assert_eq!(failed.error.as_deref(), Some("Error x"));
        assert_eq!(failed.failure_class, Some(FailureClass::Transient));
        assert!(failed.idle_seconds.unwrap() < 60);
    }
}

#[test]
fn progress_is_told_by_the_journal_while_the_state_lags_behind() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Generating, 10, 6, 1);
    change_state(&directory, |state| state.predictions_complete = 2);
    let lease = claim(&directory);
    let health = examine(&directory, false).unwrap();
    assert_eq!((health.answered, health.failed_questions), (6, 1));
    assert_eq!(health.what_resume_does, NextStep::LeaveAlone);
    assert!(
        health
            .owner
            .unwrap()
            .contains(&std::process::id().to_string())
    );
    assert_eq!(health.lies, []);
    drop(lease);
}

#[test]
fn complete_without_its_files_is_a_lie() {
    let fixture = Fixture::new();
    for file in ["predictions.json", "results.json"] {
        let directory = fixture.experiment(file, Phase::Complete, 3, 3, 0);
        fs::remove_file(directory.path.join(file)).unwrap();
        let health = examine(&directory, false).unwrap();
        assert_eq!(
            health.lies,
            [Lie::CompleteWithout {
                file: file.to_owned()
            }]
        );
        assert!(health.is_failed());
        assert_eq!(health.what_resume_does, NextStep::Rewrite);
    }
}

#[test]
fn complete_with_an_open_question_or_no_metric_is_a_lie() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 3, 2, 1);
    let health = examine(&directory, false).unwrap();
    assert_eq!(
        health.lies,
        [Lie::CompleteUnanswered {
            answered: 2,
            total: 3
        }]
    );
    assert_eq!(health.what_resume_does, NextStep::Retry { outstanding: 1 });
    let directory = fixture.experiment("b", Phase::Complete, 3, 3, 0);
    change_state(&directory, |state| state.metrics_computed.clear());
    let health = examine(&directory, false).unwrap();
    assert_eq!(health.lies, [Lie::CompleteUnscored]);
    assert_eq!(health.what_resume_does.to_string(), "computes f1");
}

#[test]
fn complete_without_a_single_question_is_a_lie_and_starts_again() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 0, 0, 0);
    let health = examine(&directory, false).unwrap();
    assert_eq!(
        health.lies,
        [Lie::CompleteUnanswered {
            answered: 0,
            total: 0
        }]
    );
    assert_eq!(health.what_resume_does, NextStep::Start);
}

#[test]
fn a_count_that_does_not_match_is_found_by_reading_everything() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 3, 3, 0);
    change_state(&directory, |state| {
        state.predictions_complete = 4;
        state.total_questions = 4;
    });
    assert_eq!(kinds(&directory, false), Vec::<&str>::new());
    assert_eq!(kinds(&directory, true), ["counts_differ", "counts_differ"]);
    let health = examine(&directory, true).unwrap();
    assert_eq!(
        health.lies[1].to_string(),
        "state.json says 4 answers, the journal holds 3"
    );
    // More than the journal holds is claimed: a lie in every phase.
    let directory = fixture.experiment("b", Phase::ComputingMetrics, 3, 3, 0);
    change_state(&directory, |state| state.predictions_complete = 4);
    assert_eq!(kinds(&directory, false), ["counts_differ"]);
}

#[test]
fn torn_and_corrupt_files_are_found_without_reading_them_whole() {
    let fixture = Fixture::new();
    let damage = |name: &str, file: &str, change: fn(&mut Vec<u8>)| {
        let directory = fixture.experiment(name, Phase::Complete, 3, 3, 0);
        let path = directory.path.join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        examine(&directory, false).unwrap()
    };
    let torn = damage("a", "predictions.json", |bytes| {
        bytes.truncate(bytes.len() / 2)
    });
    assert_eq!(
        torn.lies[0].to_string(),
        "predictions.json can not be read: it is torn"
    );
    let empty = damage("b", "results.json", Vec::clear);
    assert_eq!(
        empty.lies[0].to_string(),
        "results.json can not be read: it is empty"
    );
    let zeroed = damage("c", "predictions.json", |bytes| bytes.fill(0));
    assert_eq!(
        zeroed.lies[0].to_string(),
        "predictions.json can not be read: it is no JSON"
    );
    let state = damage("d", "state.json", |bytes| bytes.truncate(20));
    assert_eq!(state.phase, None);
    assert_eq!(state.lies[0].kind(), "unreadable");
    // The journal tells what is answered all the same.
    assert_eq!((state.answered, state.total), (3, 3));
    assert_eq!(state.what_resume_does, NextStep::Rewrite);
}

#[test]
fn everything_that_is_read_deeply_is_compared() {
    let fixture = Fixture::new();
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let directory = fixture.experiment(name, Phase::Complete, 3, 3, 0);
        let path = directory.path.join("predictions.json");
        let mut value = read_json(&path);
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        assert_eq!(kinds(&directory, false), Vec::<&str>::new(), "{name}");
        kinds(&directory, true)
    };
    let duplicate = with("a", &|value| {
        let first = value["predictions"][0].clone();
        value["predictions"].as_array_mut().unwrap().push(first);
    });
    assert_eq!(duplicate, ["duplicates"]);
    let scored = with("b", &|value| {
        value["predictions"][1]["error"] = json!("Error x");
        value["predictions"][1]["metrics"] = json!({"f1": 0.0});
    });
    assert_eq!(scored, ["error_scored", "counts_differ"]);
    let missing = with("c", &|value| {
        value["predictions"].as_array_mut().unwrap().pop();
    });
    assert_eq!(missing, ["counts_differ"]);

    let directory = fixture.experiment("d", Phase::Complete, 3, 3, 0);
    let path = directory.path.join("metadata.json");
    let mut metadata = read_json(&path);
    metadata["spec"]["generation"]["seed"] = json!(7);
    fs::write(&path, metadata.to_string()).unwrap();
    assert_eq!(kinds(&directory, true), ["wrong_hash"]);
}

#[test]
fn a_damaged_line_of_the_journal_is_said_and_its_question_is_open() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 3, 3, 0);
    let path = directory.path.join("journal/000001.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let health = examine(&directory, true).unwrap();
    assert!(
        health.lies[0]
            .to_string()
            .contains("000001.jsonl line 1: its checksum does not fit"),
        "{}",
        health.lies[0]
    );
    assert_eq!(health.answered, 2);
    assert_eq!(health.what_resume_does, NextStep::Answer { outstanding: 1 });
}

#[test]
fn what_can_not_be_listed_is_told_and_what_is_not_there_is_nothing() {
    let fixture = Fixture::new();
    assert_eq!(examine(&fixture.study.experiment("absent"), false), None);
    let file = fixture.study.experiment("file");
    fs::write(&file.path, "no directory").unwrap();
    let health = examine(&file, false).unwrap();
    assert!(
        health.lies[0]
            .to_string()
            .starts_with("the directory can not be read: "),
        "{}",
        health.lies[0]
    );
}

#[test]
fn results_that_can_not_be_read_are_told_once() {
    let fixture = Fixture::new();
    for (name, damage, quickly) in [("a", "{\"metrics\": ", 1), ("b", "{\"metrics\" }", 0)] {
        let directory = fixture.experiment(name, Phase::Complete, 2, 2, 0);
        fs::write(directory.path.join("results.json"), damage).unwrap();
        assert_eq!(kinds(&directory, false), vec!["unreadable"; quickly]);
        assert_eq!(kinds(&directory, true), ["unreadable"]);
    }
}

#[test]
fn work_that_nobody_does_any_more_is_told_and_is_no_failure() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Generating, 3, 1, 0);
    kill_owner(&directory);
    let health = examine(&directory, false).unwrap();
    assert_eq!(health.lies.len(), 1);
    let lie = health.lies[0].to_string();
    assert!(
        lie.starts_with("it says work is going on, and process "),
        "{lie}"
    );
    assert_eq!(health.owner, None);
    assert!(!health.is_failed());
    assert_eq!(
        health.what_resume_does.to_string(),
        "answers 2 more questions"
    );
}

#[test]
fn cells_of_the_grid_without_a_directory_are_told() {
    let fixture = Fixture::new();
    fixture.experiment("a", Phase::Complete, 1, 1, 0);
    fixture
        .study
        .write_manifest(&json!({"experiments": ["a", "b", {"name": "c"}]}))
        .unwrap();
    let study = scan(fixture.study.path(), false).unwrap();
    assert_eq!(study.not_started, ["b", "c"]);
    assert!(!study.is_failed());
}

#[test]
fn studies_are_found_below_a_directory_and_not_what_was_set_aside() {
    let fixture = Fixture::new();
    let outputs = fixture.study.path().parent().unwrap();
    let directory = fixture.experiment("a", Phase::Complete, 1, 1, 0);
    directory.set_aside(fixture.study.path()).unwrap();
    let nested = StudyDir::create(outputs.join("group/other")).unwrap();
    nested
        .experiment("x")
        .create()
        .and_then(|()| {
            nested
                .experiment("x")
                .write_state(&State::new(1, Vec::new()))
        })
        .unwrap();
    assert_eq!(
        studies(outputs).unwrap(),
        [nested.path().to_owned(), fixture.study.path().to_owned()]
    );
    assert_eq!(studies(nested.path()).unwrap(), [nested.path().to_owned()]);
    // Three levels down is as deep as it is looked.
    let deep = StudyDir::create(outputs.join("a/b/c")).unwrap();
    deep.write_study("name: c\n").unwrap();
    let deeper = StudyDir::create(outputs.join("a/b/x/d")).unwrap();
    deeper.write_study("name: d\n").unwrap();
    assert_eq!(
        studies(&outputs.join("a/b")).unwrap(),
        [deep.path().to_owned(), deeper.path().to_owned()]
    );
    assert_eq!(
        studies(outputs).unwrap(),
        [deep.path(), nested.path(), fixture.study.path()]
    );
    assert!(studies(&outputs.join("absent")).is_err());
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture ten_thousand"]
fn ten_thousand_directories_are_looked_at_in_two_seconds() {
    let fixture = Fixture::new();
    let model = fixture.experiment("cell-00000", Phase::Complete, 10, 10, 0);
    for number in 1..10_000 {
        let target = fixture.study.path().join(format!("cell-{number:05}"));
        for part in ["", "journal", "lease"] {
            fs::create_dir_all(target.join(part)).unwrap();
            for entry in fs::read_dir(model.path.join(part)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), target.join(part).join(entry.file_name())).unwrap();
                }
            }
        }
    }
    for deep in [false, true] {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            let study = scan(fixture.study.path(), deep).unwrap();
            best = best.min(start.elapsed().as_secs_f64());
            assert_eq!(study.count(Phase::Complete), 10_000);
            assert!(
                study
                    .experiments
                    .iter()
                    .all(|health| health.lies.is_empty())
            );
        }
        eprintln!("10,000 directories, deep {deep}: {best:.3} s");
        assert!(deep || best < 2.0, "{best} s");
    }
}

#[test]
fn a_deep_look_compares_a_sealed_directory_with_its_checksums() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 2, 2, 0);
    directory.seal().unwrap();
    let lies = |deep| -> Vec<String> {
        let health = examine(&directory, deep).unwrap();
        health.lies.iter().map(ToString::to_string).collect()
    };
    assert_eq!(lies(true), Vec::<String>::new());
    let path = directory.path.join("predictions.json");
    let changed = fs::read_to_string(&path)
        .unwrap()
        .replace("It is 1", "It is 7");
    fs::write(&path, changed).unwrap();
    fs::remove_file(directory.path.join("questions.json")).unwrap();
    assert_eq!(lies(false), Vec::<String>::new());
    assert_eq!(
        lies(true),
        [
            "predictions.json was changed: its checksum does not fit",
            "questions.json is missing",
        ]
    );
}

#[test]
fn checksums_that_were_changed_themselves_are_told() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 2, 2, 0);
    directory.seal().unwrap();
    let path = directory.path.join("checksums.json");
    let sealed = fs::read_to_string(&path).unwrap();
    let value = read_json(&path);
    let digest = value["files"]["state.json"]["sha256"].as_str().unwrap();
    let swapped: String = digest.chars().rev().collect();
    for changed in [sealed.replace(digest, &swapped), format!("{sealed} ")] {
        fs::write(&path, changed).unwrap();
        let tampered = vec![Tampered {
            file: "checksums.json".to_owned(),
            why: "was changed: its own checksum does not fit".to_owned(),
        }];
        assert_eq!(
            directory.check_seal().unwrap(),
            Sealed::Yes { files: 0, tampered }
        );
    }
    fs::write(&path, &sealed).unwrap();
    assert!(matches!(
        directory.check_seal().unwrap(),
        Sealed::Yes { files: 6.., tampered } if tampered.is_empty()
    ));
    directory.unseal().unwrap();
    assert_eq!(directory.check_seal().unwrap(), Sealed::Not);
}

#[test]
fn a_study_s_own_files_are_sealed_without_its_experiments_and_its_report() {
    let fixture = Fixture::new();
    let directory = fixture.experiment("a", Phase::Complete, 1, 1, 0);
    let study = &fixture.study;
    fs::write(study.path().join("report.html"), "old").unwrap();
    fs::write(study.path().join("events.jsonl"), "{}\n").unwrap();
    study.seal().unwrap();
    fs::write(study.path().join("report.html"), "new").unwrap();
    fs::write(study.path().join("events.jsonl"), "{}\n{}\n").unwrap();
    fs::write(study.path().join("notes.json"), "{}").unwrap();
    change_state(&directory, |state| state.attempt = 9);
    let untouched = Sealed::Yes {
        files: 2,
        tampered: Vec::new(),
    };
    assert_eq!(study.check_seal().unwrap(), untouched);
    fs::write(study.path().join("study.yaml"), "name: other\n").unwrap();
    let Sealed::Yes { tampered, .. } = study.check_seal().unwrap() else {
        panic!("no checksums");
    };
    assert_eq!(
        tampered[0].to_string(),
        "study.yaml was changed: its checksum does not fit"
    );
}

#[test]
fn directories_beside_experiments_are_none() {
    let fixture = Fixture::new();
    fixture.experiment("a", Phase::Complete, 1, 1, 0);
    fs::create_dir(fixture.study.path().join("plots")).unwrap();
    let nested = StudyDir::create(fixture.study.path().join("nested")).unwrap();
    nested.write_study("name: nested\n").unwrap();
    fs::write(nested.path().join("error.log"), "of the whole study").unwrap();
    let study = scan(fixture.study.path(), false).unwrap();
    let names: Vec<&str> = study.experiments.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn what_a_newer_version_wrote_is_said_and_not_read() {
    let fixture = Fixture::new();
    for file in ["state.json", "metadata.json"] {
        let directory = fixture.experiment(&format!("of_{file}"), Phase::Complete, 2, 2, 0);
        let path = directory.path.join(file);
        let mut content = read_json(&path);
        content["schema_version"] = json!(SCHEMA_VERSION + 1);
        fs::write(&path, content.to_string()).unwrap();
        let health = examine(&directory, false).unwrap();
        let said = format!("{file} has schema_version 2, which this version");
        assert!(
            health
                .lies
                .iter()
                .any(|lie| lie.to_string().contains(&said)),
            "{:?}",
            health.lies
        );
        assert_eq!(health.what_resume_does, NextStep::Refuse);
        let error = match file {
            "state.json" => directory.state().map(drop),
            _ => directory.identity().map(drop),
        };
        let error = error.unwrap_err().to_string();
        assert!(error.contains("knows those up to 1"), "{error}");
    }
}
