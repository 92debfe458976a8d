use super::super::{
    exception, frame,
    header::{self, Level},
    json, line, logfmt, progress, timestamp,
};

/// Header as (time, level, module, phase, message).
fn parsed(
    text: &str,
) -> (
    Option<String>,
    Option<Level>,
    Option<String>,
    Option<String>,
    String,
) {
    let header = header::parse(text.as_bytes());
    (
        header.time.map(|time| time.to_string()),
        header.level,
        header.module,
        header.phase,
        text[header.message..].to_owned(),
    )
}

fn full(
    time: &str,
    level: Level,
    module: &str,
    phase: &str,
    message: &str,
) -> (
    Option<String>,
    Option<Level>,
    Option<String>,
    Option<String>,
    String,
) {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    (
        some(time),
        Some(level),
        some(module),
        some(phase),
        message.to_owned(),
    )
}

#[test]
fn every_loggers_header_is_read() {
    use Level::{Calm, Error, Warning};
    let rows = [
        (
            "[2025-12-10 03:58:22] [__main__] [ERROR] [Main] out of memory",
            full(
                "2025-12-10T03:58:22Z",
                Error,
                "__main__",
                "Main",
                "out of memory",
            ),
        ),
        (
            "[2025-12-10 03:58:22] [ragicamp::runner] [ERROR] no phase: here",
            full(
                "2025-12-10T03:58:22Z",
                Error,
                "ragicamp::runner",
                "",
                "no phase: here",
            ),
        ),
        (
            "[2025-12-10 03:58:22] [a.b.c] [WARNING] [Eval] [1, 2] rest",
            full(
                "2025-12-10T03:58:22Z",
                Warning,
                "a.b.c",
                "Eval",
                "[1, 2] rest",
            ),
        ),
        (
            "[2025-07-12 22:03:36,753] [ERROR] [launch.py:321:sigkill_handler] ['x']",
            full(
                "2025-07-12T22:03:36.753Z",
                Error,
                "launch.py:321:sigkill_handler",
                "",
                "['x']",
            ),
        ),
        (
            "ERROR:root:it failed",
            full("", Error, "root", "", "it failed"),
        ),
        (
            "WARNING:torch.distributed.elastic.multiprocessing.api:Sending process 1",
            full(
                "",
                Warning,
                "torch.distributed.elastic.multiprocessing.api",
                "",
                "Sending process 1",
            ),
        ),
        (
            "ERROR:2025-11-19 19:07:43,953:Error extracting action",
            full(
                "2025-11-19T19:07:43.953Z",
                Error,
                "",
                "",
                "Error extracting action",
            ),
        ),
        (
            "2025-11-19 19:07:43,953 - trainer - ERROR - boom: x",
            full("2025-11-19T19:07:43.953Z", Error, "trainer", "", "boom: x"),
        ),
        (
            "2021-09-30 16:03:14 | ERROR    | yolox.core.launch:100 - An error",
            full(
                "2021-09-30T16:03:14Z",
                Error,
                "yolox.core.launch:100",
                "",
                "An error",
            ),
        ),
        (
            "[WARNING|logging.py:328] 2025-12-16 15:51:06,979 >> `use_cache=True`",
            full(
                "2025-12-16T15:51:06.979Z",
                Warning,
                "logging.py:328",
                "",
                "`use_cache=True`",
            ),
        ),
        (
            "ERROR 11-19 19:03:25 [core.py:1132] EngineCore failed",
            full("", Error, "core.py:1132", "", "EngineCore failed"),
        ),
        (
            "E0504 13:29:28.641474 47868354057152 torch/distributed/api.py:826] failed (exitcode: 1)",
            full(
                "",
                Error,
                "torch/distributed/api.py:826",
                "",
                "failed (exitcode: 1)",
            ),
        ),
        (
            "2026-01-06T20:31:53.1Z  WARN sgl::server: Step failed",
            full(
                "2026-01-06T20:31:53.1Z",
                Warning,
                "sgl::server",
                "",
                "Step failed",
            ),
        ),
        (
            "[2024-01-01T00:00:00Z ERROR app::db] no table",
            full("2024-01-01T00:00:00Z", Error, "app::db", "", "no table"),
        ),
        (
            "[E1210 03:58:22.000000000 ProcessGroupNCCL.cpp:607] [Rank 3] Watchdog",
            full(
                "",
                Error,
                "ProcessGroupNCCL.cpp:607",
                "",
                "[Rank 3] Watchdog",
            ),
        ),
        (
            "2025-01-01 10:00:00+02:00 ERROR app: at noon",
            full("2025-01-01T08:00:00Z", Error, "app", "", "at noon"),
        ),
        (
            "2024-01-01 00:00:00.123456: E external/xla/cuda.cc:96] failed call to cuInit",
            full(
                "2024-01-01T00:00:00.123456Z",
                Error,
                "external/xla/cuda.cc:96",
                "",
                "failed call to cuInit",
            ),
        ),
        ("Error: no space", full("", Error, "", "", "no space")),
        ("INFO no error", full("", Calm, "", "", "no error")),
        (
            "slurmstepd: error: Detected 1 oom_kill event",
            full(
                "",
                Error,
                "slurmstepd",
                "",
                "slurmstepd: error: Detected 1 oom_kill event",
            ),
        ),
    ];
    for (text, wanted) in rows {
        assert_eq!(parsed(text), wanted, "{text}");
    }
}

