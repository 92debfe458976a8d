//! The texts that teach.

use super::place::{Place, shipped};
use std::fs;

#[test]
fn help_teaches() {
    let place = Place::new();
    insta::assert_snapshot!(place.ok(&["--help"]).out);
}

#[test]
fn every_subcommand_helps_and_those_that_are_typed_daily_show_examples() {
    let place = Place::new();
    for command in [
        "run",
        "resume",
        "submit",
        "status",
        "cancel",
        "health",
        "show",
        "verify",
        "repro",
        "compare",
        "metrics",
        "evaluate",
        "report",
        "export",
        "fetch",
        "index",
        "cache",
        "generate",
        "doctor",
        "schema",
        "completions",
        "man",
    ] {
        let help = place.ok(&[command, "--help"]).out;
        assert!(help.contains("Usage: ragicamp"), "{help}");
        let is_plain = ["fetch", "schema", "completions", "man"].contains(&command);
        if !is_plain {
            assert!(help.contains("Examples:\n  ragicamp "), "{help}");
        }
    }
    let nothing = place.exits(2, &[]);
    assert!(
        nothing.err.contains("Usage: ragicamp <COMMAND>"),
        "{}",
        nothing.err
    );
    let typo = place.exits(2, &["runn"]);
    assert!(typo.err.contains("'run'"), "{}", typo.err);
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]).out;
        assert!(
            script.contains("ragicamp") && script.contains("dry-run"),
            "{shell}"
        );
    }
    let page = place.ok(&["man"]).out;
    assert!(page.contains(".TH ragicamp"), "{page}");
    assert!(page.contains("Exit codes"), "{page}");
}

#[test]
fn the_schema_is_the_file_in_the_repository() {
    let place = Place::new();
    let printed = place.ok(&["schema"]).out;
    let kept = fs::read_to_string(shipped("conf/schema/study.schema.json")).unwrap();
    assert!(
        printed == kept,
        "conf/schema/study.schema.json is old: `ragicamp schema > conf/schema/study.schema.json`"
    );
}
