//! What must not leave the machine with a bug report.

use regex::Regex;
use std::sync::LazyLock;

/// Patterns and what takes the place of a match.
const PATTERNS: [(&str, &str); 15] = [
    // Tokens that say what they are.
    (
        r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_\-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}|xox[abpr]-[A-Za-z0-9\-]{10,}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{30,}|nvapi-[A-Za-z0-9_\-]{16,}|r8_[A-Za-z0-9]{20,})",
        "<secret>",
    ),
    (
        r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+",
        "<secret>",
    ),
    // `Authorization: Bearer abc`.
    (
        r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_.=\-]{8,}",
        "$1 <secret>",
    ),
    // `Authorization: Token abc`, and what else takes a key of hex digits.
    (
        r#"(?i)(\bauthorization["']?\s*[=:]\s*["']?[a-z\-]+\s+)[^\s"'<]{8,}"#,
        "$1<secret>",
    ),
    (r"(?i)\b(token|login|key)\s+[0-9a-f]{32,}\b", "$1 <secret>"),
    (
        r"(?i)(\bwandb\s+login\s+(?:--[a-z\-]+\s+)*)[A-Za-z0-9_\-]{16,}",
        "$1<secret>",
    ),
    // `--password abc`, `--api-key "a b c"`.
    (
        r#"(?i)(--?[a-z0-9_\-]*(?:key|token|passwd|password|secret)[ \t]+)(?:"[^"\n]+"|'[^'\n]+'|[^\s"'\-][^\s"']{3,})"#,
        "$1<secret>",
    ),
    // `password: "a b c"`.
    (
        r#"(?i)((?:api[_-]?key|access[_-]?key|secret[_-]?key|secret|token|passwd|password|private[_-]?key)["']?\s*[=:]\s*)"[^"\n]{4,}""#,
        "$1<secret>",
    ),
    (
        r#"(?i)((?:api[_-]?key|access[_-]?key|secret[_-]?key|secret|token|passwd|password|private[_-]?key)["']?\s*[=:]\s*)'[^'\n]{4,}'"#,
        "$1<secret>",
    ),
    // `WANDB_API_KEY=...`, `"token": "..."`.
    (
        r#"(?i)((?:api[_-]?key|access[_-]?key|secret[_-]?key|secret|token|passwd|password|private[_-]?key)["']?\s*[=:]\s*["']?)[^\s"',;)}\]]{4,}"#,
        "$1<secret>",
    ),
    // `https://user:password@host`.
    (r"(?i)(://[^/\s:@]+:)[^/\s@]+@", "$1<secret>@"),
    // Home directories.
    (
        r#"[^\s"'=(:,]*/(?:home|Users)/(?:users?/)?(?:[a-z]/)*[^/\s"':,]+"#,
        "~",
    ),
    (r"(^|[\s\x22'=(:])/root/", "${1}~/"),
    (r#"(?i)[a-z]:\\Users\\[^\\\s"']+"#, "~"),
    (
        r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]*[A-Za-z]\b",
        "<email>",
    ),
];

static COMPILED: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with)))
        .collect()
});

/// `text` without tokens, keys, passwords, e-mail addresses and the names of
/// home directories.
pub fn mask_secrets(text: &str) -> String {
    COMPILED
        .iter()
        .fold(text.to_owned(), |text, (regex, with)| {
            regex.replace_all(&text, *with).into_owned()
        })
}

#[cfg(test)]
pub(super) fn compiled_patterns() -> (usize, usize) {
    (COMPILED.len(), PATTERNS.len())
}