#[test]
fn what_looks_like_a_header_and_is_none_stays_text() {
    for text in [
        "    raise ValueError(\"ERROR: x\")",
        "ValueError: [2025-12-10] bad",
        "[1, 2, 3] are numbers",
        "errors: 0",
        "  File \"x.py\", line 3, in f",
        "torch.OutOfMemoryError: CUDA out of memory",
        "",
        "[",
        "Info about errors",
        "    ERROR: inside of something",
        "[not a name] x",
        "[error in one word",
    ] {
        let header = header::parse(text.as_bytes());
        assert_eq!((header.message, header.level), (0, None), "{text}");
    }
}

#[test]
fn brackets_of_a_header_are_told_from_those_of_a_message() {
    let at = Some("2025-12-10T03:58:22Z".to_owned());
    let none = || (None, None, None, None);
    let rows = [
        (
            "[2025-12-10 03:58:22] [not a name] x",
            (at.clone(), None, None, None),
            "[not a name] x",
        ),
        (
            "[2025-12-10 03:58:22] [123] x",
            (at.clone(), None, None, None),
            "[123] x",
        ),
        (
            "[ERROR 12:00:00 file.py:3] boom",
            (None, Some(Level::Error), None, None),
            "boom",
        ),
        (
            " ERROR: one blank",
            (None, Some(Level::Error), None, None),
            "one blank",
        ),
        ("[ 1234.567890] Out of memory", none(), "Out of memory"),
        (
            "[ 1234.56789] Out of memory",
            none(),
            "[ 1234.56789] Out of memory",
        ),
        ("[x1234.567890] Out", none(), "[x1234.567890] Out"),
        (
            "2025-12-10 03:58:22 ERROR",
            (at.clone(), Some(Level::Error), None, None),
            "",
        ),
        (
            "2025-12-10 03:58:22 error",
            (at.clone(), None, None, None),
            "error",
        ),
    ];
    for (text, wanted, message) in rows {
        let (time, level, module, phase, rest) = parsed(text);
        assert_eq!((time, level, module, phase), wanted, "{text}");
        assert_eq!(rest, message, "{text}");
    }
}

