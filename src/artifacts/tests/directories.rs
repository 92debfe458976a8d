use super::*;

fn study() -> (tempfile::TempDir, StudyDir) {
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path().join("outputs/study")).unwrap();
    (root, study)
}

#[test]
fn outstanding_is_told_by_ids_and_never_by_a_count() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    let lease = claim(&directory);
    let mut journal = directory.open_journal(&lease).unwrap();
    journal
        .append(&[answer(0), failure(1, "Error x"), answer(7), answer(8)])
        .unwrap();
    // A failed answer is outstanding, and ids beyond the list do not count.
    let outstanding = directory.outstanding(&questions(5)).unwrap();
    let idx: Vec<usize> = outstanding.iter().map(|question| question.idx).collect();
    assert_eq!(idx, [1, 2, 3, 4]);
    let answered: Vec<usize> = directory.answered().unwrap().into_keys().collect();
    assert_eq!(answered, [0, 7, 8]);
}

fn reply(idx: usize, step: usize, text: &str) -> StepRecord {
    StepRecord {
        idx,
        step,
        kind: "query".to_owned(),
        prompt: "00".to_owned(),
        text: text.to_owned(),
        passages_cut: 0,
        tokens_in: 5,
        tokens_out: 2,
        latency_ms: 9,
        batch_size: 4,
        attempt: 1,
    }
}

#[test]
fn replies_on_the_way_outlive_their_owner_and_settle_nothing() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    let lease = claim(&directory);
    let mut steps = directory.open_steps(&lease).unwrap();
    steps.write(&[reply(0, 0, "a"), reply(1, 0, "b")]).unwrap();
    steps.write(&[reply(0, 1, "c")]).unwrap();
    let segment = directory.path.join("steps/000001.jsonl");
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend_from_slice(br#"{"idx":2,"step":0,"te"#);
    fs::write(&segment, bytes).unwrap();
    drop(steps);
    lease.release().unwrap();

    let lease = claim(&directory);
    let mut steps = directory.open_steps(&lease).unwrap();
    steps.write(&[reply(1, 0, "again")]).unwrap();
    let contents = directory.steps().unwrap();
    let texts: Vec<(usize, usize, &str)> = contents
        .replies
        .iter()
        .map(|((idx, step), record)| (*idx, *step, record.text.as_str()))
        .collect();
    assert_eq!(texts, [(0, 0, "a"), (0, 1, "c"), (1, 0, "again")]);
    assert_eq!(contents.damaged.len(), 1, "{:?}", contents.damaged);
    assert_eq!(directory.outstanding(&questions(3)).unwrap().len(), 3);
}

#[test]
fn a_new_directory_has_nothing_settled() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    assert!(!directory.exists());
    assert_eq!(directory.outstanding(&questions(3)).unwrap(), questions(3));
    assert_eq!(directory.state().unwrap(), None);
    assert_eq!(directory.identity().unwrap(), None);
    assert_eq!(directory.owner(&LeaseOptions::default()).unwrap(), None);
}

#[test]
fn an_old_file_s_answers_are_in_the_first_segment_from_its_start() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    directory.create().unwrap();
    let old = json!({"predictions": [
        {"idx": 0, "query": "What is 0?", "prediction": "zero", "expected": ["0"]},
        {"idx": 1, "query": "What is 1?", "prediction": "[ERROR: out of memory]", "expected": []},
        {"idx": 2, "query": "What is 2?", "prediction": "two"},
    ]});
    fs::write(directory.path.join("predictions.json"), old.to_string()).unwrap();
    let before = directory.answered().unwrap();
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), [0, 2]);

    let lease = claim(&directory);
    drop(directory.open_journal(&lease).unwrap());
    // The rendered file is no source any more once there is a segment.
    fs::remove_file(directory.path.join("predictions.json")).unwrap();
    assert_eq!(directory.answered().unwrap(), before);

    // The next owner does not take them over a second time.
    lease.release().unwrap();
    let lease = claim(&directory);
    let mut journal = directory.open_journal(&lease).unwrap();
    journal.append(&[answer(1)]).unwrap();
    let records = directory.records().unwrap();
    assert_eq!(records.records, 3);
    assert_eq!(records.best[&0].prediction, "zero");
    assert_eq!(records.best[&1], answer(1));
}

