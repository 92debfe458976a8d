//! Text as the published evaluation scripts see it.
//!
//! Those are Python, so the classes of characters here are Python's: they
//! differ from Rust's in combining marks, enclosed letters and separators.

use regex::Regex;
use std::sync::LazyLock;

/// Python's `\w`: letters, every kind of number and `_`, no combining marks.
#[allow(clippy::unwrap_used, reason = "The pattern is a constant.")]
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").unwrap());

/// Python's `str.isspace`: what `str.split()` splits on.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Words between Python's white space.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|word| !word.is_empty())
}

/// An answer as SQuAD and NQ-open compare it: lower case, ASCII punctuation
/// deleted, the articles `a`, `an`, `the` blanked, white space collapsed.
pub fn normalise_answer(text: &str) -> String {
    let mut bare = text.to_lowercase();
    bare.retain(|c| !c.is_ascii_punctuation());
    // A maximal run of word characters is what `\b(a|an|the)\b` can match.
    let without_articles = WORD.replace_all(&bare, |run: &regex::Captures<'_>| match &run[0] {
        "a" | "an" | "the" => " ".to_owned(),
        other => other.to_owned(),
    });
    let mut normalised = String::with_capacity(without_articles.len());
    for word in words(&without_articles) {
        if !normalised.is_empty() {
            normalised.push(' ');
        }
        normalised.push_str(word);
    }
    normalised
}

/// Tokens as `rouge_score` 0.1.2 makes them without a stemmer: runs of
/// `[a-z0-9]` after lower-casing.
pub(super) fn rouge_tokens(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}
