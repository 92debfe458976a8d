//! Disks that are full or read-only.

use crate::bench::{Bench, Options, text};
use std::fs;

#[test]
fn a_disk_that_is_full_at_any_artifact_stops_cleanly_and_resumes() {
    let options = Options::default();
    let clean = Bench::clean(&options);
    for point in [
        "journal::append",
        "state::write",
        "metadata::write",
        "questions::write",
        "predictions::write",
        "results::write",
        "lease::write",
        "study::write",
        "manifest::write",
    ] {
        for skip in [0, 1, 3] {
            let bench = Bench::new(&options);
            let output = bench.run(&format!("{point}={skip}*off->return(ENOSPC)"));
            let said = text(&output);
            // A point that is reached less often than it skips hurts nobody.
            let code = output.status.code();
            assert!(
                code == Some(4) || (skip > 0 && code == Some(0)),
                "{point} after {skip}: {said}"
            );
            assert!(!said.contains("panicked"), "{point} after {skip}: {said}");
            if code == Some(4) {
                assert!(
                    said.contains("No space left"),
                    "{point} after {skip}: {said}"
                );
            }
            let again = bench.run("");
            assert_eq!(
                again.status.code(),
                Some(0),
                "{point} after {skip}: {}",
                text(&again)
            );
            assert_eq!(bench.answers(), clean, "{point} after {skip}");
            assert!(
                bench.journal_answers().values().all(|&count| count == 1),
                "{point}"
            );
        }
    }
}

#[test]
fn events_and_tables_that_can_not_be_written_cost_only_themselves() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let output = bench.run("events::append=return(ENOSPC)");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.answers(), Bench::clean(&options));
}

#[test]
fn an_error_log_that_can_not_be_written_stops_with_exit_code_4() {
    let bench = Bench::new(&Options::default());
    let output = bench.run("worker::load=return(missing);error_log::write=return(ENOSPC)");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_eq!(bench.resume("").status.code(), Some(0));
}

#[test]
fn an_output_directory_that_can_not_be_made_or_written_is_one_sentence() {
    let bench = Bench::new(&Options::default());
    fs::write(bench.path("outputs"), "a file in the way").unwrap();
    let output = bench.run("");
    let said = text(&output);
    assert!(matches!(output.status.code(), Some(2 | 4)), "{said}");
    assert!(said.contains("outputs"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    let bench = Bench::new(&Options::default());
    let output = bench.run("study::write=return(EROFS)");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("ead-only"), "{}", text(&output));
}
