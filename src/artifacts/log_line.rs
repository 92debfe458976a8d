use jiff::Timestamp;

/// Lines of `experiment.log` for one message, with their line breaks:
/// `[2025-12-10 03:58:22] [module] [LEVEL] [Phase] message`, UTC.
///
/// `module` becomes one word: the last part of a path, without brackets and
/// blanks. Every line of a longer message gets its own prefix, so that each
/// can be found by a reader that knows only this form.
pub fn log_line(module: &str, level: &str, phase: &str, message: &str) -> String {
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let module = one_word(module.rsplit("::").next().unwrap_or(module));
    let level = one_word(level).to_uppercase();
    let phase = one_word(phase);
    let message = message.trim_end();
    // `lines` gives nothing at all for an empty message.
    let first = message.lines().next().unwrap_or_default();
    std::iter::once(first)
        .chain(message.lines().skip(1))
        .map(|line| format!("[{now}] [{module}] [{level}] [{phase}] {line}\n"))
        .collect()
}

fn one_word(text: &str) -> String {
    let word: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '[' | ']'))
        .collect();
    if word.is_empty() {
        "-".to_owned()
    } else {
        word
    }
}
