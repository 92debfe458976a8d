#![allow(clippy::unwrap_used)]

use super::*;
use crate::artifacts::{State, StudyDir};
use crate::domain::Phase;

fn study(experiments: &[(&str, Phase, Option<&str>)]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let study = StudyDir::create(root.path().join("outputs/my study")).unwrap();
    study.write_study("name: x\n").unwrap();
    for (name, phase, error) in experiments {
        let directory = study.experiment(name);
        directory.create().unwrap();
        let mut state = State::new(100, Vec::new());
        state.phase = *phase;
        state.predictions_complete = 100;
        state.error = error.map(str::to_owned);
        if error.is_some() {
            state.predictions_complete = 32;
            state.unanswered = 68;
            state.failure_class = Some(FailureClass::Transient);
        }
        directory.write_state(&state).unwrap();
        if *phase == Phase::Complete {
            std::fs::write(directory.path.join("predictions.json"), "{}").unwrap();
            std::fs::write(directory.path.join("results.json"), "{}").unwrap();
        }
    }
    let path = study.path().to_owned();
    (root, path)
}

fn text(args: &HealthArgs) -> (u8, String) {
    let mut out = Vec::new();
    let code = run(args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn args(directory: &Path) -> HealthArgs {
    HealthArgs {
        directory: Some(directory.to_owned()),
        ..HealthArgs::default()
    }
}

#[test]
fn a_healthy_study_exits_with_zero() {
    let (_root, path) = study(&[("a", Phase::Complete, None), ("b", Phase::Complete, None)]);
    let (code, text) = text(&args(&path));
    assert_eq!(code, 0);
    assert!(text.contains("2 experiments: 2 complete\n"), "{text}");
}

#[test]
fn a_failed_experiment_exits_with_one_and_is_grouped_by_its_error() {
    let error = Some("Error invalid configuration argument at line 380\nmore");
    let same = Some("Error invalid configuration argument at line 217");
    let (_root, path) = study(&[
        ("a", Phase::Failed, error),
        ("b", Phase::Complete, None),
        ("c", Phase::Failed, same),
        ("d", Phase::Failed, Some("Error other")),
    ]);
    let (code, text) = text(&HealthArgs {
        show_failed: true,
        ..args(&path)
    });
    assert_eq!(code, 1);
    let failures = text.split("Failures:").nth(1).unwrap();
    assert!(
        failures.starts_with(" 3 experiments, 2 causes\n"),
        "{failures}"
    );
    let first = failures
        .find("2 x [transient] Error invalid configuration argument at line 380\n")
        .unwrap();
    assert!(first < failures.find("1 x [transient] Error other\n").unwrap());
    assert!(failures.contains("    c (32/100 answered)\n"));
    let next = format!("ragicamp resume '{}'", path.display());
    assert!(failures.contains(&next), "{failures}");
}

#[test]
fn lines_are_aligned_and_name_what_resume_would_do() {
    let (_root, path) = study(&[
        ("short", Phase::Complete, None),
        ("a_much_longer_name", Phase::Failed, Some("Error x")),
    ]);
    let mut out = Vec::new();
    print_study(&scan(&path, false).unwrap(), false, Style::Plain, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let column = |word: &str| {
        let line = text.lines().find(|line| line.contains(word)).unwrap();
        line.find(word).unwrap()
    };
    assert_eq!(column("phase"), column("complete "));
    assert_eq!(column("phase"), column("failed    32/100"));
    assert_eq!(column("resume"), column("retries 68 questions"));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn json_has_what_scripts_need() {
    let (_root, path) = study(&[("a", Phase::Failed, Some("Error x"))]);
    let (code, text) = text(&HealthArgs {
        json: true,
        ..args(path.parent().unwrap())
    });
    assert_eq!(code, 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let health = &value["studies"][0]["experiments"][0];
    assert_eq!(health["phase"], "failed");
    assert_eq!(health["answered"], 32);
    assert_eq!(health["failed_questions"], 68);
    assert_eq!(health["failure_class"], "transient");
    assert_eq!(health["what_resume_does"], "retries 68 questions");
    assert_eq!(health["lies"], serde_json::json!([]));
}

#[test]
fn a_single_experiment_can_be_looked_at() {
    let (_root, path) = study(&[("a", Phase::Generating, None), ("b", Phase::Complete, None)]);
    let (code, text) = text(&args(&path.join("a")));
    assert_eq!(code, 1);
    assert!(
        text.contains("it says work is going on, and nobody is at it"),
        "{text}"
    );
    assert!(text.contains("1 experiment: 1 generating; 1 with a state that is not so"));
    assert!(!text.contains("\nb "));
}

#[test]
fn an_experiment_without_its_state_exits_with_one() {
    let (_root, path) = study(&[("a", Phase::Complete, None)]);
    std::fs::remove_file(path.join("a/state.json")).unwrap();
    let (code, text) = text(&args(&path));
    assert_eq!(code, 1);
    assert!(text.contains("there is no state.json"), "{text}");
}

#[test]
fn a_directory_that_does_not_exist_is_a_mistake_of_usage() {
    assert_eq!(text(&args(Path::new("/nonexistent/outputs"))).0, 2);
}

#[test]
fn a_terminal_without_colours_gets_none() {
    let told = |of: &'static [(&str, &str)]| {
        colors(|name| {
            let found = of.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    };
    assert!(told(&[]));
    assert!(told(&[("TERM", "xterm"), ("NO_COLOR", "")]));
    assert!(!told(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
    assert!(!told(&[("TERM", "dumb")]));
}

#[test]
fn missing_metrics_are_among_the_failures_with_their_reason() {
    let (_root, path) = study(&[
        ("a", Phase::ComputingMetrics, None),
        ("b", Phase::Complete, None),
    ]);
    let directory = crate::artifacts::ExperimentDir::new(path.join("a"));
    let mut state = directory.state().unwrap().unwrap();
    state.error = Some("the metric llm_judge is not computed: no \u{1b}[2Jkey".to_owned());
    directory.write_state(&state).unwrap();
    let (_, text) = text(&HealthArgs {
        show_failed: true,
        ..args(&path)
    });
    assert!(
        text.contains("1 x [no metrics] the metric llm_judge is not computed: no  [2Jkey\n"),
        "{text}"
    );
    assert!(
        !text.contains("Nothing failed.") && !text.contains('\u{1b}'),
        "{text:?}"
    );
}
