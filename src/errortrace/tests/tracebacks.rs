use super::super::{Link, Traceback, read};

fn traceback(log: &str) -> Traceback {
    read(log.as_bytes()).traceback.expect("a traceback")
}

fn places(traceback: &Traceback) -> Vec<(String, Option<u64>, Option<String>)> {
    traceback
        .last()
        .unwrap()
        .frames
        .iter()
        .map(|frame| (frame.file.clone(), frame.line, frame.function.clone()))
        .collect()
}

#[test]
fn frames_keep_code_markers_and_repetitions() {
    let found = traceback(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f(\n    ~^\n      1,\n    )\n  File \"a.py\", line 3, in f\n    return f(n)\n  [Previous line repeated 1997 more times]\nRecursionError: maximum recursion depth exceeded\n",
    );
    let frames = &found.exceptions[0].frames;
    assert_eq!(frames[0].code.as_deref(), Some("f(\n1,\n)"));
    assert_eq!(frames[0].marker.as_deref(), Some("    ~^"));
    assert_eq!(frames[1].repeated, 1997);
}

#[test]
fn a_chain_is_kept_with_its_links_and_the_root_is_first() {
    let report = read(
        b"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2, in g\nOSError: second\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in h\nRuntimeError: third\n",
    );
    let found = report.traceback.unwrap();
    let links: Vec<Option<Link>> = found.exceptions.iter().map(|raised| raised.link).collect();
    assert_eq!(links, [None, Some(Link::Context), Some(Link::Cause)]);
    assert_eq!(found.last().unwrap().message, "third");
    assert_eq!(found.first().unwrap().message, "'a'");
    assert_eq!(report.groups.len(), 1);
}

#[test]
fn exception_groups_become_trees() {
    let report = read(
        b"  + Exception Group Traceback (most recent call last):\n  |   File \"h.py\", line 21, in <module>\n  |     t()\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File \"h.py\", line 17, in t\n    | ValueError: one\n    | a note\n    +---------------- 2 ----------------\n    | ExceptionGroup: inner (1 sub-exception)\n    +-+---------------- 1 ----------------\n      | TypeError: deep\n      +------------------------------------\n",
    );
    assert_eq!(report.groups[0].count, 1);
    let found = report.traceback.unwrap();
    let group = found.last().unwrap();
    assert_eq!(group.exception_type.as_deref(), Some("ExceptionGroup"));
    assert_eq!(group.children.len(), 2);
    assert_eq!(group.children[0].exceptions[0].message, "one");
    assert_eq!(group.children[0].exceptions[0].notes, ["a note"]);
    assert_eq!(
        group.children[1].exceptions[0].children[0].exceptions[0].message,
        "deep"
    );
}

#[test]
fn two_ranks_in_one_stream_are_taken_apart() {
    let report = read(
        b"Traceback (most recent call last):\nTraceback (most recent call last):\n  File \"t.py\", line 196, in <module>\n  File \"t.py\", line 196, in <module>\n        main()main()\n\nNameErrorNameError: : name 'json' is not definedname 'json' is not defined\n\n",
    );
    let last = report.traceback.as_ref().unwrap().last().unwrap();
    assert_eq!(last.exception_type.as_deref(), Some("NameError"));
    assert_eq!(last.message, "name 'json' is not defined");
    assert_eq!(report.groups[0].count, 2);
}

#[test]
fn a_frame_inside_of_a_line_is_another_writers_only_where_there_are_two() {
    let header = "Traceback (most recent call last):\n";
    let start = "  File \"t.py\", line 1, in <module>\n";
    let mixed = "    main()main()  File \"t.py\", line 2, in main\n";
    for (writers, frames) in [(1, 1), (2, 2)] {
        let report = read(
            format!(
                "{}{}{mixed}ValueError: bad\n",
                header.repeat(writers),
                start.repeat(writers)
            )
            .as_bytes(),
        );
        let found = report.traceback.unwrap();
        assert_eq!(places(&found).len(), frames, "{writers} writers");
        assert_eq!(report.groups[0].count, writers as u64);
    }
}

#[test]
fn a_traceback_that_is_indented_may_end_with_or_without_the_indentation() {
    for indent in ["", "    "] {
        let log = format!(
            "    Traceback (most recent call last):\n      File \"a.py\", line 1, in f\n        g()\n{indent}ValueError: bad\n"
        );
        let found = traceback(&log);
        let last = found.last().unwrap();
        assert_eq!(
            last.exception_type.as_deref(),
            Some("ValueError"),
            "{indent:?}"
        );
        assert_eq!(last.frames[0].code.as_deref(), Some("g()"), "{indent:?}");
    }
}

