use super::{
    SCHEMA_VERSION,
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    lenient,
    questions::{items, take_expected, take_question},
};
use crate::domain::{FailureClass, Prediction, Question, Retrieved};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// `predictions.json`, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionsFile {
    /// The experiment's name.
    pub experiment: String,
    /// The records in the file's order. Files of older shapes may hold
    /// several of one idx.
    pub predictions: Vec<Prediction>,
    /// The idx of those that say what was retrieved, be it nothing.
    pub searched: BTreeSet<usize>,
    /// Scores over all records.
    pub aggregate_metrics: Map<String, Value>,
    /// Entries that are no records at all.
    pub unreadable: usize,
    /// Keys that other versions wrote.
    pub extra: Map<String, Value>,
}

impl PredictionsFile {
    /// The best record of each question: an answer over a failure, then the
    /// first.
    pub fn best(self) -> BTreeMap<usize, Prediction> {
        let mut best = BTreeMap::new();
        for prediction in self.predictions {
            keep_best(&mut best, prediction);
        }
        best
    }

    /// Reads a file of this or an older shape: also a bare list, records by
    /// idx, `query` for `question`, one gold answer as a text.
    ///
    /// # Errors
    /// When it can not be read, or holds no records.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        lenient::value(path)?
            .map(Self::from_value)
            .transpose()
            .map_err(|why| ArtifactError::malformed(path, why))
    }

    /// Reads predictions of any origin: this shape and older ones, and JSON
    /// lines or a list of records with `prediction` and the gold answers under
    /// `expected`, `answers` or `golden_answers`.
    ///
    /// # Errors
    /// When the file is missing, can not be read, is no JSON, or holds no
    /// records; one sentence, with the line where there are lines.
    pub fn load(path: &Path) -> Result<Self> {
        let wrong = |why: String| ArtifactError::malformed(path, why);
        // Whoever names a file may well name a pipe.
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(wrong("there is no such file".to_owned()));
            }
            Err(source) => return Err(ArtifactError::io("reading", path, source)),
        };
        // Some editors put a byte order mark in front.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let value = match lenient::parse(bytes) {
            // One record alone is a file of one line.
            Ok(Value::Object(map)) if map.contains_key("prediction") => {
                Value::Array(vec![Value::Object(map)])
            }
            Ok(value) => value,
            Err(why) => json_lines(bytes).map_err(|line| wrong(line.unwrap_or(why)))?,
        };
        let file = Self::from_value(with_known_names(value)).map_err(wrong)?;
        if file.predictions.is_empty() {
            return Err(wrong("it holds no records".to_owned()));
        }
        Ok(file)
    }

    fn from_value(value: Value) -> std::result::Result<Self, String> {
        let mut map = match value {
            Value::Object(map) => map,
            list @ Value::Array(_) => Map::from_iter([("predictions".to_owned(), list)]),
            other => {
                return Err(format!(
                    "it holds {} where predictions belong",
                    lenient::kind(&other)
                ));
            }
        };
        let list = match map.shift_remove("predictions") {
            Some(list @ (Value::Array(_) | Value::Object(_))) => list,
            // Records directly by idx, without a frame.
            None if !map.is_empty() && map.keys().all(|key| key.parse::<usize>().is_ok()) => {
                Value::Object(std::mem::take(&mut map))
            }
            _ => {
                let keys: Vec<&str> = map.keys().map(String::as_str).take(5).collect();
                return Err(format!(
                    "it holds neither a list under predictions nor a record with a prediction, \
                     only {}",
                    match keys.is_empty() {
                        true => "an empty object".to_owned(),
                        false => keys.join(", "),
                    }
                ));
            }
        };
        let mut unreadable = 0;
        let mut predictions = Vec::new();
        let mut searched = BTreeSet::new();
        for (position, item) in items(list) {
            let says_what = item.get("retrieved").is_some_and(Value::is_array);
            match record(position, item) {
                Some(prediction) => {
                    if says_what {
                        searched.insert(prediction.idx);
                    }
                    predictions.push(prediction);
                }
                None => unreadable += 1,
            }
        }
        Ok(Self {
            experiment: lenient::take_text(&mut map, "experiment").unwrap_or_default(),
            aggregate_metrics: lenient::take_object(&mut map, "aggregate_metrics"),
            predictions,
            searched,
            unreadable,
            extra: map,
        })
    }
}

