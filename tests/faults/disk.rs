//! Disks that are full or read-only.

use crate::bench::{Bench, Options, text};
use std::{
    fs,
    process::{Command, Output, Stdio},
};

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

/// Runs `script` as root of its own mounts, with `$DIR` the bench's directory
/// and `$RAGICAMP` the program; `None`, said aloud, where the kernel forbids it.
fn with_own_mounts(bench: &Bench, script: &str) -> Option<Output> {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(bench.dir.path())
        .env("DIR", bench.dir.path())
        .env("RAGICAMP", env!("CARGO_BIN_EXE_ragicamp"))
        .env("XDG_CACHE_HOME", bench.path("cache"))
        .env_remove("FAILPOINTS")
        .stdin(Stdio::null());
    let allowed = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs tmpfs /mnt")
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this machine lets nobody mount a tmpfs");
        return None;
    }
    Some(command.output().unwrap())
}

#[test]
fn a_real_disk_that_fills_up_stops_cleanly_and_what_is_kept_resumes_elsewhere() {
    let options = Options::default();
    let clean = Bench::clean(&options);
    // From no room at all to nearly enough: the disk is full at another place
    // each time.
    let mut full = 0;
    for kilobytes in [16, 48, 64, 96, 128, 192] {
        let bench = Bench::new(&options);
        let script = format!(
            "mkdir -p outputs full kept && mount -t tmpfs -o size={kilobytes}k tmpfs full \
             && \"$RAGICAMP\" run study.yaml --output full/faults --cache \"$DIR/cache\"; \
             code=$?; cp -a full/. kept/; exit $code"
        );
        let Some(output) = with_own_mounts(&bench, &script) else {
            return;
        };
        let said = text(&output);
        assert!(!said.contains("panicked"), "{kilobytes} kB: {said}");
        match output.status.code() {
            Some(0) => {}
            Some(4) => {
                assert!(said.contains("No space left"), "{kilobytes} kB: {said}");
                full += 1;
            }
            code => panic!("{kilobytes} kB: exit {code:?}: {said}"),
        }
        // What was kept goes to a larger disk and is gone on with.
        if bench.path("kept/faults").is_dir() {
            fs::rename(bench.path("kept/faults"), bench.study()).unwrap();
        }
        let before = bench.journal_answers();
        let again = bench.run("");
        assert_eq!(
            again.status.code(),
            Some(0),
            "{kilobytes} kB: {}",
            text(&again)
        );
        assert_eq!(bench.answers(), clean, "{kilobytes} kB");
        let after = bench.journal_answers();
        assert!(
            before.keys().all(|answer| after[answer] == 1),
            "{kilobytes} kB: nothing is answered twice"
        );
    }
    assert!(full >= 3, "the disk was full {full} times");
}

#[test]
fn a_read_only_file_system_is_one_sentence_and_exit_code_4() {
    let bench = Bench::new(&Options::default());
    let script =
        "mkdir -p outputs && mount -t tmpfs -o ro tmpfs outputs && \"$RAGICAMP\" run study.yaml";
    let Some(output) = with_own_mounts(&bench, script) else {
        return;
    };
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains("outputs"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
