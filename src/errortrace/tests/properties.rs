use super::super::{
    Extractor, Frame, Limits, Link, Raised, Status, Traceback, dedupe_key, mask_secrets, read,
};
use proptest::prelude::*;

/// Pieces that logs are made of, so that random logs reach deep states.
const PIECES: [&str; 36] = [
    "Traceback (most recent call last):",
    "  File \"a.py\", line 3, in f",
    "    g()",
    "    ~^^",
    "ValueError: bad",
    "RuntimeError",
    "",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
    "  + Exception Group Traceback (most recent call last):",
    "  | ExceptionGroup: x (2 sub-exceptions)",
    "  +-+---------------- 1 ----------------",
    "    | Traceback (most recent call last):",
    "    +---------------- 2 ----------------",
    "    +------------------------------------",
    "[rank1]: Traceback (most recent call last):",
    "[rank1]: ValueError: é ✗",
    "thread 'main' panicked at src/main.rs:4:5:",
    "stack backtrace:",
    "   0: f",
    "             at ./a.rs:1:2",
    "terminate called after throwing an instance of 'c10::Error'",
    "  what():  CUDA error",
    "Error: top",
    "Caused by:",
    "    0: cause",
    "[2025-12-10 03:58:22] [m] [ERROR] [Main] failed",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    "============",
    "Root Cause (first observed failure):",
    "[0]:",
    "  traceback : Traceback (most recent call last):",
    "{\"level\":\"error\",\"message\":\"x\",\"exc_info\":\"Traceback (most recent call last):\\n  File\"}",
    "╭── Traceback (most recent call last) ──╮",
    "│ /a/b.py:3 in │",
    "KeyError     Traceback (most recent call last)",
];

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(PIECES.as_slice()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (prop::sample::select(PIECES.as_slice()), prop::sample::select(PIECES.as_slice()))
            .prop_map(|(a, b)| format!("{a}{b}").into_bytes()),
    ]
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        (
            line(),
            prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n"]),
        ),
        0..40,
    )
    .prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| line.into_iter().chain(end.bytes()))
            .collect()
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_]{1,8}"
}

fn frame() -> impl Strategy<Value = Frame> {
    (
        "[a-z/_]{1,12}\\.py",
        1u64..100_000,
        name(),
        prop::option::of("[a-z]{1,6}\\([a-z]{0,4}\\)"),
        0u64..3,
    )
        .prop_map(|(file, line, function, code, repeated)| Frame {
            file,
            line: Some(line),
            function: Some(function),
            code,
            marker: None,
            repeated,
        })
}

fn raised() -> impl Strategy<Value = Raised> {
    (
        prop::collection::vec(frame(), 1..6),
        "([a-z]{1,6}\\.)?[A-Z][a-z]{2,8}Error",
        "[a-z][a-z0-9 :'.,]{0,40}[a-z]",
        prop::collection::vec("[a-z][a-z ]{0,20}[a-z]", 0..3),
    )
        .prop_map(|(frames, kind, message, notes)| Raised {
            frames,
            exception_type: Some(kind),
            message,
            notes,
            ..Raised::default()
        })
}

fn traceback() -> impl Strategy<Value = Traceback> {
    prop::collection::vec((raised(), prop::bool::ANY), 1..5).prop_map(|list| Traceback {
        exceptions: list
            .into_iter()
            .enumerate()
            .map(|(at, (mut raised, cause))| {
                raised.link = match (at, cause) {
                    (0, _) => None,
                    (_, true) => Some(Link::Cause),
                    _ => Some(Link::Context),
                };
                raised
            })
            .collect(),
        exceptions_dropped: 0,
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let report = read(&bytes);
        let _ = serde_json::to_string(&report.contract("x", Status::Failed, None)).unwrap();
    }

    #[test]
    fn any_mixture_of_log_lines_reads_the_same_whole_and_in_pieces(log in log(), size in 1usize..50) {
        let whole = read(&log);
        let _ = whole.details().to_string();
        let mut extractor = Extractor::new(Limits::default());
        for piece in log.chunks(size) {
            extractor.feed(piece);
        }
        let pieces = extractor.finish();
        prop_assert_eq!(whole.lines, pieces.lines);
        let count = |report: &super::super::Report| report.groups.iter().map(|group| (group.key.clone(), group.count)).collect::<Vec<_>>();
        prop_assert_eq!(count(&whole), count(&pieces));
    }

    #[test]
    fn a_rendered_traceback_reads_back_as_it_was(written in traceback()) {
        let report = read(written.render().as_bytes());
        prop_assert_eq!(report.traceback, Some(written));
    }

    #[test]
    fn keys_and_masks_accept_any_text(text in ".{0,300}", phase in prop::option::of(".{0,20}")) {
        let key = dedupe_key(phase.as_deref(), &text);
        prop_assert!(key.len() >= 9);
        prop_assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        let _ = mask_secrets(&text);
    }
}
