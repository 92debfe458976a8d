//! Output for programs and pipes.

use super::place::{Place, done, objects};
use assert_cmd::Command;
use serde_json::Value;

#[test]
fn json_is_one_object_per_line_and_nothing_else() {
    let place = Place::new();
    let planned = objects(&place.ok(&["run", "study.yaml", "--dry-run", "--json"]).out);
    assert_eq!(planned.len(), 2);
    let events = objects(&place.ok(&["run", "study.yaml", "--json"]).out);
    let kind = |event: &Value| event["event"].as_str().unwrap().to_owned();
    assert_eq!(kind(&events[0]), "study_started");
    assert_eq!(kind(events.last().unwrap()), "study_finished");
    let finished = events
        .iter()
        .filter(|event| kind(event) == "experiment_finished");
    assert_eq!(finished.count(), 2);
    // The same lines are kept.
    let kept = objects(&place.text("outputs/s/events.jsonl"));
    assert_eq!(kept.len(), events.len());
}

#[test]
fn piped_output_has_no_colours_and_no_moving_lines() {
    let place = Place::new();
    for arguments in [
        &["run", "study.yaml"][..],
        &["run", "study.yaml", "--dry-run"],
        &["health"],
        &["health", "outputs/s", "--show-failed"],
        &["--help"],
        &["run", "nowhere.yaml"],
    ] {
        for no_color in [None, Some("1")] {
            let mut command = place.command(arguments);
            if let Some(value) = no_color {
                command.env("NO_COLOR", value);
            }
            let done = done(command.env("TERM", "xterm-256color"));
            for text in [&done.out, &done.err] {
                assert!(
                    !text.contains('\x1b') && !text.contains('\r'),
                    "{arguments:?}: {text:?}"
                );
            }
        }
    }
}

#[test]
fn an_output_that_is_closed_early_is_no_error() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_ragicamp");
    for arguments in [
        "run study.yaml --dry-run",
        "schema",
        "man",
        "completions bash",
    ] {
        let script = format!("'{program}' {arguments} | true; echo ${{PIPESTATUS[0]}}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(place.dir.path());
        let done = done(&mut command);
        assert!(
            ["0\n", "141\n"].contains(&done.out.as_str()),
            "{arguments}: {done:#?}"
        );
        assert_eq!(done.err, "", "{arguments}");
    }
}
