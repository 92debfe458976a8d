//! Records of loggers that write `key=value` pairs.

use super::{
    header::{Header, level},
    json::JsonRecord,
    timestamp,
};

/// Pairs of a line that are looked at.
const MAX_PAIRS: usize = 40;

/// Reads a line of `key=value` pairs; `None` when it is none, or has no level
/// or no message.
pub(super) fn parse(line: &str) -> Option<JsonRecord> {
    const FIRST: [&str; 5] = ["time=", "ts=", "t=", "level=", "lvl="];
    if !FIRST.iter().any(|key| line.starts_with(key)) {
        return None;
    }
    let mut header = Header {
        message: 1,
        structured: true,
        ..Header::default()
    };
    let mut said = None;
    let mut error = None;
    let mut rest = line.trim();
    for _ in 0..MAX_PAIRS {
        let Some((key, value, after)) = pair(rest) else {
            break;
        };
        match key {
            "time" | "ts" | "t" => {
                header.time = timestamp::parse(value.as_bytes()).and_then(|stamp| stamp.moment);
            }
            "level" | "lvl" => header.level = level(value.as_bytes()),
            "source" | "caller" | "logger" | "module" => header.module = Some(value),
            "msg" | "message" => said = Some(value),
            "error" | "err" => error = Some(value),
            _ => {}
        }
        rest = after;
    }
    header.level?;
    let message = match (said, error) {
        (Some(said), Some(error)) => format!("{said}: {error}"),
        (said, error) => said.or(error)?,
    };
    Some(JsonRecord {
        header,
        message,
        traceback: None,
    })
}

/// The first pair of `text`, its value without quotes, and what follows it.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.trim_start().split_once('=')?;
    let fits = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !fits {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(' ').unwrap_or(rest.len());
        return Some((key, rest[..end].to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((key, value, &quoted[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    // The line was cut.
    Some((key, value, ""))
}