/// JSON lines as a list.
///
/// # Errors
/// The line that is no JSON; nothing when already the first is none, because
/// the file then is something else.
fn json_lines(bytes: &[u8]) -> std::result::Result<Value, Option<String>> {
    let mut records = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(record) => records.push(record),
            Err(_) if records.is_empty() => return Err(None),
            Err(error) => {
                let number = number + 1;
                // The parser counts lines from where it was put.
                let said = error.to_string();
                let why = said.split(" at line ").next().unwrap_or(&said);
                return Err(Some(format!("line {number} is no JSON ({why})")));
            }
        }
    }
    Ok(Value::Array(records))
}

/// Renames what other tools call the gold answers.
fn with_known_names(mut value: Value) -> Value {
    let records = match &mut value {
        Value::Object(map) if map.contains_key("predictions") => map.get_mut("predictions"),
        other => Some(other),
    };
    let records: Vec<&mut Value> = match records {
        Some(Value::Array(records)) => records.iter_mut().collect(),
        Some(Value::Object(records)) => records.iter_mut().map(|(_, record)| record).collect(),
        _ => Vec::new(),
    };
    for record in records {
        let Value::Object(record) = record else {
            continue;
        };
        let golds = ["expected", "answers", "golden_answers"]
            .into_iter()
            .find_map(|key| record.shift_remove(key).filter(|golds| !golds.is_null()));
        if let Some(golds) = golds {
            record.insert("expected".to_owned(), gold_texts(golds));
        }
    }
    value
}

/// Gold answers as texts: SQuAD has them as `{"text": [...]}` or as a list of
/// `{"text": ...}`, TriviaQA as `{"value": ..., "aliases": [...]}`.
fn gold_texts(golds: Value) -> Value {
    match golds {
        Value::Object(map) => texts_of(map).into(),
        Value::Array(items) => items
            .into_iter()
            .flat_map(|item| match item {
                Value::Object(map) => texts_of(map),
                other => vec![other],
            })
            .collect(),
        other => other,
    }
}

