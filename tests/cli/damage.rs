//! What is damaged, lost or exchanged between a run and the next.

use super::place::{EIGHT, FULL, Place, plan, shipped};
use serde_json::{Value, json};
use std::fs;

/// The study's questions in a file of its own, so that it can change.
fn with_own_questions(place: &Place, questions: &str) -> String {
    place.write("questions.jsonl", questions);
    let shipped = shipped("conf/data/quickstart/questions.jsonl");
    let yaml = place.text("study.yaml");
    yaml.replace(&shipped, "questions.jsonl")
}

fn first_questions(count: usize) -> String {
    let all = fs::read_to_string(shipped("conf/data/quickstart/questions.jsonl")).unwrap();
    let lines: Vec<&str> = all.lines().take(count).collect();
    lines.join("\n") + "\n"
}

#[test]
fn torn_results_of_a_complete_experiment_are_written_again() {
    for file in ["results.json", "predictions.json"] {
        let place = Place::ran();
        let path = format!("outputs/s/{FULL}/{file}");
        let (whole, journal) = (place.json(&path), place.journal(FULL, "000001"));
        place.write(&path, "");
        assert_eq!(
            plan(&place, &["run", "study.yaml"])[0],
            format!("{FULL} resume 4/4")
        );
        let done = place.ok(&["run", "study.yaml"]);
        assert!(done.out.contains("0 model loads"), "{}", done.out);
        let key = match file {
            "results.json" => "metrics",
            _ => "predictions",
        };
        assert_eq!(place.json(&path)[key], whole[key]);
        assert_eq!(place.journal(FULL, "000001"), journal);
        place.ok(&["verify", "outputs/s"]);
    }
}

#[test]
fn resume_puts_right_what_health_deep_says_it_does() {
    let place = Place::ran();
    let path = format!("outputs/s/{FULL}/results.json");
    let mut results = place.json(&path);
    let true_score = results["metrics"]["exact_match"].clone();
    results["metrics"]["exact_match"] = json!(0.875);
    place.write(&path, &results.to_string());
    let health = place
        .exits(1, &["health", "outputs/s", "--deep", "--json"])
        .out;
    assert!(health.contains("writes its files again"), "{health}");
    place.ok(&["resume", "outputs/s"]);
    assert_eq!(place.json(&path)["metrics"]["exact_match"], true_score);
    place.ok(&["verify", "outputs/s"]);
    place.ok(&["health", "outputs/s", "--deep"]);

    // What is no result stays as it is, and nothing is promised.
    let path = format!("outputs/s/{FULL}/questions.json");
    let text = place.text(&path).replacen("\"idx\"", "\"idy\"", 1);
    place.write(&path, &text);
    let health = place
        .exits(1, &["health", "outputs/s", "--deep", "--json"])
        .out;
    assert!(!health.contains("writes its files again"), "{health}");
}

#[test]
fn one_damaged_directory_costs_its_experiment_and_no_other() {
    let place = Place::new();
    fs::create_dir_all(place.path(&format!("outputs/s/{FULL}/state.json"))).unwrap();
    let done = place.exits(1, &["run", "study.yaml"]);
    assert!(done.out.contains("1 complete, 1 failed"), "{}", done.out);
    assert_eq!(
        place.json(&format!("outputs/s/{EIGHT}/state.json"))["phase"],
        "complete"
    );
}

#[test]
fn a_model_that_can_not_be_had_leaves_nothing_untrue() {
    let place = Place::new();
    let yaml = place.text("study.yaml");
    place.write(
        "study.yaml",
        &yaml.replace("embedded:reader", "hf:./nowhere"),
    );
    place.exits(1, &["run", "study.yaml"]);
    place.ok(&["verify", "outputs/s"]);
    let health = place
        .exits(1, &["health", "outputs/s", "--deep", "--json"])
        .out;
    let health: Value = serde_json::from_str(&health).unwrap();
    let first = &health["studies"][0]["experiments"][0];
    assert_eq!((&first["total"], &first["lies"]), (&json!(4), &json!([])));
}

#[test]
fn a_dataset_that_was_cut_short_is_no_smaller_study() {
    let place = Place::new();
    let yaml = with_own_questions(&place, &first_questions(4));
    place.write("study.yaml", &yaml.replace("num_questions: 4\n", ""));
    place.ok(&["run", "study.yaml"]);
    // As a run that was stopped in the middle.
    let path = format!("outputs/s/{FULL}/state.json");
    let mut state = place.json(&path);
    state["phase"] = json!("generating");
    place.write(&path, &state.to_string());
    place.write("questions.jsonl", &first_questions(3));
    let done = place.exits(1, &["run", "study.yaml"]);
    assert!(
        done.out.contains("it had 4 questions and has 3"),
        "{done:#?}"
    );
    // A study that asks for fewer is another matter.
    place.write("questions.jsonl", &first_questions(4));
    place.write(
        "study.yaml",
        &yaml.replace("num_questions: 4", "num_questions: 3"),
    );
    place.ok(&["run", "study.yaml"]);
}

