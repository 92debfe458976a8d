//! Artifacts that are what was written, and answers that come again.

use super::place::{FULL, Place};
use ragicamp::{artifacts::StudyDir, runner};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

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
    assert!(one.out.contains("s: 1 experiment, "), "{one:#?}");
    let all: Value = serde_json::from_str(&place.ok(&["verify", "outputs", "--json"]).out).unwrap();
    assert_eq!(all["studies"][0]["findings"], json!([]));
    assert_eq!(all["studies"][0]["notes"], json!([]));
}

/// The bytes of a file that its checksum covers. The worker lives longer than the experiment and goes on with its log.
fn sealed(path: &Path, content: &[u8]) -> usize {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("experiment.log") => {
            let checksums = fs::read(path.with_file_name("checksums.json")).unwrap();
            let checksums: Value = serde_json::from_slice(&checksums).unwrap();
            let bytes = checksums["files"]["experiment.log"]["bytes"].as_u64();
            bytes.unwrap() as usize
        }
        _ => content.len(),
    }
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn any_bit_that_flips_and_any_end_or_file_that_is_lost_or_added_is_found() {
    let place = Place::ran();
    let root = place.path("outputs/s");
    let found = || runner::verify(&StudyDir::at(&root), None).unwrap().findings;
    assert_eq!(found(), []);
    let files: Vec<(PathBuf, Vec<u8>)> = place
        .files("outputs/s")
        .into_iter()
        // A lease is no artifact: it says who is at work.
        .filter(|(path, content)| {
            !content.is_empty() && path.components().all(|part| part.as_os_str() != "lease")
        })
        .collect();
    let named = |path: &Path, what: &str| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = found();
        assert!(
            found.iter().any(|finding| finding.what.contains(&name)),
            "{what} of {}: {found:?}",
            path.display()
        );
    };
    let mut state = 17;
    for sample in 0..600 {
        let (path, content) = &files[sample % files.len()];
        let at = random(&mut state) as usize % sealed(path, content);
        let bit = random(&mut state) % 8;
        let mut changed = content.clone();
        changed[at] ^= 1 << bit;
        fs::write(path, &changed).unwrap();
        named(path, &format!("bit {bit} of byte {at}"));
        fs::write(path, content).unwrap();
    }
    for (path, content) in &files {
        let end = random(&mut state) as usize % sealed(path, content);
        fs::write(path, &content[..end]).unwrap();
        named(path, &format!("what follows byte {end}"));
        // Events and the worker's log go on after the seal.
        let name = path.file_name().and_then(|name| name.to_str());
        if !matches!(name, Some("experiment.log" | "events.jsonl")) {
            let last = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            let longer = [content.as_slice(), &content[..last], b"\n"].concat();
            fs::write(path, longer).unwrap();
            named(path, "a second end");
        }
        fs::remove_file(path).unwrap();
        let gone = runner::verify(&StudyDir::at(&root), None).unwrap();
        assert!(
            !gone.findings.is_empty() || !gone.notes.is_empty(),
            "{} is gone",
            path.display()
        );
        fs::write(path, content).unwrap();
    }
    assert_eq!(found(), []);
}

#[test]
fn an_answer_that_nobody_computed_is_found_whatever_file_it_is_in() {
    let place = Place::ran();
    let root = place.path("outputs/s");
    let said = || {
        let found = runner::verify(&StudyDir::at(&root), None).unwrap().findings;
        found
            .into_iter()
            .map(|finding| finding.what)
            .collect::<Vec<_>>()
    };
    let journal = place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    let added = format!("outputs/s/{FULL}/journal/000002.jsonl");
    place.write(&added, &journal);
    assert_eq!(said(), ["journal/000002.jsonl was not there"]);
    fs::remove_file(place.path(&added)).unwrap();
    assert_eq!(said(), Vec::<String>::new());
    // Notes of one's own are nobody's business.
    place.write(&format!("outputs/s/{FULL}/notes.txt"), "good");
    assert_eq!(said(), Vec::<String>::new());
}

#[test]
fn a_study_keeps_what_it_was_made_of_and_on() {
    let place = Place::ran();
    let manifest = place.json("outputs/s/manifest.json");
    let machine = &manifest["environments"][0];
    for key in ["ragicamp", "features", "cpu", "threads", "kernel", "device"] {
        assert!(!machine[key].is_null(), "{key}: {machine}");
    }
    assert!(machine.get("git_revision").is_some(), "{machine}");
    assert_eq!(manifest["seeds"], json!([1]));
    let models = manifest["models"].as_array().unwrap();
    assert_eq!(models.len(), 2, "one per quantisation: {models:?}");
    for model in models {
        for key in ["weights_sha256", "tokenizer_sha256"] {
            assert_eq!(model[key].as_str().map(str::len), Some(64), "{model}");
        }
    }
    for dataset in manifest["datasets"].as_object().unwrap().values() {
        assert_eq!(dataset["sha256"].as_str().map(str::len), Some(64));
    }
    let batches = manifest["batches"].as_object().unwrap();
    assert_eq!(batches.len(), 2, "{batches:?}");
    for counts in batches.values() {
        // Four questions are one batch.
        assert_eq!(counts["batch_sizes"], json!({"4": 1}), "{counts}");
    }
    let metadata = place.json(&format!("outputs/s/{FULL}/metadata.json"));
    assert_eq!(metadata["counts"]["batch_sizes"], json!({"4": 1}));
    assert_eq!(
        metadata["dataset"]["sha256"].as_str().map(str::len),
        Some(64)
    );
}

#[test]
fn a_second_run_says_first_what_is_no_longer_the_same() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    assert!(!place.ok(&["repro", &experiment]).out.contains("no longer"));
    // Another machine, another program, other data and another model.
    let path = format!("{experiment}/metadata.json");
    let mut metadata = place.json(&path);
    metadata["environment"]["cpu"] = json!("An Older Processor");
    metadata["environment"]["ragicamp"] = json!("0.0.9");
    metadata["dataset"]["sha256"] = json!("0".repeat(64));
    metadata["model"]["weights_sha256"] = json!("1".repeat(64));
    place.write(&path, &metadata.to_string());
    let said = place.ok(&["repro", &experiment, "--output", "again"]).out;
    for part in [
        "no longer the same: the program's version: 0.0.9 then",
        "no longer the same: the processor: An Older Processor then",
        "no longer the same: the dataset's checksum: 000000000000... then",
        "no longer the same: the model's weights: 111111111111... then",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // It comes before anything is run, and a plan says it too.
    let place_of = |part: &str| said.find(part).unwrap();
    assert!(place_of("no longer the same") < place_of("answers are the same"));
    let planned = place.call(&["repro", &experiment, "--output", "plan", "--dry-run"]);
    assert!(planned.out.contains("no longer the same"), "{planned:#?}");
}

#[test]
fn what_no_checksum_covers_is_compared_with_the_rest() {
    let place = Place::ran();
    let at = |name: &str| format!("outputs/s/{FULL}/{name}");
    fs::remove_file(place.path(&at("checksums.json"))).unwrap();
    let whole = place.ok(&["verify", &format!("outputs/s/{FULL}")]);
    assert!(whole.out.contains("there are no checksums"), "{whole:#?}");
    assert!(
        whole
            .out
            .contains("0 files compared with their checksums, 4 records in the journal")
            && whole
                .out
                .contains("nobody can say whether all is as it was written"),
        "{whole:#?}"
    );

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
