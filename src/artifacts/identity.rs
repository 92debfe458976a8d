use serde_json::Value;
use std::collections::BTreeSet;

/// What a directory says it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredIdentity {
    /// The hash of its canonical spec.
    pub hash: String,
    /// The spec itself; null where only the hash is left.
    pub spec: Value,
}

/// What changed between two specs, one line per value:
/// `generation.temperature: 0 -> 0.7`. The experiment's name is
/// no part of it.
pub fn differences(stored: &Value, new: &Value) -> Vec<String> {
    if stored.is_null() {
        return vec![
            "its metadata.json can not be read, and its state.json is of another spec".to_owned(),
        ];
    }
    let mut found = Vec::new();
    compare("", stored, new, &mut found);
    found
}

/// Parts of a spec that studies call otherwise.
const IN_STUDIES: [(&str, &str); 1] = [("dataset.sample_seed", "question_seed")];

fn as_in_studies(path: &str) -> &str {
    let known = IN_STUDIES.iter().find(|(inside, _)| *inside == path);
    known.map_or(path, |(_, outside)| outside)
}

fn compare(path: &str, stored: &Value, new: &Value, found: &mut Vec<String>) {
    match (stored, new) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                if path.is_empty() && key == "name" {
                    continue;
                }
                let inner = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let absent = Value::Null;
                compare(
                    &inner,
                    left.get(key).unwrap_or(&absent),
                    right.get(key).unwrap_or(&absent),
                    found,
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (position, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}[{position}]"), left, right, found);
            }
        }
        _ if stored == new => {}
        _ if as_in_studies(path) != path => {
            compare(as_in_studies(path), stored, new, found);
        }
        (Value::String(left), Value::String(right)) => {
            // Long prompts differ somewhere in their middle: show that place.
            let skipped = common_start(left, right);
            found.push(format!(
                "{path}: {} -> {}",
                excerpt(left, skipped),
                excerpt(right, skipped)
            ));
        }
        _ => {
            let (mut before, mut after) = (shown(stored), shown(new));
            if before == after {
                (before, after) = (stored.to_string(), new.to_string());
            }
            found.push(format!("{path}: {before} -> {after}"));
        }
    }
}

const LONGEST: usize = 60;

/// Characters that both texts begin with, less a few for orientation; 0 when
/// the difference is near the start.
fn common_start(left: &str, right: &str) -> usize {
    let common = left
        .chars()
        .zip(right.chars())
        .take_while(|(left, right)| left == right)
        .count();
    if common < LONGEST / 2 { 0 } else { common - 10 }
}

fn excerpt(text: &str, skipped: usize) -> String {
    let mut rest = text.chars().skip(skipped);
    let part: String = rest.by_ref().take(LONGEST).collect();
    let before = if skipped > 0 { "..." } else { "" };
    let after = if rest.next().is_some() { "..." } else { "" };
    format!("{}", Value::String(format!("{before}{part}{after}")))
}

/// A value in one short line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(not set)".to_owned(),
        Value::String(text) => excerpt(text, 0),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => {
            let text = other.to_string();
            if text.chars().count() <= LONGEST {
                text
            } else {
                let start: String = text.chars().take(LONGEST).collect();
                format!("{start}...")
            }
        }
    }
}