fn texts_of(mut golds: Map<String, Value>) -> Vec<Value> {
    let mut texts = Vec::new();
    for key in ["text", "value", "aliases"] {
        let found = match golds.shift_remove(key) {
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
            None => Vec::new(),
        };
        for text in found {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    texts
}

/// Keeps `candidate` when it is better than what is there: an answer over a
/// failure, then the first.
pub(super) fn keep_best(best: &mut BTreeMap<usize, Prediction>, candidate: Prediction) {
    match best.get(&candidate.idx) {
        Some(kept) if kept.is_answered() || !candidate.is_answered() => {}
        _ => {
            best.insert(candidate.idx, candidate);
        }
    }
}

/// A record of any shape. One without a prediction counts as a failure, so
/// that its question stays outstanding.
fn record(position: usize, item: Value) -> Option<Prediction> {
    let Value::Object(mut map) = item else {
        return None;
    };
    let idx = lenient::take_count(&mut map, "idx").unwrap_or(position);
    let question = take_question(&mut map).unwrap_or_default();
    let prediction = map.shift_remove("prediction").and_then(lenient::text);
    let error = match map.shift_remove("error") {
        None | Some(Value::Null | Value::Bool(false)) => None,
        Some(value) => lenient::text(value.clone())
            .map(Some)
            .unwrap_or_else(|| Some(value.to_string()))
            .filter(|text| !text.trim().is_empty()),
    };
    let error = match (&prediction, error) {
        (None, None) => Some("the record has no prediction".to_owned()),
        (_, error) => error,
    };
    let retrieved = match map.shift_remove("retrieved") {
        Some(Value::Array(items)) => items.into_iter().filter_map(retrieved).collect(),
        _ => Vec::new(),
    };
    Some(Prediction {
        idx,
        question,
        prediction: prediction.unwrap_or_default(),
        expected: take_expected(&mut map),
        prompt: lenient::take_text(&mut map, "prompt"),
        error,
        failure_class: map
            .shift_remove("failure_class")
            .and_then(|value| serde_json::from_value(value).ok()),
        aborted: lenient::take_flag(&mut map, "aborted"),
        retrieved,
        batch_size: lenient::take_count(&mut map, "batch_size").unwrap_or_default(),
        attempt: lenient::take_count(&mut map, "attempt")
            .and_then(|attempt| u32::try_from(attempt).ok())
            .unwrap_or_default(),
        tokens_in: lenient::take_count(&mut map, "tokens_in").unwrap_or_default(),
        tokens_out: lenient::take_count(&mut map, "tokens_out").unwrap_or_default(),
        latency_ms: map
            .shift_remove("latency_ms")
            .and_then(|value| value.as_f64())
            .map_or(0, |millis| millis.max(0.0) as u64),
        metrics: lenient::take_object(&mut map, "metrics"),
        extra: map,
    })
}

fn retrieved(item: Value) -> Option<Retrieved> {
    match item {
        Value::Object(mut map) => Some(Retrieved {
            id: lenient::take_text(&mut map, "id")?,
            score: map.get("score").and_then(Value::as_f64).unwrap_or_default(),
        }),
        other => lenient::text(other).map(|id| Retrieved { id, score: 0.0 }),
    }
}

/// Writes `predictions.json`: one record per question that has one, in the
/// order of `questions`. Equal inputs give equal bytes.
///
/// # Errors
/// When the file can not be written.
pub(super) fn write(
    path: &Path,
    experiment: &str,
    questions: &[Question],
    best: &BTreeMap<usize, Prediction>,
    aggregate: &Map<String, Value>,
    durability: Durability,
) -> Result<()> {
    let file = Rendered {
        experiment,
        predictions: Records { questions, best },
        aggregate_metrics: Sorted(aggregate),
        schema_version: SCHEMA_VERSION,
    };
    atomic::write_with(path, "predictions::write", durability, |out| {
        serde_json::to_writer_pretty(&mut *out, &file)?;
        out.write_all(b"\n")
    })
}

#[derive(Serialize)]
struct Rendered<'a> {
    experiment: &'a str,
    predictions: Records<'a>,
    aggregate_metrics: Sorted<'a>,
    schema_version: u32,
}

struct Records<'a> {
    questions: &'a [Question],
    best: &'a BTreeMap<usize, Prediction>,
}

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // By idx, so that a question listed twice has one record.
        let by_idx: BTreeMap<usize, &Question> = self
            .questions
            .iter()
            .rev()
            .map(|question| (question.idx, question))
            .collect();
        serializer.collect_seq(
            by_idx
                .into_iter()
                .filter_map(|(idx, question)| Some(Record::new(question, self.best.get(&idx)?))),
        )
    }
}

/// A record with every key of the contract, also those without a value.
#[derive(Serialize)]
struct Record<'a> {
    idx: usize,
    question: &'a str,
    prediction: &'a str,
    expected: &'a [String],
    prompt: Option<&'a str>,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_class: Option<FailureClass>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    aborted: bool,
    retrieved: &'a [Retrieved],
    batch_size: usize,
    attempt: u32,
    tokens_in: usize,
    tokens_out: usize,
    latency_ms: u64,
    metrics: Sorted<'a>,
    #[serde(flatten)]
    extra: Sorted<'a>,
}

impl<'a> Record<'a> {
    /// Question and gold answers come from the question list: old records
    /// may lack them.
    fn new(question: &'a Question, prediction: &'a Prediction) -> Self {
        Self {
            idx: question.idx,
            question: &question.question,
            prediction: &prediction.prediction,
            expected: &question.expected,
            prompt: prediction.prompt.as_deref(),
            error: prediction.error.as_deref(),
            failure_class: prediction.failure_class,
            aborted: prediction.aborted,
            retrieved: &prediction.retrieved,
            batch_size: prediction.batch_size,
            attempt: prediction.attempt,
            tokens_in: prediction.tokens_in,
            tokens_out: prediction.tokens_out,
            latency_ms: prediction.latency_ms,
            metrics: Sorted(&prediction.metrics),
            extra: Sorted(&prediction.extra),
        }
    }
}

/// A map by key, whatever the order it was filled in.
struct Sorted<'a>(&'a Map<String, Value>);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let sorted: BTreeMap<&String, &Value> = self.0.iter().collect();
        serializer.collect_map(sorted)
    }
}
