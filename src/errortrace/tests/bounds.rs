use super::super::{Report, read};
use std::fmt::Write;

const HEADER: &str = "Traceback (most recent call last):\n";
const FRAME: &str = "  File \"a.py\", line 1, in f\n";
const OOM: &str = "CUDA out of memory. Tried to allocate 2.00 GiB";

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut log, number| {
        let _ = writeln!(log, "{}", line(number));
        log
    })
}

fn of(log: &str) -> Report {
    read(log.as_bytes())
}

fn subtype(log: &str) -> String {
    of(log).analysis.unwrap().subtype
}

#[test]
fn of_a_long_message_of_a_crash_the_first_forty_lines_are_kept() {
    for opening in [
        "thread 'main' panicked at src/main.rs:4:5:\nno model\n",
        "terminate called after throwing an instance of 'std::bad'\n  what():  no model\n",
    ] {
        for (written, kept) in [(0, 0), (3, 3), (40, 40), (45, 40)] {
            let log = opening.to_owned() + &numbered(written, |number| format!("  row {number}"));
            let traceback = of(&log).traceback.unwrap();
            let last = traceback.last().unwrap();
            assert_eq!(last.message, "no model", "{opening}");
            assert_eq!(last.notes.len(), kept, "{written} of {opening}");
            assert_eq!(
                last.notes.first().is_some_and(|note| note == "  row 0"),
                kept > 0
            );
        }
    }
}

#[test]
fn of_a_deep_crash_two_hundred_frames_and_causes_are_kept() {
    let faulthandler = format!(
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x01 (most recent call first):\n{}",
        numbered(250, |line| format!(
            "  File \"a.py\", line {} in f",
            line + 1
        ))
    );
    let panic = format!(
        "thread 'main' panicked at src/main.rs:4:5:\nno model\nstack backtrace:\n{}",
        numbered(250, |line| format!("  {line}: f{line}"))
    );
    let native = format!(
        "terminate called after throwing an instance of 'std::bad'\n  what():  no model\n{}",
        numbered(250, |line| format!(
            "frame #{line}: f{line} + 0x1 (0x7f in x.so)"
        ))
    );
    // A panic's own place is known beside its backtrace.
    for (log, kept) in [(faulthandler, 200), (panic, 201), (native, 200)] {
        let traceback = of(&log).traceback.unwrap();
        assert_eq!(traceback.last().unwrap().frames.len(), kept, "{log:.60}");
    }
    let chain = format!(
        "Error: no model\n\nCaused by:\n{}",
        numbered(250, |cause| format!("    {cause}: cause {cause}"))
    );
    let traceback = of(&chain).traceback.unwrap();
    let said: Vec<&str> = traceback
        .exceptions
        .iter()
        .map(|raised| raised.message.as_str())
        .collect();
    assert_eq!(said.len(), 201);
    assert_eq!(
        (said[0], said[199], said[200]),
        ("cause 249", "cause 0", "no model")
    );
    assert!(!said.contains(&"cause 120"));
}

#[test]
fn a_record_is_understood_by_its_first_three_thousand_bytes() {
    let locked = "the database is locked";
    let detailed =
        |filler: usize| format!("ERROR: it failed\n  {}\n  {locked}\n", "x".repeat(filler));
    // Blanks in front of a line and the breaks between lines count.
    let most = 3000 - "it failed\n".len() - 2 - "\n".len() - 2 - locked.len();
    assert_eq!(subtype(&detailed(10)), "database_locked");
    assert_eq!(subtype(&detailed(most)), "database_locked");
    assert_eq!(subtype(&detailed(most + 1)), "unknown");
    let in_one_line = |filler: &str| format!("ERROR: it failed {filler} {OOM}\n");
    assert_eq!(subtype(&in_one_line("x")), "oom_gpu");
    assert_eq!(subtype(&in_one_line(&"x".repeat(3000))), "unknown");
    assert_eq!(subtype(&in_one_line(&"é".repeat(1500))), "unknown");
    assert_eq!(
        subtype(&in_one_line(&format!("x{}", "é".repeat(1500)))),
        "unknown"
    );
}

#[test]
fn the_end_of_an_overlong_line_is_no_line_of_what_is_open() {
    let code = format!("    {}KeyError: 'cut'\n", "x".repeat(16 * 1024 - 4));
    let report = of(&format!("{HEADER}{FRAME}{code}ValueError: real\n"));
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].message, "ValueError: real");
}

#[test]
fn the_end_of_an_overlong_line_is_read_while_nothing_is_open() {
    let line = format!("exit {} {OOM}\n", "a".repeat(20_000));
    let report = of(&line);
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].lines, [1]);
    // What has been open for too long is not any more.
    let stale = format!("[rank1]: {HEADER}[rank1]: {FRAME}{}", "step\n".repeat(3100));
    let report = of(&format!("{stale}{line}"));
    let last: Vec<u64> = report.groups.iter().map(|group| group.lines[0]).collect();
    assert_eq!(last, [1, 3103]);
}

#[test]
fn a_traceback_waits_for_its_end_but_not_for_ever() {
    let groups = |before: usize, between: usize| {
        let step = |count| "step\n".repeat(count);
        of(&format!(
            "{}[rank1]: {HEADER}[rank1]: {FRAME}{}[rank1]: ValueError: late\n",
            step(before),
            step(between)
        ))
        .groups
        .len()
    };
    assert_eq!(groups(0, 10), 1);
    assert_eq!(groups(0, 2900), 1);
    assert_eq!(groups(0, 3100), 2);
    // Looked at when line 3072 is read, three thousand lines are not too many.
    assert_eq!(groups(70, 3020), 1);
    assert_eq!(groups(69, 3020), 2);
}

#[test]
fn a_finished_traceback_waits_three_hundred_lines_for_the_next_of_its_chain() {
    for (between, chained) in [
        (0, true),
        (10, true),
        (299, true),
        (300, false),
        (600, false),
    ] {
        let traceback = of(&format!(
            "{HEADER}{FRAME}ValueError: one\n\n{}During handling of the above exception, another exception occurred:\n\n{HEADER}{FRAME}KeyError: 'two'\n",
            "step\n".repeat(between)
        ))
        .traceback
        .unwrap();
        assert_eq!(traceback.exceptions.len() == 2, chained, "{between} lines");
    }
}
