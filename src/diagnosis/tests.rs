#![allow(clippy::unwrap_used)]

use super::*;
use crate::errortrace::Context;
use std::{
    fs::{self, OpenOptions},
    io::Write,
};

const FAILURE: &str = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nValueError: no number 12\n";

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_log_that_grows_is_read_on_and_says_what_a_fresh_look_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.log");
    let mut log = GrowingLog::new(&path);
    let nothing = log.report(&Context::default()).unwrap();
    assert_eq!((nothing.lines, log.bytes_read()), (0, 0));

    fs::write(&path, "INFO all is well\n").unwrap();
    assert!(!log.report(&Context::default()).unwrap().has_failed());
    // Cut in the middle of a line, and of the traceback.
    for part in [&FAILURE[..50], &FAILURE[50..71], &FAILURE[71..]] {
        append(&path, part);
        log.report(&Context::default()).unwrap();
    }
    append(&path, FAILURE);
    let grown = log.report(&Context::default()).unwrap();
    let fresh = GrowingLog::new(&path).report(&Context::default()).unwrap();
    assert_eq!(grown.details(), fresh.details());
    assert_eq!(grown.groups[0].count, 2);
    assert_eq!(
        log.bytes_read(),
        fs::metadata(&path).unwrap().len(),
        "nothing was read twice"
    );
}

#[test]
fn a_log_that_was_replaced_or_cut_off_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job.log");
    fs::write(&path, FAILURE).unwrap();
    let mut log = GrowingLog::new(&path);
    assert!(log.report(&Context::default()).unwrap().has_failed());
    // In place, longer than before.
    fs::write(&path, "INFO a new run\n".repeat(40)).unwrap();
    let report = log.report(&Context::default()).unwrap();
    assert!(!report.has_failed());
    assert_eq!(report.lines, 40);
    // Another file under the name.
    let other = dir.path().join("other");
    fs::write(&other, FAILURE.repeat(20)).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(log.report(&Context::default()).unwrap().has_failed());
    // Shorter.
    fs::write(&path, "INFO\n").unwrap();
    assert_eq!(log.report(&Context::default()).unwrap().lines, 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(log.report(&Context::default()).unwrap().lines, 0);
}