#[test]
fn what_a_second_writer_repeats_is_counted_once() {
    for (repeated, notes) in [
        ("ValueError: bad", 0),
        (": bad", 0),
        ("    bad", 0),
        ("and more", 1),
    ] {
        let twice = |line: &str| format!("{line}\n{line}\n");
        let log = format!(
            "{}{}ValueError: bad\n{repeated}\n",
            twice("Traceback (most recent call last):"),
            twice("  File \"t.py\", line 1, in <module>")
        );
        let report = read(log.as_bytes());
        assert_eq!(report.groups[0].count, 2, "{repeated}");
        let last = report.traceback.as_ref().unwrap().last().unwrap();
        assert_eq!(last.notes.len(), notes, "{repeated}");
    }
}

#[test]
fn behind_a_blank_line_only_what_says_nothing_of_its_own_goes_on() {
    let head = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n";
    let inner =
        "Traceback (most recent call last):\n  File \"w.py\", line 5, in work\nKeyError: 'x'\n";
    for (raised, exceptions) in [
        (
            "ProcessRaisedException: \n\n-- Process 1 terminated with the following error:",
            2,
        ),
        ("RemoteError: \n", 1),
        ("ValueError: in a worker:", 2),
        ("ValueError: bad\n\nplain:", 1),
        ("ValueError: bad", 1),
        ("multiprocessing.pool.RemoteTraceback: ", 2),
    ] {
        let report = read(format!("{head}{raised}\n{inner}").as_bytes());
        let first = report.groups[0].traceback().unwrap();
        assert_eq!(first.exceptions.len(), exceptions, "{raised}");
    }
}

#[test]
fn ignored_exceptions_and_teardown_are_not_the_failure() {
    let report = read(
        b"Traceback (most recent call last):\n  File \"e.py\", line 3, in main\nTypeError: expected str\nException ignored in: <function D.__del__ at 0x7ff2>\nTraceback (most recent call last):\n  File \"c.py\", line 62, in __del__\nAttributeError: imgs\n",
    );
    let last = report.traceback.as_ref().unwrap().last().unwrap();
    assert_eq!(last.exception_type.as_deref(), Some("TypeError"));
}

#[test]
fn a_launchers_report_leads_to_what_failed_first() {
    let report = read(
        b"python: can't open file '/x/train.py': [Errno 2] No such file or directory\nTraceback (most recent call last):\n  File \"/bin/torchrun\", line 8, in <module>\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\ntrain.py FAILED\n",
    );
    let root = report.root_cause.as_ref().unwrap();
    assert!(root.message.starts_with("python: can't open file"));
    assert_eq!(report.groups[0].lines, [1]);
    assert_eq!(report.analysis.unwrap().subtype, "missing_file");
}

#[test]
fn the_table_of_torchelastic_names_the_first_failure() {
    let report = read(
        b"Traceback (most recent call last):\n  File \"/bin/torchrun\", line 8, in <module>\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n======================================================\nserver FAILED\n------------------------------------------------------\nFailures:\n[1]:\n  time      : 2026-06-23_21:26:20\n  rank      : 0 (local_rank: 0)\n  exitcode  : -15 (pid: 1133)  (SIGTERM)\n  traceback : Signal 15 (SIGTERM) received by PID 1133\n------------------------------------------------------\nRoot Cause (first observed failure):\n[0]:\n  time      : 2026-06-23_21:26:19\n  rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 1134)\n  traceback : Traceback (most recent call last):\n    File \"t.py\", line 3, in f\n      g()\n  KeyError: 'labels'\n  \n======================================================\n",
    );
    let root = report.root_cause.unwrap();
    assert_eq!(root.exception_type.as_deref(), Some("KeyError"));
    assert_eq!(root.message, "'labels'");
    assert_eq!(
        report.groups[0].first_seen.unwrap().to_string(),
        "2026-06-23T21:26:19Z"
    );
}

#[test]
fn a_panic_has_its_place_and_its_backtrace() {
    let found = traceback(
        "thread 'main' panicked at src/main.rs:4:5:\nno model\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/9fc/library/std/src/panicking.rs:665:5\n   1: app::main\n             at ./src/main.rs:4:5\nnote: run with more\n",
    );
    let last = found.last().unwrap();
    assert_eq!(
        (last.exception_type.as_deref(), last.message.as_str()),
        (Some("panic"), "no model")
    );
    assert_eq!(last.frames.last().unwrap().file, "src/main.rs");
}

