//! Reading JSON that another version, another tool or a crash left behind.

use super::{
    SCHEMA_VERSION, atomic,
    error::{ArtifactError, Result},
};
use serde_json::{Map, Value};
use std::path::Path;

/// The JSON value in `path`; `None` when there is no such file.
///
/// # Errors
/// When it can not be read, is no JSON (empty, torn, zeroed), or is of a newer
/// version of the program.
pub(super) fn value(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = atomic::read(path)? else {
        return Ok(None);
    };
    let value = parse(&bytes).map_err(|why| ArtifactError::malformed(path, why))?;
    let version = value.get("schema_version").and_then(count).unwrap_or(0);
    if version > SCHEMA_VERSION as usize {
        let path = path.to_owned();
        return Err(ArtifactError::Newer { path, version });
    }
    Ok(Some(value))
}

/// The JSON object in `path`; `None` when there is no such file.
///
/// # Errors
/// When it can not be read, or holds something else.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match value(path)? {
        None => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => Err(ArtifactError::malformed(
            path,
            format!("it holds {} where an object belongs", kind(&other)),
        )),
    }
}

/// Parses `bytes`; the error says in words what a person sees in the file.
pub(super) fn parse(bytes: &[u8]) -> std::result::Result<Value, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".to_owned());
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Err("it holds only zero bytes, as after a power cut".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => format!("it ends too early ({error})"),
        _ => format!("it is no JSON ({error})"),
    })
}

/// What a value is, in a sentence.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Takes the text under `key`; numbers become texts, the rest is dropped.
pub(super) fn take_text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.shift_remove(key)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Takes the whole number under `key`; `12.0` and `"12"` are read too.
pub(super) fn take_count(map: &mut Map<String, Value>, key: &str) -> Option<usize> {
    count(&map.shift_remove(key)?)
}

/// The whole number that `value` is, if it is one.
pub(super) fn count(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => number.as_u64().map(|n| n as usize).or_else(|| {
            let float = number.as_f64()?;
            let whole = float >= 0.0 && float.fract() == 0.0 && float < 9e15;
            whole.then_some(float as usize)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Takes the flag under `key`; absent and odd values are false.
pub(super) fn take_flag(map: &mut Map<String, Value>, key: &str) -> bool {
    matches!(map.shift_remove(key), Some(Value::Bool(true)))
}

/// Takes the texts under `key`: a list, or one text alone.
pub(super) fn take_texts(map: &mut Map<String, Value>, key: &str) -> Vec<String> {
    map.shift_remove(key).map(texts).unwrap_or_default()
}

/// Takes the object under `key`; anything else counts as an empty one.
pub(super) fn take_object(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.shift_remove(key) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    }
}

/// A list of texts, or one text alone, or nothing.
pub(super) fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.into_iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// A scalar as text; null, lists and objects are none.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Pretty JSON with a line break at the end, as every artifact is written.
pub(super) fn pretty(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| ArtifactError::malformed(path, error))?;
    bytes.push(b'\n');
    Ok(bytes)
}