#[test]
fn a_level_and_a_module_are_told_from_words_of_a_message() {
    use Level::{Calm, Error, Warning};
    let rows = [
        (
            "Dec 10 03:58:22 host app[12]: disk is slow",
            None,
            Some("app"),
            "disk is slow",
        ),
        (
            "Dec 10 03:58:22 host app: ERROR: disk",
            Some(Error),
            Some("app"),
            "disk",
        ),
        ("Dec 10 03:58:22 app: disk", None, Some("app"), "disk"),
        ("Dec 10 03:58:22 a b c: disk", None, None, "a b c: disk"),
        (
            "2025-12-10 03:58:22 ERROR name | x",
            Some(Error),
            Some("name"),
            "x",
        ),
        (
            "2025-12-10 03:58:22 ERROR name - x",
            Some(Error),
            Some("name"),
            "x",
        ),
        (
            "2025-12-10 03:58:22 ERROR name] x",
            Some(Error),
            Some("name"),
            "x",
        ),
        (
            "2025-12-10 03:58:22 ERROR 12 - x",
            Some(Error),
            None,
            "12 - x",
        ),
        (
            "2025-12-10 03:58:22 ERROR ValueError: x",
            Some(Error),
            None,
            "ValueError: x",
        ),
        ("2025-12-10 03:58:22 error: x", Some(Error), None, "x"),
        ("2025-12-10 03:58:22 ERRORS: x", None, Some("ERRORS"), "x"),
        (
            "2025-12-10 03:58:22 W x/y.cc:3] z",
            Some(Warning),
            Some("x/y.cc:3"),
            "z",
        ),
        (
            "2025-12-10 03:58:22 I x/y.cc:3] z",
            Some(Calm),
            Some("x/y.cc:3"),
            "z",
        ),
        (
            "2025-12-10 03:58:22 X x/y.cc:3] z",
            None,
            None,
            "X x/y.cc:3] z",
        ),
        ("Error: file: what", Some(Error), None, "file: what"),
        ("ERROR:file:what", Some(Error), Some("file"), "what"),
        ("ERROR(3): what", Some(Error), None, "(3): what"),
        ("ERROR - what", Some(Error), None, "what"),
        ("ERROR", None, None, "ERROR"),
        (
            "W0504 13:29:28.641474 478 a/b.py:82] m",
            Some(Warning),
            Some("a/b.py:82"),
            "m",
        ),
        (
            "I20240101 12:00:00.1 3 a.cc:4]m",
            Some(Calm),
            Some("a.cc:4"),
            "m",
        ),
        (
            "X0504 13:29:28.641474 478 a/b.py:82] m",
            None,
            None,
            "X0504 13:29:28.641474 478 a/b.py:82] m",
        ),
        (
            "E05 13:29:28.641474 478 a/b.py:82] m",
            None,
            None,
            "E05 13:29:28.641474 478 a/b.py:82] m",
        ),
        (
            "srun: error: x",
            Some(Error),
            Some("srun"),
            "srun: error: x",
        ),
        ("srun: errors: x", None, None, "srun: errors: x"),
        ("srun:error: x", None, None, "srun:error: x"),
        ("Srun: error: x", None, None, "Srun: error: x"),
        ("2srun: error: x", None, None, "2srun: error: x"),
        (
            "[W1210 03:58:22.0 a.cpp:607] x",
            Some(Warning),
            Some("a.cpp:607"),
            "x",
        ),
        ("[W a.cpp:607] x", Some(Warning), Some("a.cpp:607"), "x"),
        ("[Wx a.cpp:607] x", None, None, "[Wx a.cpp:607] x"),
        ("[W a.cpp:] x", None, None, "[W a.cpp:] x"),
        ("[W a:607] x", None, None, "[W a:607] x"),
        ("[] x", None, None, "[] x"),
        (
            "[ERROR] [a.b] [two words] x",
            Some(Error),
            Some("a.b"),
            "[two words] x",
        ),
        ("[ERROR] [a.b] [x.y] z", Some(Error), Some("a.b"), "[x.y] z"),
    ];
    let mut wrong = Vec::new();
    for (text, level, module, message) in rows {
        let (_, found, name, _, rest) = parsed(text);
        if (found, name.as_deref(), rest.as_str()) != (level, module, message) {
            wrong.push(format!("{text}: {found:?} {name:?} {rest:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_frame_names_a_place_and_nothing_else() {
    let found = |line: &str| {
        let frame = frame::python(line)?;
        Some((frame.file, frame.line, frame.function))
    };
    let place =
        |function: Option<&str>| Some(("x.py".to_owned(), Some(3), function.map(str::to_owned)));
    assert_eq!(found("  File \"x.py\", line 3, in f"), place(Some("f")));
    assert_eq!(found("> File \"x.py\", line 3 in f \n"), place(Some("f")));
    assert_eq!(found("  File \"x.py\", line 3"), place(None));
    for text in [
        "  File \"x.py\", line 3 and more",
        "  File \"x.py\", line x, in f",
        "  File x.py, line 3, in f",
    ] {
        assert_eq!(found(text), None, "{text}");
    }
    // What there is none of is not written down.
    let mut frame = frame::python("  File \"x.py\", line 3").unwrap();
    let keys = |frame: &frame::Frame| serde_json::to_value(frame).unwrap();
    assert_eq!(keys(&frame).get("repeated"), None);
    frame.repeated = 3;
    assert_eq!(keys(&frame)["repeated"], 3);
}

#[test]
fn a_frame_of_ipython_or_rich_names_a_place_and_nothing_else() {
    let told = |frame: Option<frame::Frame>| {
        let frame = frame?;
        Some((frame.file, frame.line, frame.function))
    };
    let place = |file: &str, line: Option<u64>, function: Option<&str>| {
        Some((file.to_owned(), line, function.map(str::to_owned)))
    };
    for (text, wanted) in [
        ("Cell In[1], line 7", place("Cell In[1]", Some(7), None)),
        (
            "Cell In[12], line 7, in f(x)",
            place("Cell In[12]", Some(7), Some("f")),
        ),
        (
            "Input In [3], in <cell line: 1>()",
            place("Cell In [3]", None, None),
        ),
        (
            "File ~/x.py:906, in f(a, b)",
            place("~/x.py", Some(906), Some("f")),
        ),
        ("File ~/x.py:906", place("~/x.py", Some(906), None)),
        (
            "<ipython-input-3-ab> in <module>",
            place("<ipython-input-3-ab>", None, Some("<module>")),
        ),
        ("/x/y.py in f(a)", place("/x/y.py", None, Some("f"))),
        ("~/y.py in f", place("~/y.py", None, Some("f"))),
        ("x.py in f", None),
        ("/x/y in f", None),
        ("/x y.py in f", None),
        ("<ipython-input-3 ab> in f", None),
        ("what is in it", None),
        ("File x", None),
        ("Cell In[1]", None),
    ] {
        assert_eq!(told(frame::ipython(text)), wanted, "{text}");
    }
    for (text, wanted) in [
        (
            " /x/y.py:55 in <module> ",
            place("/x/y.py", Some(55), Some("<module>")),
        ),
        ("/x/y.py:55 in", place("/x/y.py", Some(55), Some(""))),
        (":5 in f", None),
        ("3x:5 in f", None),
        ("/x/y.py in f", None),
        ("/x/y.py:z in f", None),
        ("/x/y.py:5", None),
    ] {
        assert_eq!(told(frame::rich(text)), wanted, "{text}");
    }
}

#[test]
fn the_exception_that_ends_a_test_is_told_from_other_words() {
    for (line, name) in [
        ("tests/test_x.py:5: AssertionError", Some("AssertionError")),
        ("test_x.py:5: a.b.TypeError", Some("a.b.TypeError")),
        ("test_x.py:5: _OwnError", Some("_OwnError")),
        ("test_x.py:5: Own_Error", Some("Own_Error")),
        ("test_x.py:5: ownError", None),
        ("test_x.py:5: Own-Error", None),
        ("test_x.py:5: Error", None),
        ("test_x.py:5: UserWarning", None),
        ("test_x.py:x: TypeError", None),
        ("test_x.rs:5: TypeError", None),
        ("test_x.py: TypeError", None),
        ("test_x.py:5: Something", None),
    ] {
        assert_eq!(exception::pytest(line).as_deref(), name, "{line}");
    }
}

#[test]
fn an_indentation_behind_a_header_survives() {
    let text = "ERROR 07-01 12:00:30 [core.py:515]   File \"x.py\", line 3, in f";
    assert_eq!(parsed(text).4, "  File \"x.py\", line 3, in f");
    let text = "2024-01-01T00:00:01.1234567Z     import torchaudio";
    assert_eq!(parsed(text).4, "    import torchaudio");
}

#[test]
fn carriers_are_taken_off_and_name_the_stream() {
    let rows: [(&str, Option<u32>, &str); 11] = [
        ("[rank1]:   File", Some(1), "  File"),
        ("[default3]:terminate called", Some(3), "terminate called"),
        ("\x1b[36m(Worker pid=2036800)\x1b[0m ERROR", None, "ERROR"),
        (
            "(EngineCore_0 pid=4242) \x1b[1;36m[rank0]: x\x1b[0m",
            Some(0),
            "x",
        ),
        ("[1,0]<stderr>:Traceback", Some(0), "Traceback"),
        ("3: srun: error", Some(3), "srun: error"),
        ("worker-0: Traceback", None, "Traceback"),
        ("trainer-1  | boom", None, "boom"),
        ("dense-embed  | boom", None, "boom"),
        ("(raylet) A worker died", None, "A worker died"),
        ("[36m(W pid=1)[0m lost escape", None, "lost escape"),
    ];
    for (text, rank, rest) in rows {
        let clean = line::clean(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&clean.text), rest, "{text}");
        assert_eq!(clean.rank, rank, "{text}");
        assert_ne!(clean.stream, 0, "{text}");
    }
    for text in [
        "[0]:",
        "   0: rust_begin_unwind",
        "ValueError: x",
        "(1) first",
        "error    | boom",
        "INFO     | boom",
        "a | b",
        "plain",
    ] {
        assert_eq!(line::clean(text.as_bytes()).stream, 0, "{text}");
    }
}

/// How long a time at the start of `text` is, and its moment.
fn stamp(text: &str) -> Option<(usize, Option<String>)> {
    let found = timestamp::parse(text.as_bytes())?;
    Some((found.len, found.moment.map(|moment| moment.to_string())))
}

#[test]
fn times_are_read_as_loggers_write_them() {
    let rows = [
        ("2025-12-10 03:58:22 x", 19, "2025-12-10T03:58:22Z"),
        ("2025/12/10T03:58:22", 19, "2025-12-10T03:58:22Z"),
        ("2025-12-10_03:58:22", 19, "2025-12-10T03:58:22Z"),
        ("2025-12-10t23:59:60", 19, "2025-12-10T23:59:59Z"),
        ("2025-12-10 03:58:22,7 x", 21, "2025-12-10T03:58:22.7Z"),
        ("2025-12-10 03:58:22. x", 19, "2025-12-10T03:58:22Z"),
        (
            "2025-12-10 03:58:22.123456789",
            29,
            "2025-12-10T03:58:22.123456789Z",
        ),
        (
            "2025-12-10 03:58:22.1234567891234",
            33,
            "2025-12-10T03:58:22.123456789Z",
        ),
        ("2025-12-10T03:58:22Z x", 20, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22 UTC x", 23, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22 GMT", 23, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22UTC", 22, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22+0130", 24, "2025-12-10T02:28:22Z"),
        ("2025-12-10 03:58:22 -01:30", 26, "2025-12-10T05:28:22Z"),
        ("2025-12-10 03:58:22+14:00", 25, "2025-12-09T13:58:22Z"),
        ("2025-12-10 03:58:22+15:00", 19, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22+01:60", 19, "2025-12-10T03:58:22Z"),
        ("2025-12-10 03:58:22 - x", 19, "2025-12-10T03:58:22Z"),
        ("20251210 03:58:22.5 x", 19, "2025-12-10T03:58:22.5Z"),
        (
            "2025-12-10 03:58:22.12345678901234567890 x",
            40,
            "2025-12-10T03:58:22.123456789Z",
        ),
        ("Mon Nov 23 15:06:12 2026", 24, "2026-11-23T15:06:12Z"),
        ("Nov  3 15:06:12 2026 x", 20, "2026-11-03T15:06:12Z"),
        ("Jan 3 15:06:12 1970", 19, "1970-01-03T15:06:12Z"),
        ("Dec 31 15:06:12.25 2199", 23, "2199-12-31T15:06:12.25Z"),
    ];
    for (text, len, moment) in rows {
        assert_eq!(stamp(text), Some((len, Some(moment.to_owned()))), "{text}");
    }
    for (text, len) in [
        ("11-19 19:03:25 x", 14),
        ("11/19 19:03:25.5", 16),
        ("19:03:25,123 x", 12),
        ("Nov 23 15:06:12 host", 15),
        ("Nov 23 15:06:12 1969", 15),
        ("Nov 23 15:06:12 2200", 15),
        ("Tue Nov  3 15:06:12", 19),
        ("2025-13-10 03:58:22", 19),
    ] {
        assert_eq!(stamp(text), Some((len, None)), "{text}");
    }
    for text in [
        "2025-12/10 03:58:22",
        "2025.12.10 03:58:22",
        "2025-12-10 03.58.22",
        "2025-12-10 03:58.22",
        "2025-12-10|03:58:22",
        "2025-12-10 24:00:00",
        "2025-12-10 03:60:00",
        "2025-12-10 03:58:61",
        "20251210T03:58:22",
        "11-19_19:03:25",
        "11.19 19:03:25",
        "1x:03:25",
        "Nov-23 15:06:12",
        "Nov 23-15:06:12",
        "Nov x3 15:06:12",
        "Mon-Nov 23 15:06:12",
        "Foo 23 15:06:12",
        "nov 23 15:06:12",
    ] {
        assert_eq!(stamp(text), None, "{text}");
    }
}

#[test]
fn seconds_since_1970_are_told_from_their_thousandths_by_size() {
    for value in [
        1_765_339_103.5,
        1_765_339_103_500.0,
        1_765_339_103_500_000.0,
        1_765_339_103_500_000_000.0,
    ] {
        assert_eq!(
            timestamp::from_epoch(value).unwrap().to_string(),
            "2025-12-10T03:58:23.5Z",
            "{value}"
        );
    }
    for value in [1e8, 1e11, 1e14, 1e17] {
        assert!(timestamp::from_epoch(value).is_some(), "{value}");
    }
    for value in [0.0, 1.5, 1e20, 9.9e7, -1_765_339_103.0, 1e22, f64::NAN] {
        assert_eq!(timestamp::from_epoch(value), None, "{value}");
    }
}

#[test]
fn a_carrier_goes_and_what_only_looks_like_one_stays() {
    /// Text, rank and count.
    fn told(text: &str) -> (String, Option<u32>, u64) {
        let clean = line::clean(text.as_bytes());
        (
            String::from_utf8_lossy(&clean.text).into_owned(),
            clean.rank,
            clean.count,
        )
    }
    let gone = [
        ("[rank12]: x", "x", Some(12)),
        ("[rank12]:x", "x", Some(12)),
        ("[rank12] x", "x", Some(12)),
        ("[Rank 7] x", "x", Some(7)),
        ("[rank 7]x", "x", Some(7)),
        ("[1,5]<stdout>: x", "x", Some(5)),
        ("[1,5]<stderr>:x", "x", Some(5)),
        ("[3]: x", "x", Some(3)),
        ("[3]:x", "x", Some(3)),
        ("[99999]: x", "x", Some(99_999)),
        ("(f pid=12, ip=10.0.0.1) x", "x", None),
        ("(autoscaler +3s) x", "x", None),
        ("(gcs_server)x", "x", None),
        (" 4: x", "x", Some(4)),
        ("12345: x", "x", Some(12_345)),
        ("node-12: x", "x", None),
        ("web_1 | x", "x", None),
        ("web   | x", "x", None),
        ("a.b-3 | x", "x", None),
    ];
    for (text, rest, rank) in gone {
        assert_eq!(told(text), (rest.to_owned(), rank, 1), "{text}");
    }
    for text in [
        "[100000]: x",
        "[3]: ",
        "[3] x",
        "[1,5] x",
        "[1,x]<stdout>: x",
        "[123456789]: x",
        "[rank]: x",
        "[rank123456789]: x",
        "[rank99999999999]: x",
        "(f pid=x) x",
        "(f gid=1) x",
        "  4: x",
        "123456: x",
        "4:x",
        "4: ",
        "node-12:x",
        "node-12: ",
        "Node-12: x",
        "node: x",
        "web1 | x",
        "web- | x",
        "web | x",
        "Web   | x",
        "we b-3 | x",
    ] {
        assert_eq!(told(text), (text.to_owned(), None, 1), "{text}");
    }
    // What stands behind each other names one writer, and only equal ones are it.
    let stream = |text: &str| line::clean(text.as_bytes()).stream;
    assert_eq!(stream("[rank1]: x"), stream("[rank1]:y"));
    assert_ne!(stream("[rank1]: x"), stream("[rank2]: x"));
    assert_ne!(stream("[rank1]: x"), stream("[rank1]: [rank1]: x"));
    assert_eq!(told("[rank1]: [rank2]: x"), ("x".to_owned(), Some(1), 1));
}

#[test]
fn colours_go_and_so_does_the_count_of_equal_lines() {
    let told = |text: &str| {
        let clean = line::clean(text.as_bytes());
        (
            String::from_utf8_lossy(&clean.text).into_owned(),
            clean.count,
        )
    };
    for (text, rest, count) in [
        ("\x1b[1;31mred\x1b[0m", "red", 1),
        ("\x1b]0;title\x07text", "text", 1),
        ("\x1b]no end", "no end", 1),
        ("\x1b[99", "99", 1),
        ("\x1b(Btext", "Btext", 1),
        ("end\x1b", "end", 1),
        ("[1;36mx[0m [12] [m", "x [12] [m", 1),
        ("x [36m y", "x [36m y", 1),
        ("x [repeated 7x across cluster]", "x", 7),
        ("x [repeated 0x across cluster]", "x", 1),
        ("x [repeated 12x across cluster] (Ray hides them)", "x", 12),
        (
            "x repeated 7x across cluster]",
            "x repeated 7x across cluster]",
            1,
        ),
        ("\x1b[36mx\x1b[0m y [repeated 3x across cluster]", "x y", 3),
    ] {
        assert_eq!(told(text), (rest.to_owned(), count), "{text:?}");
    }
}

#[test]
fn a_time_without_its_year_is_not_invented() {
    assert_eq!(timestamp::parse(b"11-19 19:03:25").unwrap().moment, None);
    assert_eq!(timestamp::parse(b"Nov 23 15:06:12 host").unwrap().len, 15);
    assert!(timestamp::parse(b"2025-13-40 99:00:00").is_none_or(|stamp| stamp.moment.is_none()));
    assert!(timestamp::parse(b"20250101").is_none());
}

#[test]
fn json_records_are_read_whatever_their_keys() {
    let record = json::parse(br#"{"timestamp":"2025-12-10T03:58:23Z","level":"ERROR","fields":{"message":"request failed"},"target":"a::b"}"#).unwrap();
    assert_eq!(record.message, "request failed");
    assert_eq!(record.header.level, Some(Level::Error));
    let record = json::parse(br#"{"ts":1765339103.5,"lvl":"warn","msg":"slow"}"#).unwrap();
    assert_eq!(
        record.header.time.unwrap().to_string(),
        "2025-12-10T03:58:23.5Z"
    );
    assert!(json::parse(b"{'loss': 1.0}").is_none());
}

#[test]
fn a_progress_bar_is_told_from_what_shares_its_line() {
    let bar = "  5%|x   | 1/2 [00:00<00:01, 2.0it/s, loss=nan]";
    for (text, only, behind) in [
        (bar.to_owned(), true, None),
        (format!("{bar}   "), true, None),
        ("3?it/s, 1.0s/it)".to_owned(), true, None),
        (
            format!("{bar} ValueError: x"),
            false,
            Some(" ValueError: x"),
        ),
        (format!("{bar} [an error]"), false, Some(" [an error]")),
        (format!("{bar}Traceback [1]"), false, Some("Traceback [1]")),
        ("5%|x   | 1/2 [two]".to_owned(), false, None),
        ("1/2 [00:00<00:01, 2.0it/s]".to_owned(), false, None),
        (format!("{bar}{}]", "x".repeat(600)), false, None),
    ] {
        let text = text.as_str();
        assert_eq!(progress::is_bar(text), only, "{text}");
        if let Some(behind) = behind {
            assert_eq!(progress::behind_bar(text), Some(behind), "{text}");
        }
    }
    for text in [bar, "1/2 [00:00<00:01, 2.0it/s] x", "5%| [two] x"] {
        assert_eq!(progress::behind_bar(text), None, "{text}");
    }
    let slow = |values: usize| format!("5%| 2.0it/s{}] x", "-".repeat(values));
    assert_eq!(progress::behind_bar(&slow(190)), Some(" x"));
    assert_eq!(progress::behind_bar(&slow(195)), Some(" x"));
    assert_eq!(progress::behind_bar(&slow(196)), None);
}

#[test]
fn records_of_pairs_are_read_and_prose_with_pairs_is_not() {
    let record = logfmt::parse(
        r#"time=2025-07-16T20:07:57.610+02:00 level=ERROR source=sched.go:489 msg="can not load" error="said \"no\"""#,
    )
    .unwrap();
    assert_eq!(record.message, "can not load: said \"no\"");
    assert_eq!(record.header.level, Some(Level::Error));
    assert_eq!(record.header.module.as_deref(), Some("sched.go:489"));
    assert_eq!(
        record.header.time.unwrap().to_string(),
        "2025-07-16T18:07:57.61Z"
    );
    let cut = logfmt::parse(r#"level=warn msg="cut of"#).unwrap();
    assert_eq!(cut.message, "cut of");
    for text in [
        "loss=0.3 level=ERROR msg=x",
        "time=3 s",
        "level=ERROR",
        "t=",
    ] {
        assert!(logfmt::parse(text).is_none(), "{text}");
    }
}
