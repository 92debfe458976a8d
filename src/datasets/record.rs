//! One JSON object of a dataset, in any of the usual layouts.

use crate::domain::{FieldMap, Question};
use serde_json::{Map, Value};
use std::borrow::Cow;

const QUESTION: [&str; 4] = ["question", "query", "text", "input"];
const ANSWERS: [&str; 7] = [
    "golden_answers",
    "answers",
    "answer",
    "expected",
    "gold",
    "possible_answers",
    "final_decision",
];
const ID: [&str; 6] = ["id", "_id", "qid", "question_id", "questionid", "pubid"];
const SUPPORTING: [&str; 3] = ["supporting", "supporting_ids", "supporting_facts"];

/// Which columns of a table hold something of a question, so that no other
/// needs to be read.
///
/// # Errors
/// A sentence that says which column is missing.
pub(super) fn columns<'a>(names: &'a [String], fields: &FieldMap) -> Result<Vec<&'a str>, String> {
    let table: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), Value::Null))
        .collect();
    let mut columns = Vec::new();
    for (mapped, field, usual) in [
        (&fields.question, "question", &QUESTION[..]),
        (&fields.answers, "answers", &ANSWERS[..]),
        (&fields.id, "id", &ID[..]),
        (&fields.supporting, "supporting", &SUPPORTING[..]),
        // Contexts are long: nobody reads them who does not want them.
        (&fields.context, "context", &[]),
    ] {
        let wanted = match mapped {
            // A name with dots in it goes before a path.
            Some(path) => {
                let head = path.split('.').next().unwrap_or(path);
                let column = names.iter().find(|name| *name == path);
                let column = column.or_else(|| names.iter().find(|name| *name == head));
                Some(column.ok_or_else(|| {
                    format!(
                        "no column '{path}' (`fields.{field}`); columns there: {}",
                        keys(&table)
                    )
                })?)
            }
            None => {
                let mut there = usual.iter().filter_map(|key| {
                    let is = |name: &&String| name.eq_ignore_ascii_case(key);
                    names.iter().find(is)
                });
                let first = there.next();
                if field == "answers" {
                    // Where the first is empty, another one may not be.
                    columns.extend(there.map(String::as_str));
                }
                first
            }
        };
        match wanted {
            Some(name) => columns.push(name.as_str()),
            None if field == "question" => return Err(no_question(&table, "column")),
            None => {}
        }
    }
    Ok(columns)
}

fn no_question(object: &Map<String, Value>, what: &str) -> String {
    format!(
        "no {what} for the question ({}); {what}s there: {}; say which with `fields: {{question: KEY}}`",
        QUESTION.join(", "),
        keys(object)
    )
}

/// The question of an object, with idx 0; `None` when its text is empty.
///
/// # Errors
/// A sentence that says which key is missing or holds something else.
pub(super) fn question(
    object: &Map<String, Value>,
    fields: &FieldMap,
) -> Result<Option<Question>, String> {
    let (key, value) = find(object, fields.question.as_deref(), "question", &QUESTION)?
        .ok_or_else(|| no_question(object, "key"))?;
    let text = match &*value {
        Value::String(text) => text.as_str(),
        Value::Null => "",
        other => return Err(format!("'{key}' holds {}, not a text", kind(other))),
    };
    if text.trim().is_empty() {
        return Ok(None);
    }

    let mut expected = Vec::new();
    if let Some((key, value)) = find(object, fields.answers.as_deref(), "answers", &ANSWERS)? {
        collect_answers(&value, &mut expected).map_err(|what| format!("'{key}' holds {what}"))?;
    }
    let id = find(object, fields.id.as_deref(), "id", &ID)?.and_then(|(_, value)| scalar(&value));
    let mut supporting = Vec::new();
    if let Some((_, value)) = find(
        object,
        fields.supporting.as_deref(),
        "supporting",
        &SUPPORTING,
    )? {
        collect_supporting(&value, &mut supporting);
    }
    let mut context = Vec::new();
    if let Some((_, value)) = find(object, fields.context.as_deref(), "context", &[])? {
        collect_context(&value, &mut context);
    }
    Ok(Some(Question {
        idx: 0,
        question: text.to_owned(),
        expected,
        id,
        supporting,
        context,
    }))
}

/// The value under a key that the study names (which must be there), or under
/// the first usual key. Of answers, the first that holds any.
fn find<'a>(
    object: &'a Map<String, Value>,
    mapped: Option<&'a str>,
    field: &str,
    usual: &[&'static str],
) -> Result<Option<(&'a str, Cow<'a, Value>)>, String> {
    if let Some(key) = mapped {
        return match lookup(object, key) {
            Some(value) => Ok(Some((key, value))),
            None => Err(format!(
                "no key '{key}' (`fields.{field}`); keys there: {}",
                keys(object)
            )),
        };
    }
    let there = usual
        .iter()
        .filter_map(|key| Some((*key, get_any_case(object, key)?)));
    let found = match field {
        "answers" => there
            .clone()
            .find(|(_, value)| !is_blank(value))
            .or_else(|| there.clone().next()),
        _ => there.clone().next(),
    };
    Ok(found.map(|(key, value)| (key, Cow::Borrowed(value))))
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_blank),
        _ => false,
    }
}

