use super::super::{
    header::{self, Level},
    json, line, logfmt, timestamp,
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
    ] {
        let header = header::parse(text.as_bytes());
        assert_eq!((header.message, header.level), (0, None), "{text}");
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