#[test]
fn frames_of_native_code_name_their_function_and_file() {
    let place = |file: &str, line: Option<u64>, function: &str| {
        (file.to_owned(), line, Some(function.to_owned()))
    };
    let found = traceback(
        "terminate called after throwing an instance of 'c10::Error'\n  what():  no model\nframe #0: c10::fail(int) + 0x96 (0x7f01 in /x/libc10.so)\nframe #1: main (0x7f02 in python)\n",
    );
    assert_eq!(
        places(&found),
        [
            place("python", None, "main"),
            place("/x/libc10.so", None, "c10::fail(int)")
        ]
    );
    let found = traceback(
        "thread 'main' panicked at a.rs:4:5:\nno model\nstack backtrace:\n   0: app::load\n             at a.rs:4:5\n   1: app::main\n             at b.rs:7:1\n",
    );
    assert_eq!(
        places(&found),
        [
            place("b.rs", Some(7), "app::main"),
            place("a.rs", Some(4), "app::load")
        ]
    );
}

#[test]
fn a_panic_without_a_backtrace_has_its_place() {
    for log in [
        "thread 'main' panicked at src/main.rs:4:5:\nno model\n",
        "thread 'main' panicked at 'no model', src/main.rs:4:5\n",
    ] {
        let found = traceback(log);
        assert_eq!(found.last().unwrap().message, "no model", "{log}");
        assert_eq!(
            places(&found),
            [("src/main.rs".to_owned(), Some(4), None)],
            "{log}"
        );
    }
}

#[test]
fn causes_below_an_error_are_its_chain() {
    let report = read(b"Error: failed to load study\n\nCaused by:\n    0: model hf:a/b\n    1: No such file or directory (os error 2)\n");
    assert_eq!(report.analysis.as_ref().unwrap().subtype, "missing_file");
    let chain = report.traceback.unwrap();
    let links: Vec<Option<Link>> = chain.exceptions.iter().map(|raised| raised.link).collect();
    assert_eq!(links, [None, Some(Link::Cause), Some(Link::Cause)]);
}

#[test]
fn a_panic_keeps_what_is_indented_and_leaves_the_rest() {
    let notes = |after: &str| {
        let log = format!("thread 'main' panicked at src/main.rs:4:5:\nassertion failed\n{after}");
        traceback(&log).last().unwrap().notes.clone()
    };
    assert_eq!(notes("  left: 1\n right: 2\n"), ["  left: 1", " right: 2"]);
    assert_eq!(notes("\tleft: 1\nright: 2\n"), ["\tleft: 1"]);
    assert!(notes("plain\n  left: 1\n").is_empty());
    assert!(notes("\n  left: 1\n").is_empty());
}

#[test]
fn ipython_and_rich_frames_are_read() {
    let found = traceback(
        "\x1b[1;31mOutOfMemoryError\x1b[0m                          Traceback (most recent call last)\nCell \x1b[1;32mIn[1], line 7\x1b[0m\n      4 a\n----> 7 pipeline = x(\n\nFile \x1b[1;32m~/t/base.py:283\x1b[0m, in \x1b[0;36minfer\x1b[1;34m(model)\x1b[0m\n--> 283 model = y\n\n\x1b[1;31mOutOfMemoryError\x1b[0m: CUDA out of memory.\n",
    );
    assert_eq!(
        places(&found),
        [
            ("Cell In[1]".to_owned(), Some(7), None),
            (
                "~/t/base.py".to_owned(),
                Some(283),
                Some("infer".to_owned())
            )
        ]
    );
    let found = traceback(
        "╭──────── Traceback (most recent call last) ────────╮\n│ /home/u/a.py:55 in <module>                        │\n│                                                    │\n│ ❱ 55 f(x)                                          │\n│ /home/u/very/long/pxla.py:761 in                   │\n│ xla_pmap_impl_lazy                                 │\n╰────────────────────────────────────────────────────╯\nValueError: bad\n",
    );
    assert_eq!(
        found.last().unwrap().exception_type.as_deref(),
        Some("ValueError")
    );
    assert_eq!(places(&found)[1].2.as_deref(), Some("xla_pmap_impl_lazy"));
}

