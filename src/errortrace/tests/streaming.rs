use super::super::{Extractor, Limits, Report, Status, read};
use std::{fmt::Write, fs, path::Path};

fn summary(report: &Report) -> Vec<(String, u64, Vec<u64>)> {
    report
        .groups
        .iter()
        .map(|group| (group.key.clone(), group.count, group.lines.clone()))
        .collect()
}

const LOG: &str = "[2025-12-10 03:58:20] [runner] [INFO] [Main] start\r\n\
[2025-12-10 03:58:21] [runner] [ERROR] [Main] batch 3 failed\n\
  with a second line\n\
[2025-12-10 03:58:21] [runner] [INFO] [Main] again\n\
\r  5%|x   | 1/2 [00:00<00:01, 2.0it/s]\r 10%|x  | 2/2 [00:00<00:01, 2.0it/s]Traceback (most recent call last):\n\
  File \"x.py\", line 3, in f\n\
    g()\n\
ValueError: bad 17 things\n\
plain\n\
[rank1]: Traceback (most recent call last):\n\
[rank1]:   File \"x.py\", line 3, in f\n\
[rank1]: ValueError: bad 18 things\n\
last line without an end: Killed";

#[test]
fn a_log_reads_the_same_in_pieces_of_any_size() {
    let whole = read(LOG.as_bytes());
    assert_eq!(whole.lines, 13);
    for size in 1..40 {
        let mut extractor = Extractor::new(Limits::default());
        for piece in LOG.as_bytes().chunks(size) {
            extractor.feed(piece);
        }
        let report = extractor.finish();
        assert_eq!(summary(&report), summary(&whole), "pieces of {size}");
        assert_eq!(report.lines, whole.lines, "pieces of {size}");
    }
}

#[test]
fn equal_errors_are_counted_with_their_lines() {
    let report = read(LOG.as_bytes());
    let bad = report
        .groups
        .iter()
        .find(|group| group.message.contains("bad"))
        .unwrap();
    assert_eq!((bad.count, bad.lines.as_slice()), (2, &[5, 10][..]));
    assert_eq!(bad.ranks, [1]);
}

#[test]
fn a_report_in_the_middle_does_not_disturb_what_follows() {
    let mut extractor = Extractor::new(Limits::default());
    for piece in LOG.as_bytes().chunks(100) {
        extractor.feed(piece);
        let _ = extractor.report();
    }
    assert_eq!(summary(&extractor.finish()), summary(&read(LOG.as_bytes())));
}

#[test]
fn what_is_kept_is_bounded_and_what_is_dropped_is_said() {
    let mut extractor = Extractor::new(Limits {
        groups: 10,
        occurrences: 3,
    });
    let letters = |number: usize| -> String {
        format!("{number:05}")
            .bytes()
            .map(|digit| char::from(digit - b'0' + b'a'))
            .collect()
    };
    for number in 0..1000 {
        extractor.feed(format!("ERROR: failure {} happened\n", letters(number)).as_bytes());
    }
    for _ in 0..10 {
        extractor.feed(b"ERROR: failure aaaaa happened\n");
    }
    extractor.feed(b"slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2024-05-18T21:17:22 DUE TO TIME LIMIT ***\n");
    let report = extractor.finish();
    assert!(report.groups.len() < 100);
    assert!(report.dropped > 900);
    // The last word of a log is kept, however full the table was.
    assert_eq!(report.analysis.as_ref().unwrap().subtype, "job_time_limit");
    let first = report
        .groups
        .iter()
        .find(|group| group.message.contains("aaaaa"))
        .unwrap();
    assert_eq!(
        (first.count, first.lines.len(), first.lines_dropped),
        (11, 3, 8)
    );
}

