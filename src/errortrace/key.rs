//! The key under which equal errors are counted.

use super::{normalize::normalize, server};
use crate::domain::FailureClass;

/// Characters of the normalised message that make the key.
const KEY_CHARS: usize = 100;
/// Words of the message in the readable part.
const SLUG_WORDS: usize = 6;

/// What loggers and launchers put before the message proper. Cut off first,
/// as long as one fits, so that it does not eat the characters that count.
const BOILERPLATE: [&str; 16] = [
    "Process group watchdog thread terminated with exception: ",
    "Watchdog caught collective operation timeout: ",
    "Uncaught exception: ",
    "Unhandled exception: ",
    "An error occurred: ",
    "An error has occurred: ",
    "An unexpected error occurred: ",
    "Exception occurred: ",
    "Exception raised: ",
    "Error occurred: ",
    "Error: ",
    "ERROR: ",
    "error: ",
    "fatal: ",
    "Exception in worker process: ",
    "Worker failed with error ",
];

/// The key of an error: phase, the readable start of the message, and eight
/// hexadecimal digits of a hash over phase and the first 100 characters of the
/// normalised message. `main_cuda_out_of_memory_<hash>` is one.
pub fn dedupe_key(phase: Option<&str>, message: &str) -> String {
    let phase = phase.map(slug_word).filter(|phase| !phase.is_empty());
    let text = key_text(message);
    let mut key = phase.clone().unwrap_or_default();
    for word in slug(&text) {
        if !key.is_empty() {
            key.push('_');
        }
        key.push_str(&word);
    }
    if key.is_empty() {
        key.push_str("error");
    }
    let hash = hash(phase.as_deref().unwrap_or(""), &text);
    format!("{key}_{hash:08x}")
}

/// The characters that decide whether two messages are one error.
pub(super) fn key_text(message: &str) -> String {
    let line = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("");
    let normalized = normalize(strip_boilerplate(line));
    normalized.trim().chars().take(KEY_CHARS).collect()
}

/// The text of an exception that its key is made of: the message, so that a
/// logger's line and the interpreter's traceback meet; with the type where the
/// message alone says too little.
pub(super) fn key_source(exception_type: Option<&str>, message: &str) -> String {
    match exception_type {
        None => message.to_owned(),
        Some(_) if slug(&key_text(message)).len() >= 3 => message.to_owned(),
        Some(name) if message.is_empty() => name.to_owned(),
        Some(name) => format!("{name}: {message}"),
    }
}

/// A 64-bit key for the table of groups.
pub(super) fn key_hash(phase: Option<&str>, text: &str) -> u64 {
    let phase = phase.map(slug_word).unwrap_or_default();
    fnv(phase.bytes().chain([0]).chain(text.bytes()))
}

/// `message` without what stands before it everywhere.
pub(super) fn strip_boilerplate(message: &str) -> &str {
    let mut text = message.trim_start();
    for _ in 0..6 {
        let before = text.len();
        // `[PG ID 0 PG GUID 0(default_pg) Rank 3] `, `[Rank 0] `.
        if (text.starts_with("[PG ") || text.starts_with("[Rank ") || text.starts_with("[rank"))
            && let Some(end) = text.find(']')
        {
            text = text[end + 1..].trim_start_matches([' ', ':']);
        }
        if let Some(rest) = batch_failure(text).or_else(|| server::without_name(text))
            && !rest.trim().is_empty()
        {
            text = rest.trim_start();
        }
        for start in BOILERPLATE {
            if let Some(rest) = text.strip_prefix(start)
                && !rest.trim().is_empty()
            {
                text = rest.trim_start();
            }
        }
        if text.len() == before {
            break;
        }
    }
    text
}

/// What stands behind `a batch of 8 failed (transient): `.
fn batch_failure(text: &str) -> Option<&str> {
    let (size, rest) = text.strip_prefix("a batch of ")?.split_once(" failed (")?;
    let (class, rest) = rest.split_once("): ")?;
    let is_size = size.bytes().all(|byte| byte.is_ascii_digit());
    (is_size
        && FailureClass::ALL
            .iter()
            .any(|known| known.as_str() == class))
    .then_some(rest)
}

fn slug_word(word: &str) -> String {
    word.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .take(24)
        .collect()
}

/// The first words, up to the end of the first sentence if it has any.
fn slug(text: &str) -> Vec<String> {
    let mut end = text.len();
    for mark in [". ", "; ", ", ", " (", " at <path>"] {
        if let Some(at) = text.find(mark) {
            // A mark right at the start leaves nothing to read.
            if at > 3 {
                end = end.min(at);
            }
        }
    }
    let words = words(&text[..end]);
    if words.is_empty() && end < text.len() {
        return self::words(text);
    }
    words
}

/// Readable words of a normalised text, masks left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && words.len() < SLUG_WORDS {
        if let Some(masked) = rest.strip_prefix('<')
            && let Some(close) = masked.find('>')
            && masked[..close]
                .bytes()
                .all(|byte| byte.is_ascii_lowercase())
        {
            rest = &masked[close + 1..];
            continue;
        }
        let word_end = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
            .unwrap_or(rest.len());
        if word_end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            rest = &rest[next..];
            continue;
        }
        // `torch.cuda.OutOfMemoryError` is read by its last part.
        let word = rest[..word_end].trim_matches('.');
        let word = slug_word(word.rsplit('.').next().unwrap_or(word));
        if !word.is_empty() {
            words.push(word);
        }
        rest = &rest[word_end..];
    }
    words
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// FNV-1a folded to 32 bits: written down by the golden file, so it can never
/// change.
fn hash(phase: &str, text: &str) -> u32 {
    let hash = fnv(phase.bytes().chain([0]).chain(text.bytes()));
    // Folding keeps all bits; the cast takes the lower half of the result.
    ((hash >> 32) ^ hash) as u32
}