#[test]
fn faulthandler_shows_the_innermost_frame_last() {
    let found = traceback(
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  File \"a.py\", line 4 in kernel\n  File \"a.py\", line 5 in <module>\nSegmentation fault (core dumped)\n",
    );
    assert_eq!(places(&found)[1].2.as_deref(), Some("kernel"));
}

#[test]
fn faulthandler_shows_the_thread_that_crashed_and_not_those_that_wait() {
    for opening in [
        "Fatal Python error: Segmentation fault",
        "Windows fatal exception: access violation",
    ] {
        let log = format!(
            "{opening}\n\nThread 0x01 (most recent call first):\n  File \"threading.py\", line 2 in wait\n\nCurrent thread 0x02 (most recent call first):\n  File \"a.py\", line 4 in kernel\n  File \"a.py\", line 5 in <module>\n\nThread 0x03 (most recent call first):\n  File \"threading.py\", line 9 in wait\n"
        );
        let report = read(log.as_bytes());
        assert_eq!(report.root_cause.unwrap().message, opening);
        let found = report.traceback.unwrap();
        let names: Vec<Option<String>> = places(&found).into_iter().map(|place| place.2).collect();
        assert_eq!(
            names,
            [Some("<module>".to_owned()), Some("kernel".to_owned())]
        );
    }
}

#[test]
fn what_faulthandler_prints_between_its_threads_does_not_end_it() {
    for between in [
        "",
        "Python runtime state: initialized",
        "Extension modules: numpy.core (total: 1)",
        "  ...",
        "  <no Python frame>",
        "Current thread's C stack trace (most recent call first):",
        "  Binary file \"/usr/bin/python\", at f+0x1 [0x7f]",
    ] {
        let found = traceback(&format!(
            "Fatal Python error: Aborted\n{between}\nCurrent thread 0x02 (most recent call first):\n  File \"a.py\", line 4 in kernel\n"
        ));
        assert_eq!(places(&found).len(), 1, "{between}");
    }
    let found = traceback(
        "Fatal Python error: Aborted\nplain\nCurrent thread 0x02 (most recent call first):\n  File \"a.py\", line 4 in kernel\n",
    );
    assert!(places(&found).is_empty());
}

#[test]
fn the_message_of_a_native_exception_ends_where_something_else_begins() {
    for (next, notes) in [
        ("more of it", 1),
        ("Aborted (core dumped)", 0),
        ("\nplain", 0),
        ("ValueError: of another", 0),
        ("Traceback (most recent call last):", 0),
    ] {
        let report = read(
            format!("terminate called after throwing an instance of 'std::bad'\n  what():  no model\n{next}\n")
                .as_bytes(),
        );
        let crash = report
            .groups
            .iter()
            .find(|group| group.message == "std::bad: no model")
            .unwrap();
        let last = crash.traceback().unwrap().last().unwrap();
        assert_eq!(last.notes.len(), notes, "{next}");
    }
}

#[test]
fn a_few_blank_lines_do_not_end_a_crash() {
    let native = "terminate called after throwing an instance of 'std::bad'\n  what():  no model\n";
    let panic = "thread 'main' panicked at src/main.rs:4:5:\nno model\n";
    for (log, after, most) in [
        (native, "frame #0: f + 0x1 (0x7f in x.so)\n", 2),
        (panic, "stack backtrace:\n   0: f\n", 2),
        ("Error: no model\n\nCaused by:\n", "    0: because\n", 1),
    ] {
        let size = |blanks: usize| {
            let found = traceback(&format!("{log}{}{after}", "\n".repeat(blanks)));
            let frames: usize = found
                .exceptions
                .iter()
                .map(|raised| raised.frames.len())
                .sum();
            found.exceptions.len() + frames
        };
        assert_eq!(size(most), size(0), "{log}");
        assert_eq!(size(most + 1), size(0) - 1, "{log}");
    }
}

#[test]
fn an_empty_first_line_gives_its_place_to_the_first_that_says_something() {
    let found = traceback(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nImportError: \nThe tokenizer needs a library that is missing.\nInstall it first.\n",
    );
    let last = found.last().unwrap();
    assert_eq!(
        last.message,
        "The tokenizer needs a library that is missing."
    );
    assert_eq!(last.notes, ["Install it first."]);
    let report = read(b"ValueError:\n  nothing fits\n");
    assert_eq!(report.root_cause.unwrap().message, "nothing fits");
}
