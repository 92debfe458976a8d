//! Progress bars, which share their line with whatever is printed next.

/// Whether a line is nothing but a progress bar.
pub(super) fn is_bar(text: &str) -> bool {
    text.len() < 600
        && (text.contains("%|") || text.contains("?it/s"))
        && ["it/s", "s/it", "B/s", "?, ?", "/s]", "/s,"]
            .iter()
            .any(|mark| text.contains(mark))
        && text.trim_end().ends_with([']', ')'])
        && !text.contains("Traceback")
        && !text.contains("rror")
}

/// What stands behind a bar in its line: a bar ends without a line break, so
/// the first line of a failure often follows it.
pub(super) fn behind_bar(text: &str) -> Option<&str> {
    if !text.contains("%|") && !text.contains("?it/s") {
        return None;
    }
    let end = ["it/s", "s/it", "B/s"]
        .iter()
        .filter_map(|rate| {
            let at = text.find(rate)?;
            // Values may follow the rate: `1.2it/s, loss=0.3]`.
            let end = at + text[at..].find(']')?;
            (end - at < 200).then_some(end + 1)
        })
        .min()?;
    let rest = &text[end..];
    (!rest.trim().is_empty()).then_some(rest)
}