#[test]
fn answers_to_other_questions_are_not_taken_for_those_of_the_dataset() {
    let place = Place::new();
    let old = json!({"predictions": [
        {"question": "What is the capital?", "prediction": "Ardmoor", "expected": ["Ardmoor"]},
    ]});
    place.write(
        &format!("outputs/s/{FULL}/predictions.json"),
        &old.to_string(),
    );
    let done = place.exits(1, &["run", "study.yaml"]);
    assert!(
        done.out
            .contains("the answer that is there is to \"What is the capital?\""),
        "{done:#?}"
    );
    assert!(
        !place
            .path(&format!("outputs/s/{FULL}/results.json"))
            .exists()
    );
    place.ok(&["run", "study.yaml", "--force"]);
    place.ok(&["verify", "outputs/s"]);
}

#[test]
fn the_manifest_keeps_what_the_answers_were_made_from() {
    let place = Place::new();
    let yaml = with_own_questions(&place, &first_questions(4));
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    let made_from = place.json("outputs/s/manifest.json")["datasets"].clone();
    place.write("questions.jsonl", &first_questions(9));
    place.ok(&["run", "study.yaml"]);
    place.ok(&["resume", "outputs/s"]);
    assert_eq!(place.json("outputs/s/manifest.json")["datasets"], made_from);
    // Extended, they are for the file as it is now.
    place.write(
        "study.yaml",
        &yaml.replace("num_questions: 4", "num_questions: 6"),
    );
    place.ok(&["run", "study.yaml"]);
    assert_ne!(place.json("outputs/s/manifest.json")["datasets"], made_from);
}

#[test]
fn a_changed_study_does_not_take_the_place_of_one_whose_answers_are_there() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    let before = place.text("outputs/s/study.yaml");
    let yaml = place.text("study.yaml");
    place.write(
        "study.yaml",
        &yaml.replace("max_new_tokens: 4", "max_new_tokens: 5"),
    );
    let done = place.exits(2, &["run", "study.yaml", "--filter", "*_8bit"]);
    assert!(done.err.contains("max_new_tokens: 4 -> 5"), "{}", done.err);
    assert_eq!(place.text("outputs/s/study.yaml"), before);
    place.ok(&["resume", "outputs/s"]);
}

#[test]
fn metrics_believe_no_complete_that_has_errors_for_answers() {
    let place = Place::new();
    let directory = format!("outputs/s/{FULL}");
    let record = |answer: &str| json!({"question": "q", "prediction": answer, "expected": ["a"]});
    let predictions: Vec<Value> = ["a", "[ERROR: CUDA out of memory]", "b"]
        .map(record)
        .to_vec();
    let predictions = json!({"predictions": predictions});
    place.write(
        &format!("{directory}/predictions.json"),
        &predictions.to_string(),
    );
    let state = json!({"phase": "complete", "total_questions": 3, "predictions_complete": 3,
        "metrics_computed": ["exact_match"]});
    place.write(&format!("{directory}/state.json"), &state.to_string());
    place.call(&["metrics", &directory, "-m", "contains"]);
    let state = place.json(&format!("{directory}/state.json"));
    assert_eq!(
        (
            &state["phase"],
            &state["predictions_complete"],
            &state["unanswered"]
        ),
        (&json!("failed"), &json!(2), &json!(1))
    );
}

#[test]
fn metrics_keep_to_the_questions_that_the_study_asks_now() {
    let place = Place::ran();
    let yaml = place.text("study.yaml");
    place.write(
        "study.yaml",
        &yaml.replace("num_questions: 4", "num_questions: 2"),
    );
    let path = format!("outputs/s/{FULL}/state.json");
    let mut state = place.json(&path);
    state["phase"] = json!("generating");
    place.write(&path, &state.to_string());
    place.ok(&["run", "study.yaml"]);
    place.ok(&["metrics", "outputs/s", "-m", "contains"]);
    let results = place.json(&format!("outputs/s/{FULL}/results.json"));
    assert_eq!(results["metrics"]["n_scored"], 2, "{results}");
    place.ok(&["verify", &format!("outputs/s/{FULL}")]);
}

#[test]
fn experiments_that_have_changed_places_are_found() {
    let place = Place::ran();
    let path = |name: &str| place.path(&format!("outputs/s/{name}"));
    fs::rename(path(FULL), path("aside")).unwrap();
    fs::rename(path(EIGHT), path(FULL)).unwrap();
    fs::rename(path("aside"), path(EIGHT)).unwrap();
    let found = place.exits(1, &["verify", "outputs/s"]).out;
    let sentence = format!("metadata.json is of the experiment {FULL}");
    assert!(found.contains(&sentence), "{found}");
}

