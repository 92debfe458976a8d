//! Artifacts that are what was written, and answers that come again.

use super::place::{FULL, Place};
use ragicamp::{artifacts::StudyDir, runner};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_study_as_its_run_left_it_is_found_to_be_so() {
    let place = Place::ran();
    let done = place.ok(&["verify", "outputs/s"]);
    assert!(
        done.out.contains("s: 2 experiments, ")
            && done.out.contains(
                "8 predictions, 8 scores computed again: everything is as it was written"
            ),
        "{done:#?}"
    );
    // Also by its experiment, and from above.
    let one = place.ok(&["verify", &format!("outputs/s/{FULL}")]);
    assert!(one.out.contains("1 experiments"), "{one:#?}");
    let all: Value = serde_json::from_str(&place.ok(&["verify", "outputs", "--json"]).out).unwrap();
    assert_eq!(all["studies"][0]["findings"], json!([]));
    assert_eq!(all["studies"][0]["notes"], json!([]));
}

#[test]
fn any_byte_that_was_changed_is_found() {
    let place = Place::ran();
    let root = place.path("outputs/s");
    let verify = || runner::verify(&StudyDir::at(&root), None).unwrap();
    assert_eq!(verify().findings, []);
    let files = place.files("outputs/s");
    let mut tampered = 0;
    for (path, content) in &files {
        // A lease is no artifact: it says who is at work.
        if path.components().any(|part| part.as_os_str() == "lease") || content.is_empty() {
            continue;
        }
        // The worker lives longer than the experiment and goes on with its log.
        let sealed = match path.file_name().and_then(|name| name.to_str()) {
            Some("experiment.log") => {
                let checksums = fs::read(path.with_file_name("checksums.json")).unwrap();
                let checksums: Value = serde_json::from_slice(&checksums).unwrap();
                checksums["files"]["experiment.log"]["bytes"]
                    .as_u64()
                    .unwrap() as usize
            }
            _ => content.len(),
        };
        for at in [0, sealed / 3, sealed / 2, sealed - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(path, &changed).unwrap();
            let found = verify().findings;
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(
                found.iter().any(|finding| finding.what.contains(&name)),
                "byte {at} of {}: {found:?}",
                path.display()
            );
            tampered += 1;
        }
        fs::remove_file(path).unwrap();
        let gone = verify();
        assert!(
            !gone.findings.is_empty() || !gone.notes.is_empty(),
            "{} is gone",
            path.display()
        );
        fs::write(path, content).unwrap();
    }
    assert!(tampered > 60, "{tampered}");
    assert_eq!(verify().findings, []);
}

#[test]
fn what_no_checksum_covers_is_compared_with_the_rest() {
    let place = Place::ran();
    let at = |name: &str| format!("outputs/s/{FULL}/{name}");
    fs::remove_file(place.path(&at("checksums.json"))).unwrap();
    let whole = place.ok(&["verify", &format!("outputs/s/{FULL}")]);
    assert!(whole.out.contains("there are no checksums"), "{whole:#?}");

    let file = place.json(&at("predictions.json"));
    let lie = |change: &dyn Fn(&mut Value)| {
        let mut changed = file.clone();
        change(&mut changed);
        place.write(&at("predictions.json"), &changed.to_string());
        place.exits(1, &["verify", "outputs/s"]).out
    };
    let said = [
        lie(&|file| file["predictions"][1]["prediction"] = json!("another")),
        lie(&|file| file["predictions"][1]["metrics"]["exact_match"] = json!(0.5)),
        lie(&|file| file["aggregate_metrics"]["exact_match"] = json!(0.99)),
        lie(&|file| {
            let first = file["predictions"][0].clone();
            file["predictions"].as_array_mut().unwrap().push(first);
        }),
        lie(&|file| {
            file["predictions"].as_array_mut().unwrap().remove(2);
        }),
        lie(&|file| file["predictions"][0]["question"] = json!("Who else?")),
    ];
    for (said, expected) in said.iter().zip([
        "the answer to question 1 in predictions.json is not the journal's",
        "exact_match of question 1 is 0.5",
        "exact_match of predictions.json is 0.99",
        "predictions.json holds question 0 twice",
        "question 2 is not in predictions.json",
        "question 0 of predictions.json is not the one in questions.json",
    ]) {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn verify_changes_nothing_and_a_new_run_seals_again() {
    let place = Place::ran();
    let before = place.files("outputs");
    place.ok(&["verify", "outputs"]);
    assert_eq!(before, place.files("outputs"));
    // Growing the study changes every file of its experiments.
    let grown = place
        .text("study.yaml")
        .replace("num_questions: 4", "num_questions: 6");
    place.write("study.yaml", &grown);
    place.ok(&["run", "study.yaml"]);
    let done = place.ok(&["verify", "outputs/s"]);
    assert!(done.out.contains("12 predictions"), "{done:#?}");
}

#[test]
fn an_experiment_runs_again_beside_itself_and_gives_the_same() {
    let place = Place::ran();
    let before = place.files("outputs/s");
    let done = place.ok(&["repro", &format!("outputs/s/{FULL}")]);
    assert!(
        done.out.contains("4 of 4 answers are the same"),
        "{done:#?}"
    );
    assert_eq!(before, place.files("outputs/s"));
    // Nobody takes the second run for a study.
    assert!(!place.ok(&["health"]).out.contains(".repro"));

    let path = format!("outputs/s/{FULL}/journal/000001.jsonl");
    let journal = place.text(&path);
    let line = journal.lines().next().unwrap();
    let record: Value = serde_json::from_str(line).unwrap();
    place.write(&path, &journal.replace(line, ""));
    let lost = place.exits(
        1,
        &["repro", &format!("outputs/s/{FULL}"), "--output", "again"],
    );
    assert!(
        lost.out.contains(&format!("question {}:", record["idx"]))
            && lost.out.contains("before: no answer"),
        "{lost:#?}"
    );
}

#[test]
fn verify_and_repro_say_what_they_can_not_use() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let said = [
        place.exits(2, &["verify", "nowhere"]).err,
        place.exits(2, &["verify", "empty"]).err,
        place.exits(2, &["repro", "nowhere"]).err,
        place.exits(2, &["repro", "empty"]).err,
    ];
    insta::assert_snapshot!(said.concat(), @r"
    error: there is no directory nowhere
    error: empty holds no study: name a directory that a run made, as in outputs/STUDY
    error: there is no directory nowhere
    error: empty is no experiment's directory: name one like outputs/STUDY/EXPERIMENT
    ");
}
