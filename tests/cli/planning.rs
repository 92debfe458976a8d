//! Looking before running.

use super::place::{EIGHT, FULL, Place, plan};

#[test]
fn validate_says_that_nothing_is_wrong_and_does_nothing() {
    let place = Place::new();
    let done = place.ok(&["run", "study.yaml", "--validate"]);
    assert_eq!(done.out, "study.yaml: 2 experiments, nothing is wrong\n");
    assert!(!place.path("outputs").exists());
}

#[test]
fn a_dry_run_of_a_fresh_study_shows_everything_as_new_and_leaves_nothing() {
    let place = Place::new();
    let before = place.files(".");
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out.contains(
            "s: 2 experiments in outputs/s; 2 to run, 2 model loads, 8 questions to answer"
        ),
        "{}",
        done.out
    );
    let plan = plan(&place, &["run", "study.yaml"]);
    assert_eq!(
        plan,
        [format!("{FULL} new 0/4"), format!("{EIGHT} new 0/4")]
    );
    assert!(place.files(".") == before, "a dry run wrote something");
}

#[test]
fn a_dry_run_of_a_half_done_study_tells_what_is_left_of_it() {
    let place = Place::new();
    place.ok(&["run", "study.yaml", "--filter", "*_none"]);
    let before = place.files("outputs");
    let expected = [format!("{FULL} complete 4/4"), format!("{EIGHT} new 0/4")];
    assert_eq!(plan(&place, &["run", "study.yaml"]), expected);
    assert_eq!(plan(&place, &["resume", "outputs/s"]), expected);
    let done = place.ok(&["run", "study.yaml", "--dry-run"]);
    assert!(
        done.out
            .contains("1 to run, 1 model loads, 4 questions to answer"),
        "{}",
        done.out
    );
    assert!(
        place.files("outputs") == before,
        "a dry run wrote something"
    );
}