#[test]
fn a_metric_that_is_added_to_a_failed_experiment_makes_no_other_one_missing() {
    let place = Place::ran();
    let path = format!("outputs/s/{FULL}/state.json");
    let mut state = place.json(&path);
    state["phase"] = json!("failed");
    place.write(&path, &state.to_string());
    let path = format!("outputs/s/{FULL}/predictions.json");
    let mut file = place.json(&path);
    for record in file["predictions"].as_array_mut().unwrap() {
        record["metrics"] = json!({});
    }
    place.write(&path, &file.to_string());
    place.call(&["metrics", &format!("outputs/s/{FULL}"), "-m", "contains"]);
    let found = place.call(&["verify", &format!("outputs/s/{FULL}")]).out;
    assert!(!found.contains("is missing"), "{found}");
}

#[test]
fn answers_of_which_nobody_knows_what_they_are_of_are_not_added_to() {
    for damage in ["", "{\"spec_hash\": 7}", "gone"] {
        let place = Place::ran();
        let path = format!("outputs/s/{FULL}/metadata.json");
        match damage {
            "gone" => fs::remove_file(place.path(&path)).unwrap(),
            torn => place.write(&path, torn),
        }
        // What is complete stays so; another spec and two questions more are
        // another matter.
        place.ok(&["run", "study.yaml"]);
        let yaml = place.text("study.yaml");
        let other = yaml.replace("max_new_tokens: 4", "max_new_tokens: 5");
        place.write("study.yaml", &other);
        let told = place.exits(2, &["run", "study.yaml", "--filter", FULL]).err;
        assert!(told.contains("its state.json is of another spec"), "{told}");
        let more = yaml.replace("num_questions: 4", "num_questions: 6");
        place.write("study.yaml", &more);
        let done = place.exits(1, &["run", "study.yaml"]);
        assert!(done.out.contains("1 complete, 1 failed"), "{done:#?}");
        let state = place.json(&format!("outputs/s/{FULL}/state.json"));
        let error = state["error"].as_str().unwrap();
        assert!(error.contains("metadata.json can not be read"), "{error}");
        assert!(error.contains("4 answers"), "{error}");
        assert_eq!(state["predictions_complete"], 4);
        place.exits(1, &["resume", "outputs/s"]);
        place.ok(&["run", "study.yaml", "--force", "--filter", FULL]);
        place.ok(&["verify", "outputs/s"]);
    }
}

#[test]
fn complete_experiments_say_that_their_dataset_has_other_answers_now() {
    let place = Place::new();
    let questions = first_questions(4);
    let yaml = with_own_questions(&place, &questions);
    place.write("study.yaml", &yaml);
    place.ok(&["run", "study.yaml"]);
    let quiet = place.ok(&["run", "study.yaml"]).err;
    assert!(!quiet.contains("warning"), "{quiet}");
    let path = format!("outputs/s/{FULL}/results.json");
    let before = place.text(&path);
    // More questions at the end are no change of those before.
    place.write("questions.jsonl", &first_questions(5));
    let quiet = place.ok(&["run", "study.yaml"]).err;
    assert!(!quiet.contains("warning"), "{quiet}");
    let mut first: Value = serde_json::from_str(questions.lines().next().unwrap()).unwrap();
    first["golden_answers"] = json!(["elsewhere"]);
    let rest: Vec<&str> = questions.lines().skip(1).collect();
    place.write(
        "questions.jsonl",
        &format!("{first}\n{}\n", rest.join("\n")),
    );
    let told = place.ok(&["run", "study.yaml"]).err;
    assert!(
        told.contains("warning: 2 experiments are complete and keep their results"),
        "{told}"
    );
    assert!(told.contains("question 0 had the answers"), "{told}");
    assert_eq!(place.text(&path), before);
}

#[test]
fn an_experiment_whose_directory_was_deleted_is_missed() {
    let place = Place::ran();
    fs::remove_dir_all(place.path(&format!("outputs/s/{EIGHT}"))).unwrap();
    let found = place.exits(1, &["verify", "outputs/s"]).out;
    assert!(found.contains(&format!("{EIGHT}:")), "{found}");
    assert!(found.contains("its directory is gone"), "{found}");
    place.ok(&["run", "study.yaml"]);
    place.ok(&["verify", "outputs/s"]);
}

#[test]
fn a_dry_run_refuses_the_directory_that_the_run_would_refuse() {
    let place = Place::ran();
    for dry in [&[][..], &["--dry-run"]] {
        let call = [&["run", "study.yaml", "--output", "outputs"][..], dry].concat();
        let told = place.exits(2, &call).err;
        assert!(told.contains("would hide"), "{told}");
    }
}
