//! The studies that are shipped.

use super::place::{Place, objects, shipped};
use std::fs;

#[test]
fn the_baseline_study_can_be_looked_at_without_its_models() {
    let place = Place::new();
    let yaml = shipped("conf/study/comprehensive_baseline.yaml");
    let done = place.ok(&["run", &yaml, "--dry-run"]);
    assert!(
        done.out
            .contains("comprehensive_baseline: 567 experiments in "),
        "{}",
        done.out
    );
    assert_eq!(
        objects(&place.ok(&["run", &yaml, "--dry-run", "--json"]).out).len(),
        567
    );
    assert!(!place.path("outputs").exists());
}

#[test]
fn what_is_not_on_this_machine_fails_its_cells_with_one_sentence_each() {
    let place = Place::new();
    let yaml = shipped("conf/study/comprehensive_baseline.yaml");
    // A model that is here, and no data.
    place.write(
        "data.yaml",
        "name: data\ndatasets: [nq, triviaqa]\n\
         direct: {models: ['embedded:reader'], prompts: [default], quantization: [none]}\n\
         metrics: [exact_match]\n",
    );
    let no_data = place.exits(1, &["run", "data.yaml"]);
    assert!(
        no_data.out.contains("0 complete, 2 failed, 0 left, of 2"),
        "{}",
        no_data.out
    );
    for dataset in ["nq", "triviaqa"] {
        let name = format!("direct_embedded_reader_default_{dataset}_none");
        let directory = format!("outputs/data/{name}");
        let state = place.json(&format!("{directory}/state.json"));
        assert_eq!(state["phase"], "failed");
        let error = state["error"].as_str().unwrap();
        assert!(error.contains(dataset) && !error.contains('\n'), "{error}");
        assert!(
            place
                .text(&format!("{directory}/error.log"))
                .starts_with(&format!("Error: {error}\n"))
        );
    }

    // With the data, it is the model that is missing.
    let questions = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    for dataset in ["nq", "triviaqa", "hotpotqa"] {
        place.write(&format!("data/{dataset}.jsonl"), &questions);
    }
    let no_model = place.exits(1, &["run", &yaml, "--limit", "3"]);
    assert!(
        no_model.out.contains("0 complete, 3 failed, 0 left, of 3"),
        "{}",
        no_model.out
    );
    for dataset in ["nq", "triviaqa", "hotpotqa"] {
        let name = format!("direct_hf_google_gemma2bit_default_{dataset}_8bit");
        let state = place.json(&format!("outputs/comprehensive_baseline/{name}/state.json"));
        let error = state["error"].as_str().unwrap();
        for part in [
            "google/gemma-2b-it",
            "not on this machine",
            "ragicamp fetch",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    place.exits(
        1,
        &["health", "outputs/comprehensive_baseline", "--show-failed"],
    );
}

#[test]
fn every_shipped_study_is_valid() {
    let place = Place::new();
    // What a study says how to make is looked for.
    place.write("data/squad/questions.jsonl", "");
    place.write("data/squad/paragraphs.jsonl", "");
    for entry in fs::read_dir(shipped("conf/study")).unwrap() {
        let path = entry.unwrap().path();
        place.ok(&["run", path.to_str().unwrap(), "--validate"]);
    }
}
