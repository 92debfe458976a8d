use super::super::header::{self, Level};

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
fn an_indentation_behind_a_header_survives() {
    let text = "ERROR 07-01 12:00:30 [core.py:515]   File \"x.py\", line 3, in f";
    assert_eq!(parsed(text).4, "  File \"x.py\", line 3, in f");
    let text = "2024-01-01T00:00:01.1234567Z     import torchaudio";
    assert_eq!(parsed(text).4, "    import torchaudio");
}
