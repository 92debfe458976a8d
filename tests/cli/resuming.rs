//! Going on where something stopped.

use super::place::{EIGHT, FULL, Place, done, plan, shipped, study};
use serde_json::{Value, json};
use std::fs;

#[test]
fn resume_of_what_is_no_study_says_so() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let said: Vec<String> = ["empty", "nowhere", "study.yaml"]
        .iter()
        .map(|name| place.exits(2, &["resume", name]).err)
        .collect();
    insta::assert_snapshot!(said.concat(), @r"
    error: empty: it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`
    error: nowhere: there is no such directory
    error: study.yaml: it is a file: run a study's YAML with `ragicamp run STUDY.yaml`
    ");
    assert_eq!(place.files("empty").len(), 0);
}

#[test]
fn resume_needs_no_yaml_and_works_from_another_directory() {
    let place = Place::new();
    // The dataset is named relative to where the study was first run.
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    place.write("data/questions.jsonl", &questions);
    let yaml = study(4, "exact_match", 0.0);
    let yaml = yaml.replace(
        &shipped("conf/data/quickstart/questions.jsonl"),
        "data/questions.jsonl",
    );
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    fs::remove_file(place.path("study.yaml")).unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let directory = place.path("outputs/s");
    let mut command = place.command(&["resume", directory.to_str().unwrap()]);
    let done = done(command.current_dir(elsewhere.path()));
    assert_eq!(done.code, 0, "{done:#?}");
    assert!(
        done.out
            .contains("2 complete, 0 failed, 0 left, of 2; 1 model load,"),
        "{}",
        done.out
    );
    assert_eq!(place.journal(EIGHT, "000001").len(), 4);
    assert_eq!(place.segments(FULL), 1);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_was_cut_off_goes_on_where_it_stopped() {
    let place = Place::ran();
    // As after a power cut: two answers of the journal, the second line torn
    // behind them, and a state that still says generating.
    let experiment = format!("outputs/s/{FULL}");
    let journal = place.text(&format!("{experiment}/journal/000001.jsonl"));
    let lines: Vec<&str> = journal.lines().collect();
    let torn = format!(
        "{}\n{}\n{}",
        lines[0],
        lines[1],
        &lines[2][..lines[2].len() / 2]
    );
    place.write(&format!("{experiment}/journal/000001.jsonl"), &torn);
    let mut state = place.json(&format!("{experiment}/state.json"));
    state["phase"] = json!("generating");
    state["predictions_complete"] = json!(2);
    place.write(&format!("{experiment}/state.json"), &state.to_string());
    fs::remove_file(place.path(&format!("{experiment}/predictions.json"))).unwrap();
    fs::remove_file(place.path(&format!("{experiment}/results.json"))).unwrap();
    let kept = [&lines[0], &lines[1]].map(|line| {
        serde_json::from_str::<Value>(line).unwrap()["idx"]
            .as_u64()
            .unwrap()
    });

    let plan = plan(&place, &["resume", "outputs/s"]);
    assert_eq!(plan[0], format!("{FULL} resume 2/4"));
    place.ok(&["resume", "outputs/s"]);
    let mut asked = place.journal(FULL, "000002");
    asked.sort_unstable();
    let expected: Vec<u64> = (0..4).filter(|idx| !kept.contains(idx)).collect();
    assert_eq!(asked, expected);
    assert_eq!(
        place.json(&format!("{experiment}/state.json"))["phase"],
        "complete"
    );
}