#[test]
fn a_chain_ten_thousand_deep_keeps_its_ends() {
    let mut log = String::new();
    for depth in 0..10_000 {
        let _ = write!(
            log,
            "Traceback (most recent call last):\n  File \"a.py\", line {}, in f\nValueError: level {depth}\n\nDuring handling of the above exception, another exception occurred:\n\n",
            depth + 1
        );
    }
    log.push_str(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'end'\n",
    );
    let report = read(log.as_bytes());
    let traceback = report.traceback.unwrap();
    assert_eq!(traceback.exceptions.first().unwrap().message, "level 0");
    assert_eq!(traceback.last().unwrap().message, "'end'");
    assert_eq!(traceback.exceptions_dropped, 10_001 - 64);
}

#[test]
fn an_endless_line_ends() {
    let mut log = vec![b'x'; 3_000_000];
    log.extend_from_slice(b" ERROR ");
    log.extend(std::iter::repeat_n(b'y', 3_000_000));
    log.extend_from_slice(b"\nValueError: after it\n");
    let report = read(&log);
    assert!(
        report
            .groups
            .iter()
            .any(|group| group.message == "ValueError: after it" && group.lines == [2])
    );
}

#[test]
fn a_json_record_of_an_error_is_one() {
    let log = br#"{"level":"INFO","message":"started"}
{"level":"ERROR","message":"can not write: disk full\nfree some"}
{"level":"ERROR","message":" "}
{"level":"ERROR","message":"ValueError: bad"}
"#;
    let report = read(log);
    let told: Vec<(Option<&str>, &str, &[u64])> = report
        .groups
        .iter()
        .map(|group| {
            let kind = group.exception_type.as_deref();
            (kind, group.message.as_str(), &*group.lines)
        })
        .collect();
    assert_eq!(
        told,
        [
            (None, "can not write: disk full", &[2][..]),
            (Some("ValueError"), "ValueError: bad", &[4][..])
        ]
    );
}

#[test]
fn an_exception_without_a_message_has_none() {
    let report =
        read(b"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError\n");
    let root = report.root_cause.unwrap();
    assert_eq!(root.exception_type.as_deref(), Some("KeyError"));
    assert_eq!(root.message, "");
    assert_eq!(report.groups[0].message, "KeyError");
    assert_eq!(
        report.traceback.unwrap().render(),
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError\n"
    );
}

#[test]
fn hidden_counts_are_added() {
    let report = read(b"(W pid=7) ValueError: step failed now [repeated 7x across cluster]\n(W pid=8) ValueError: step failed now\n");
    assert_eq!(report.groups[0].count, 8);
    let report = read(b"(W pid=7) Traceback (most recent call last):\n(W pid=7)   File \"a.py\", line 1, in f\n(W pid=7) ValueError: step failed now [repeated 7x across cluster]\n");
    assert_eq!(report.groups[0].count, 7);
    let report = read(b"Dec 10 03:58:22 host app[1]: ERROR: disk is slow\nDec 10 03:58:23 host app[1]: last message repeated 4 times\n");
    assert_eq!(report.groups[0].count, 5);
    // Of what is not kept, nothing is counted.
    let report = read(b"ok\nlast message repeated 4 times: not found\nERROR: disk is slow\n");
    assert_eq!(report.groups[0].count, 1);
    // What was counted is over: the end of a long line is read as its own.
    let log = format!(
        "ERROR: disk is slow\nlast message repeated 4 times\nexit {} CUDA out of memory. Tried to allocate 2.00 GiB\n",
        "a".repeat(20_000)
    );
    assert_eq!(read(log.as_bytes()).groups.len(), 2);
}

#[test]
fn what_is_read_so_far_is_counted() {
    let mut extractor = Extractor::new(Limits::default());
    let mut told = Vec::new();
    for piece in ["one\ntwo", " and\nERROR: x\n", "\r\nfour"] {
        extractor.feed(piece.as_bytes());
        told.push((extractor.lines(), extractor.bytes()));
    }
    assert_eq!(told, [(1, 7), (3, 21), (4, 27)]);
    assert_eq!(extractor.finish().lines, 5);
}

#[test]
fn of_a_long_line_only_what_stands_around_the_failure_is_told() {
    let log = format!(
        "{} CUDA out of memory. Tried to allocate 2.00 GiB\n",
        "a".repeat(10_000)
    );
    let report = read(log.as_bytes());
    assert!(report.groups[0].message.len() < 1000);
    assert!(report.groups[0].message.ends_with("2.00 GiB"));
}

