//! Output for programs and pipes.

use super::place::{EIGHT, FULL, Place, done, objects};
use assert_cmd::Command;
use serde_json::Value;
use std::{fs, process::Stdio};

/// How a call ends whose standard output goes there, and what it says.
fn into(place: &Place, out: impl Into<Stdio>, arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ragicamp"))
        .args(arguments)
        .current_dir(place.path(""))
        .env("HOME", place.path(""))
        .env("XDG_CACHE_HOME", place.path("cache"))
        .stdout(out)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

fn full() -> fs::File {
    fs::File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn json_is_one_object_per_line_and_nothing_else() {
    let place = Place::new();
    let planned = objects(&place.ok(&["run", "study.yaml", "--dry-run", "--json"]).out);
    assert_eq!(planned.len(), 2);
    let valid = objects(&place.ok(&["run", "study.yaml", "--validate", "--json"]).out);
    assert_eq!(valid.len(), 1);
    assert_eq!(
        (&valid[0]["experiments"], &valid[0]["valid"]),
        (&2.into(), &true.into())
    );
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

#[test]
fn every_command_takes_a_closed_output_for_enough() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    for arguments in [
        &["export", "outputs/s"][..],
        &["export", "outputs/s", "--format", "parquet"],
        &["show", &experiment, "--json"],
        &["health", "outputs/s", "--json"],
        &["compare", "outputs/s"],
        &["run", "study.yaml", "--validate"],
        &["run", "study.yaml", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = into(&place, writer, arguments);
        assert_eq!(ended, (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_below_the_output_is_the_environments_fault() {
    let place = Place::ran();
    let experiment = format!("outputs/s/{FULL}");
    for arguments in [
        &["export", "outputs/s"][..],
        &["export", "outputs/s", "--format", "parquet"],
        &["show", &experiment, "--json"],
        &["health", "outputs/s", "--json"],
        &["compare", "outputs/s"],
        &["run", "study.yaml", "--validate"],
        &["report", "outputs/s", "-o", "/dev/full"],
    ] {
        let (code, said) = into(&place, full(), arguments);
        assert_eq!(code, Some(4), "{arguments:?}: {said}");
        assert!(said.contains("No space left"), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[test]
fn a_run_says_once_that_its_events_are_lost_and_goes_on() {
    let place = Place::new();
    let (code, said) = into(&place, full(), &["run", "study.yaml", "--json"]);
    assert_eq!(code, Some(4), "{said}");
    let lost = "standard output takes no more events";
    assert_eq!(said.matches(lost).count(), 1, "{said}");
    for name in [FULL, EIGHT] {
        let results = format!("outputs/s/{name}/results.json");
        assert!(place.path(&results).exists(), "{name}");
    }
}

#[test]
fn an_export_goes_through_links_and_into_pipes_and_replaces_neither() {
    let place = Place::ran();
    let csv = place.ok(&["export", "outputs/s"]).out;
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, place.path(name)).unwrap();
    fs::create_dir(place.path("there")).unwrap();
    place.write("there/old.csv", "old");
    link("there/old.csv", "old.csv");
    link("there/new.csv", "new.csv");
    link("old.csv", "twice.csv");
    for (name, target) in [
        ("old.csv", "there/old.csv"),
        ("new.csv", "there/new.csv"),
        ("twice.csv", "there/old.csv"),
    ] {
        place.write("there/old.csv", "old");
        place.ok(&["export", "outputs/s", "-o", name]);
        assert!(place.path(name).is_symlink(), "{name}");
        assert!(!place.path(target).is_symlink(), "{target}");
        assert_eq!(place.text(target), csv, "{name}");
    }
    let program = env!("CARGO_BIN_EXE_ragicamp");
    let script = format!(
        "set -e; mkfifo fifo; cat fifo > of_fifo & \
         '{program}' export outputs/s -o fifo; wait $!; test -p fifo; \
         '{program}' export outputs/s -o >(cat > of_shell; touch read); \
         until test -e read; do sleep 0.05; done"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(place.path(""));
    let done = done(&mut command);
    assert_eq!(done.code, 0, "{done:#?}");
    assert_eq!(place.text("of_fifo"), csv);
    assert_eq!(place.text("of_shell"), csv);
}
