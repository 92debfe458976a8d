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

#[test]
fn a_python_traceback_keeps_both_ends_of_its_frames() {
    let frames = numbered(250, |line| {
        format!("  File \"a.py\", line {}, in f", line + 1)
    });
    let report = of(&format!("{HEADER}{frames}ValueError: deep\n"));
    let traceback = report.traceback.unwrap();
    let last = traceback.last().unwrap();
    let lines: Vec<u64> = last.frames.iter().filter_map(|frame| frame.line).collect();
    assert_eq!((lines.len(), last.frames_dropped), (200, 50));
    assert_eq!(
        (lines[0], lines[99], lines[100], lines[199]),
        (1, 100, 151, 250)
    );
}

#[test]
fn the_text_of_a_traceback_is_kept_as_it_stood_up_to_its_bound() {
    let log = format!("{HEADER}{FRAME}ValueError: x\n");
    assert_eq!(of(&log).raw_traceback, Some(log));
    let frame = format!("  File \"{}.py\", line 1, in f\n", "x".repeat(1000));
    let log = format!("{HEADER}{}ValueError: x\n", frame.repeat(50));
    let raw = of(&log).raw_traceback.unwrap();
    assert!(raw.len() <= 32 * 1024 + "...\n".len(), "{}", raw.len());
    assert!(raw.len() > 31 * 1024, "{}", raw.len());
    assert_eq!(raw.matches("...\n").count(), 1);
    let panic = format!(
        "thread 'main' panicked at src/main.rs:4:5:\nno model\n{}",
        format!("  {}\n", "x".repeat(1000)).repeat(50)
    );
    let raw = of(&panic).raw_traceback.unwrap();
    assert!((32 * 1024..34 * 1024).contains(&raw.len()), "{}", raw.len());
}

#[test]
fn a_long_dump_below_an_exception_is_passed_over() {
    for (dumped, groups) in [(0, 1), (30, 1), (100, 1), (239, 1), (240, 2)] {
        let dump = numbered(dumped, |row| format!("row {row}"));
        let report = of(&format!("{HEADER}{FRAME}ValueError: x\n{dump}{OOM}\n"));
        assert_eq!(report.groups.len(), groups, "{dumped} rows");
        let notes = report.groups[0]
            .traceback()
            .unwrap()
            .last()
            .unwrap()
            .notes
            .len();
        let said = dumped + usize::from(groups == 1);
        assert_eq!(notes, said.min(40), "{dumped} rows");
    }
}

#[test]
fn foreign_lines_inside_of_a_traceback_are_borne_for_a_while() {
    for (line, most) in [("plain", 15), ("", 2)] {
        for (count, groups) in [(0, 1), (most, 1), (most + 1, 2)] {
            let foreign = format!("{line}\n").repeat(count);
            let report = of(&format!("{HEADER}{FRAME}{foreign}ValueError: end\n"));
            assert_eq!(report.groups.len(), groups, "{count} times {line:?}");
        }
        // A frame shows that it still goes on.
        let foreign = format!("{line}\n").repeat(most);
        let report = of(&format!(
            "{HEADER}{FRAME}{foreign}{FRAME}{foreign}ValueError: end\n"
        ));
        assert_eq!(report.groups.len(), 1, "{line:?}");
    }
    for (count, exceptions) in [(0, 2), (3, 2), (4, 1)] {
        let traceback = of(&format!(
            "{HEADER}{FRAME}ValueError: one\n\nDuring handling of the above exception, another exception occurred:\n\n{}{HEADER}{FRAME}KeyError: 'two'\n",
            "plain\n".repeat(count)
        ))
        .traceback
        .unwrap();
        assert_eq!(traceback.exceptions.len(), exceptions, "{count} lines");
    }
}

#[test]
fn a_second_header_is_another_writer_only_near_the_first() {
    for (frames, groups, count) in [(1, 1, 2), (2, 1, 2), (3, 2, 1)] {
        let before = numbered(frames, |line| {
            format!("  File \"a.py\", line {}, in f", line + 1)
        });
        let report = of(&format!("{HEADER}{before}{HEADER}{FRAME}ValueError: x\n"));
        assert_eq!(report.groups.len(), groups, "{frames} frames");
        assert_eq!(report.groups[0].count, count, "{frames} frames");
    }
}

#[test]
fn of_a_wide_exception_group_thirty_two_members_are_kept() {
    let members = numbered(40, |member| {
        let edge = if member == 0 { "  +-+" } else { "    +" };
        format!(
            "{edge}---------------- {} ----------------\n    | ValueError: {member}",
            member + 1
        )
    });
    let report = of(&format!(
        "  + Exception Group Traceback (most recent call last):\n  |   File \"h.py\", line 21, in f\n  | ExceptionGroup: many (40 sub-exceptions)\n{members}    +------------------------------------\n"
    ));
    let traceback = report.traceback.unwrap();
    let children = &traceback.last().unwrap().children;
    assert_eq!(children.len(), 32);
    assert_eq!(children[31].exceptions[0].message, "31");
}

#[test]
fn a_long_message_is_cut_between_two_characters() {
    for (before, len) in [("", 8192), ("x", 8191)] {
        let report = of(&format!("ERROR: {before}{}\n", "é".repeat(5000)));
        assert_eq!(report.groups[0].message.len(), len + "…".len());
    }
    let report = of(&format!("ERROR: {}\n", "x".repeat(8192)));
    assert_eq!(report.groups[0].message.len(), 8192);
}

#[test]
fn foreign_lines_inside_of_a_drawn_traceback_are_borne_for_a_while() {
    let rich = "╭── Traceback (most recent call last) ──╮\n│ /a/b.py:3 in f                        │\n╰───────────────────────────────────────╯\n";
    let notebook =
        "KeyError                Traceback (most recent call last)\nCell In[1], line 7\n";
    for (drawn, most) in [(rich, 15), (notebook, 30)] {
        for (count, groups) in [(0, 1), (1, 1), (most, 1), (most + 1, 2)] {
            let foreign = "plain\n".repeat(count);
            let report = of(&format!("{drawn}{foreign}KeyError: 'the end is here'\n"));
            assert_eq!(report.groups.len(), groups, "{count} lines in {drawn}");
        }
    }
}