/// A key as it is, or a path of keys with dots: `answer.value`. A path goes
/// into every item of a list, and ends at a group that is nothing.
fn lookup<'a>(object: &'a Map<String, Value>, key: &str) -> Option<Cow<'a, Value>> {
    if let Some(value) = object.get(key) {
        return Some(Cow::Borrowed(value));
    }
    let (head, rest) = key.split_once('.')?;
    match object.get(head)? {
        Value::Object(inner) => lookup(inner, rest),
        Value::Null => Some(Cow::Owned(Value::Null)),
        Value::Array(items) => {
            let found: Option<Vec<Value>> = items
                .iter()
                .map(|item| Some(lookup(item.as_object()?, rest)?.into_owned()))
                .collect();
            Some(Cow::Owned(Value::Array(found?)))
        }
        _ => None,
    }
}

fn get_any_case<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| {
        object
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    })
}

fn keys(object: &Map<String, Value>) -> String {
    let keys: Vec<&str> = object.keys().take(12).map(String::as_str).collect();
    match keys.is_empty() {
        true => "none".to_owned(),
        false => keys.join(", "),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn push_new(texts: &mut Vec<String>, text: String) {
    if !text.trim().is_empty() && !texts.contains(&text) {
        texts.push(text);
    }
}

/// Gold answers: a text, a number, a list, SQuAD's `{"text": [...]}`, or
/// TriviaQA's `{"value", "aliases"}`. A text that is itself a JSON list of
/// texts (PopQA, CSV cells) is one. Blank and repeated answers are left out.
fn collect_answers(value: &Value, answers: &mut Vec<String>) -> Result<(), &'static str> {
    match value {
        Value::Null => Ok(()),
        Value::Bool(truth) => {
            push_new(answers, truth.to_string());
            Ok(())
        }
        Value::Number(number) => {
            push_new(answers, number.to_string());
            Ok(())
        }
        Value::String(text) => {
            match serde_json::from_str::<Vec<String>>(text) {
                Ok(list) => list.into_iter().for_each(|text| push_new(answers, text)),
                Err(_) => push_new(answers, text.clone()),
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| collect_answers(item, answers)),
        Value::Object(object) => {
            let parts = ["text", "value", "aliases"].map(|key| get_any_case(object, key));
            if parts.iter().all(Option::is_none) {
                return Err("an object without 'text' or 'value'");
            }
            parts
                .into_iter()
                .flatten()
                .try_for_each(|part| collect_answers(part, answers))
        }
    }
}

/// The passages of a question: a text, or a list. An item of a list is a text,
/// an object with `text`, or a list of sentences.
fn collect_context(value: &Value, passages: &mut Vec<String>) {
    match value {
        Value::String(text) => match serde_json::from_str::<Vec<String>>(text) {
            Ok(list) => list.into_iter().for_each(|text| push_new(passages, text)),
            Err(_) => push_new(passages, text.clone()),
        },
        Value::Array(items) => {
            for item in items {
                let mut sentences = Vec::new();
                collect_texts(item, &mut sentences);
                push_new(passages, sentences.join(" "));
            }
        }
        Value::Object(object) => {
            if let Some(text) = get_any_case(object, "text") {
                collect_context(text, passages);
            }
        }
        _ => {}
    }
}

fn collect_texts<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text.trim()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(object) => {
            if let Some(text) = get_any_case(object, "text") {
                collect_texts(text, texts);
            }
        }
        _ => {}
    }
}

/// The ids of supporting passages under a key of a record, in any of the usual
/// layouts, each once.
pub fn supporting_ids(value: &Value) -> Vec<String> {
    let mut ids = Vec::new();
    collect_supporting(value, &mut ids);
    ids
}

/// Ids of supporting passages: a text, a list, HotpotQA's `{"title": [...]}`
/// or its `[[title, sentence], ...]`, of which the titles count.
fn collect_supporting(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Array(pair) => {
                        if let Some(id) = pair.first().and_then(scalar) {
                            push_new(ids, id);
                        }
                    }
                    other => collect_supporting(other, ids),
                }
            }
        }
        Value::Object(object) => {
            if let Some(titles) = get_any_case(object, "title") {
                collect_supporting(titles, ids);
            }
        }
        Value::String(text) => match serde_json::from_str::<Vec<String>>(text) {
            Ok(list) => list.into_iter().for_each(|id| push_new(ids, id)),
            Err(_) => push_new(ids, text.clone()),
        },
        other => {
            if let Some(id) = scalar(other) {
                push_new(ids, id);
            }
        }
    }
}