#[test]
fn a_record_after_a_finished_traceback_of_the_same_logger_is_its_own() {
    let record = |message: &str| format!("2025-01-01 10:00:00,000 - app - ERROR - {message}\n");
    let traceback =
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad\n";
    for (first, second) in [("app", "app"), ("app", "other")] {
        let log = format!(
            "{}{traceback}{}",
            record("it failed").replace("app", first),
            record("the queue is gone").replace("app", second)
        );
        let report = read(log.as_bytes());
        let told: Vec<&str> = report
            .groups
            .iter()
            .map(|group| group.message.as_str())
            .collect();
        assert_eq!(
            told,
            ["ValueError: bad", "the queue is gone"],
            "{first} {second}"
        );
        let traceback = report.groups[0].traceback().unwrap();
        assert!(traceback.last().unwrap().notes.is_empty());
    }
}

#[test]
fn a_traceback_belongs_to_the_record_of_its_own_level_before_it() {
    for (level, groups) in [("ERROR", 1), ("INFO", 2)] {
        let record = |level: &str, message: &str| {
            format!("2025-01-01 10:00:00,000 - app - {level} - {message}\n")
        };
        let log = record("ERROR", "it failed")
            + &record(level, "Traceback (most recent call last):")
            + &record(level, "  File \"a.py\", line 1, in f")
            + &record(level, "ValueError: bad");
        let report = read(log.as_bytes());
        assert_eq!(report.groups.len(), groups, "{level}");
        assert_eq!(report.root_cause.unwrap().message, "bad", "{level}");
    }
}

#[test]
fn a_traceback_that_another_record_cuts_is_kept_and_one_beside_a_warning_goes_on() {
    let start = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n";
    let record =
        |level: &str| format!("2025-01-01 10:00:00,000 - app - {level} - the queue is slow\n");
    let report = read(format!("{start}{}", record("ERROR")).as_bytes());
    assert_eq!(report.groups.len(), 2);
    assert!(
        report
            .groups
            .iter()
            .any(|group| group.traceback().is_some())
    );
    let log = format!("{start}{}    g()\nValueError: bad\n", record("WARNING"));
    let report = read(log.as_bytes());
    assert_eq!(report.groups.len(), 2);
    let frame = &report.traceback.as_ref().unwrap().last().unwrap().frames[0];
    assert_eq!(frame.code.as_deref(), Some("g()"));
    assert_eq!(report.root_cause.unwrap().message, "bad");
}

#[test]
fn a_failure_that_logger_and_interpreter_print_is_one() {
    let traceback = "Traceback (most recent call last):\n  File \"x.py\", line 3, in f\n    g()\nValueError: only once\n";
    let log = format!("2025-01-01 10:00:00,000 - app - ERROR - it failed\n{traceback}{traceback}");
    let report = read(log.as_bytes());
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].count, 1);
}

#[test]
fn a_log_without_failures_has_no_analysis() {
    let report = read(b"Epoch 1: loss 0.4, error rate 0.1\n0 errors, 0 failed\nINFO no error was found\n[2025-12-10 03:58:22] Ignore import error when loading x: No module named 'y'\n");
    assert!(!report.has_failed());
    assert!(report.groups.is_empty());
}

#[test]
fn what_stands_before_an_error_explains_it_in_small_pieces_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs");
    let Ok(entries) = fs::read_dir(&directory) else {
        eprintln!("skipped: {} is absent", directory.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = fs::read(&path).unwrap();
        let told = |report: &Report| {
            serde_json::to_string(&report.contract("job", Status::Failed, None)).unwrap()
        };
        let whole = told(&read(&log));
        for size in [7, 90] {
            let mut extractor = Extractor::new(Limits::default());
            for piece in log.chunks(size) {
                extractor.feed(piece);
            }
            let pieces = told(&extractor.finish());
            assert_eq!(pieces, whole, "{} in pieces of {size}", path.display());
        }
    }
}