#[test]
fn a_file_that_can_not_be_read_is_renamed_and_not_written_over() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    directory.create().unwrap();
    let torn = "{\"predictions\": [{\"idx\": 0, \"prediction\": \"ze";
    fs::write(directory.path.join("predictions.json"), torn).unwrap();
    assert!(directory.answered().unwrap().is_empty());
    let lease = claim(&directory);
    drop(directory.open_journal(&lease).unwrap());
    assert_eq!(
        fs::read_to_string(directory.path.join("predictions.json.unreadable")).unwrap(),
        torn
    );
    assert!(!directory.path.join("predictions.json").exists());
}

#[test]
fn a_new_owner_removes_what_a_killed_one_left_unfinished() {
    let (_root, study) = study();
    let directory = study.experiment("e");
    fs::create_dir_all(directory.path.join("lease")).unwrap();
    for name in [
        ".state.json.Ab3dEf.partial",
        "lease/.000009.json.Ab3dEf.partial",
        ".hidden",
        "notes.partial",
    ] {
        fs::write(directory.path.join(name), "x").unwrap();
    }
    let lease = claim(&directory);
    drop(directory.open_journal(&lease).unwrap());
    let left = |name: &str| directory.path.join(name).exists();
    assert!(!left(".state.json.Ab3dEf.partial"));
    // Another claimant may be about to link it.
    assert!(left("lease/.000009.json.Ab3dEf.partial"));
    assert!(left(".hidden") && left("notes.partial"));
}

#[test]
fn an_experiment_is_moved_out_of_the_study_s_tree_and_nothing_is_lost() {
    let (root, study) = study();
    let directory = study.experiment("e");
    let mut targets = Vec::new();
    for attempt in 0..3 {
        let lease = claim(&directory);
        let mut journal = directory.open_journal(&lease).unwrap();
        journal.append(&[answer(attempt)]).unwrap();
        targets.push(directory.set_aside(study.path()).unwrap());
        assert!(!directory.path.exists());
    }
    for (attempt, target) in targets.iter().enumerate() {
        let aside = root
            .path()
            .canonicalize()
            .unwrap()
            .join("outputs/.aside/study");
        assert_eq!(target.parent().unwrap(), aside);
        let name = target.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("e-20"), "{name}");
        let kept = ExperimentDir::new(target).answered().unwrap();
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [attempt]);
    }
    assert_eq!(study.experiments().unwrap(), Vec::<String>::new());
}

#[test]
fn a_study_lists_its_experiments_and_no_other_directory() {
    let (_root, study) = study();
    for name in ["b", "a"] {
        study.experiment(name).create().unwrap();
        study
            .experiment(name)
            .write_state(&State::new(1, Vec::new()))
            .unwrap();
    }
    fs::create_dir(study.path().join("plots")).unwrap();
    fs::create_dir(study.path().join(".cache")).unwrap();
    study.write_study("name: study\n").unwrap();
    study.write_manifest(&json!({"version": "0.1.0"})).unwrap();
    assert_eq!(study.experiments().unwrap(), ["a", "b"]);
    assert_eq!(study.read_study().unwrap(), "name: study\n");
    assert_eq!(
        study.read_manifest().unwrap(),
        Some(json!({"version": "0.1.0"}))
    );
    assert_eq!(study.name(), "study");
}

#[test]
fn a_directory_without_a_study_says_so() {
    let root = tempfile::tempdir().unwrap();
    let error = StudyDir::open(root.path().join("absent")).unwrap_err();
    assert!(
        error.to_string().ends_with("there is no such directory"),
        "{error}"
    );
    let error = StudyDir::open(root.path())
        .unwrap()
        .read_study()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("study.yaml can not be read: it is missing"),
        "{error}"
    );
}
