use super::super::{header::Level, json, line, logfmt, progress};

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
