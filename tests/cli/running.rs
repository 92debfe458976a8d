//! Running, and running again.

use super::place::{EIGHT, FULL, Place, done, objects, plan, study};
use serde_json::json;
use std::fs;

#[test]
fn a_study_that_is_complete_is_left_alone() {
    let place = Place::ran();
    let results = place.text(&format!("outputs/s/{FULL}/results.json"));
    let done = place.ok(&["run", "study.yaml"]);
    assert!(
        done.out
            .contains("s: 2 complete, 0 failed, 0 left, of 2; 0 model loads"),
        "{}",
        done.out
    );
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/results.json")),
        results
    );
    assert_eq!(place.segments(FULL), 1);
}

#[test]
fn a_changed_spec_is_refused_with_the_difference_until_force_moves_the_old_one_aside() {
    let place = Place::ran();
    let before = place.files("outputs");
    place.write("study.yaml", &study(4, "exact_match", 0.5));
    let refused = place.exits(2, &["run", "study.yaml"]);
    for name in [FULL, EIGHT] {
        let difference = format!("{name}: generation.temperature: 0 -> 0.5");
        assert!(refused.err.contains(&difference), "{}", refused.err);
    }
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert!(
        place.files("outputs") == before,
        "a refused run changed something"
    );
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [
            format!("{FULL} changed 4/4"),
            format!("{EIGHT} changed 4/4")
        ]
    );

    place.ok(&["run", "study.yaml", "--force", "--filter", "*_none"]);
    let aside: Vec<_> = fs::read_dir(place.path("outputs/.aside/s"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [aside] = &aside[..] else {
        panic!("one directory was to move: {aside:?}");
    };
    for file in [
        "predictions.json",
        "results.json",
        "journal/000001.jsonl",
        "metadata.json",
    ] {
        let old = &before[&place.path(&format!("outputs/s/{FULL}/{file}"))];
        assert_eq!(&fs::read(aside.join(file)).unwrap(), old, "{file}");
    }
    let metadata = place.json(&format!("outputs/s/{FULL}/metadata.json"));
    assert_eq!(metadata["spec"]["generation"]["temperature"], json!(0.5));
    assert_eq!(
        place.json(&format!("outputs/s/{FULL}/state.json"))["phase"],
        "complete"
    );
}

#[test]
fn more_questions_extend_a_study_without_asking_the_old_ones_again() {
    let place = Place::ran();
    let first = place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    place.write("study.yaml", &study(10, "exact_match", 0.0));
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [
            format!("{FULL} extend 4/10"),
            format!("{EIGHT} extend 4/10")
        ]
    );
    place.ok(&["run", "study.yaml"]);
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl")),
        first
    );
    let mut added = place.journal(FULL, "000002");
    added.sort_unstable();
    assert_eq!(added, [4, 5, 6, 7, 8, 9]);
    let predictions = place.json(&format!("outputs/s/{FULL}/predictions.json"));
    let idx: Vec<_> = predictions["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["idx"].as_u64().unwrap())
        .collect();
    assert_eq!(idx, (0..10).collect::<Vec<_>>());
    assert_eq!(
        place.json(&format!("outputs/s/{FULL}/results.json"))["num_examples"],
        10
    );
}

#[test]
fn a_metric_that_is_added_is_computed_without_a_model() {
    let place = Place::ran();
    let journal = place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl"));
    place.write("study.yaml", &study(4, "exact_match, f1", 0.0));
    assert_eq!(
        plan(&place, &["run", "study.yaml"]),
        [format!("{FULL} score 4/4"), format!("{EIGHT} score 4/4")]
    );
    let done = place.ok(&["run", "study.yaml"]);
    assert!(
        done.out
            .contains("2 complete, 0 failed, 0 left, of 2; 0 model loads"),
        "{}",
        done.out
    );
    for name in [FULL, EIGHT] {
        let results = place.json(&format!("outputs/s/{name}/results.json"));
        assert!(results["metrics"]["f1"].is_number(), "{results}");
        assert!(results["metrics"]["exact_match"].is_number(), "{results}");
        assert_eq!(place.segments(name), 1);
    }
    assert_eq!(
        place.text(&format!("outputs/s/{FULL}/journal/000001.jsonl")),
        journal
    );
}

#[test]
fn environment_variables_set_flags_and_the_command_line_wins() {
    let place = Place::new();
    let plan = |name: &str, value: &str, more: &[&str]| {
        let arguments = [&["run", "study.yaml", "--dry-run", "--json"], more].concat();
        let done = done(place.command(&arguments).env(name, value));
        assert_eq!(done.code, 0, "{name}={value}: {done:#?}");
        objects(&done.out).len()
    };
    assert_eq!(plan("RAGICAMP_LIMIT", "1", &[]), 1);
    assert_eq!(plan("RAGICAMP_LIMIT", "1", &["--limit", "2"]), 2);
    assert_eq!(plan("RAGICAMP_FILTER", "*_8bit", &[]), 1);
    assert_eq!(plan("RAGICAMP_SHARD", "1/2", &[]), 1);

    // Flags without a value: what people write for yes and no.
    for (value, is_json) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
        ("", false),
    ] {
        let arguments = ["run", "study.yaml", "--dry-run"];
        let done = done(place.command(&arguments).env("RAGICAMP_JSON", value));
        assert_eq!(done.code, 0, "RAGICAMP_JSON={value}: {done:#?}");
        assert_eq!(
            done.out.starts_with('{'),
            is_json,
            "RAGICAMP_JSON={value}: {}",
            done.out
        );
    }
    let nonsense = done(
        place
            .command(&["health", "."])
            .env("RAGICAMP_JSON", "perhaps"),
    );
    assert_eq!(nonsense.code, 2);
    let dry = done(
        place
            .command(&["run", "study.yaml"])
            .env("RAGICAMP_DRY_RUN", "1"),
    );
    assert!(dry.out.contains("2 to run"), "{dry:#?}");

    let elsewhere = done(
        place
            .command(&["run", "study.yaml", "--limit", "1"])
            .env("RAGICAMP_OUTPUT", "elsewhere")
            .env("RAGICAMP_BATCH_SIZE", "2"),
    );
    assert_eq!(elsewhere.code, 0, "{elsewhere:#?}");
    let predictions = place.json(&format!("elsewhere/{FULL}/predictions.json"));
    assert_eq!(predictions["predictions"][0]["batch_size"], 2);
    assert!(!place.path("outputs").exists());
}

#[test]
fn every_flag_of_run_names_its_environment_variable() {
    let place = Place::new();
    for command in ["run", "resume", "health"] {
        // A description may go over several lines: join them.
        let help = place.ok(&[command, "--help"]).out;
        let flags: Vec<&str> = help
            .split("      --")
            .skip(1)
            .map(|rest| rest.split("\n  -h").next().unwrap())
            .collect();
        assert!(flags.len() > 2, "{help}");
        for flag in flags {
            let name = flag.split_whitespace().next().unwrap();
            let variable = format!("RAGICAMP_{}=", name.to_uppercase().replace('-', "_"));
            assert!(flag.contains(&variable), "{command} --{name}: {flag}");
        }
    }
}
