//! Records of loggers that write JSON.

use super::{
    header::{Header, Level, level},
    timestamp,
};
use serde_json::Value;

/// A record of a JSON logger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonRecord {
    /// Time, level, module.
    pub header: Header,
    /// The message.
    pub message: String,
    /// The traceback, when the record carries one.
    pub traceback: Option<String>,
}

/// Reads a JSON line; `None` when it is none that has a message.
pub(super) fn parse(line: &[u8]) -> Option<JsonRecord> {
    let line = line.trim_ascii();
    if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
        return None;
    }
    let value: Value = serde_json::from_slice(line).ok()?;
    let field = |names: &[&str]| {
        names.iter().find_map(|name| {
            value
                .get(*name)
                .or_else(|| value.get("fields").and_then(|fields| fields.get(*name)))
                .or_else(|| value.get("record").and_then(|record| record.get(*name)))
        })
    };
    let message = match field(&["message", "msg", "event", "text", "log"])? {
        Value::String(message) => message.clone(),
        other => other.to_string(),
    };
    let level_value = field(&["level", "levelname", "severity", "lvl", "log.level"]);
    let found = match level_value {
        Some(Value::String(word)) => level(word.as_bytes()),
        Some(Value::Object(object)) => object
            .get("name")
            .and_then(Value::as_str)
            .and_then(|word| level(word.as_bytes())),
        // pino and Python numbers: 40 is a warning there, and an error here.
        Some(Value::Number(number)) => number.as_u64().map(|number| match number {
            0..=29 => Level::Calm,
            30..=39 => Level::Warning,
            _ => Level::Error,
        }),
        _ => None,
    };
    let time = match field(&["timestamp", "time", "ts", "@timestamp", "asctime"]) {
        Some(Value::String(stamp)) => {
            timestamp::parse(stamp.as_bytes()).and_then(|stamp| stamp.moment)
        }
        Some(Value::Number(number)) => number.as_f64().and_then(timestamp::from_epoch),
        _ => None,
    };
    let string = |names: &[&str]| {
        field(names)
            .and_then(Value::as_str)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let traceback = string(&[
        "exc_info",
        "exception",
        "traceback",
        "stack_trace",
        "exc_text",
        "stack",
    ])
    .filter(|text| text.contains("Traceback") || text.contains("\n"));
    Some(JsonRecord {
        header: Header {
            time,
            level: found,
            module: string(&["logger", "name", "target", "module", "logger_name"]),
            phase: string(&["phase"]),
            message: 1,
            structured: true,
        },
        message,
        traceback,
    })
}
