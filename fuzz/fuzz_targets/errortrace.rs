//! Any bytes are a log: reading them never panics, never depends on where the
//! pieces end, and gives a report that JSON can carry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ragicamp::errortrace::{self, Extractor, Limits, Status};

fuzz_target!(|data: &[u8]| {
    // The first byte cuts the rest into pieces.
    let (size, log) = match data.split_first() {
        Some((&first, rest)) => (usize::from(first) + 1, rest),
        None => (1, data),
    };
    let whole = errortrace::read(log);
    let mut extractor = Extractor::new(Limits::default());
    for piece in log.chunks(size) {
        extractor.feed(piece);
    }
    let pieces = extractor.finish();
    let shown = |report: &errortrace::Report| {
        serde_json::to_string(&report.contract("job", Status::Failed, None)).expect("it is JSON")
    };
    assert_eq!(shown(&whole), shown(&pieces));
    assert_eq!(whole.lines, pieces.lines);
    assert_eq!(whole.bytes, pieces.bytes);
});
