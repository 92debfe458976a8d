use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    lenient,
};
use crate::domain::Question;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// `questions.json`: what the experiment has to answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuestionsFile {
    /// The experiment's name.
    pub experiment: String,
    /// The dataset's name.
    pub dataset: String,
    /// How many questions there are.
    pub count: usize,
    /// The questions, by idx.
    pub questions: Vec<Question>,
    /// Keys that other versions wrote; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl QuestionsFile {
    /// The file for these questions.
    pub fn new(
        experiment: impl Into<String>,
        dataset: impl Into<String>,
        questions: Vec<Question>,
    ) -> Self {
        Self {
            experiment: experiment.into(),
            dataset: dataset.into(),
            count: questions.len(),
            questions,
            extra: Map::new(),
        }
    }

    /// Reads a file of this or an older shape: also a bare list, and
    /// questions by idx. Of two with one idx the first counts.
    ///
    /// # Errors
    /// When it can not be read, or holds no questions.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(value) = lenient::value(path)? else {
            return Ok(None);
        };
        let mut map = match value {
            Value::Object(map) => map,
            Value::Array(items) => Map::from_iter([("questions".to_owned(), Value::Array(items))]),
            other => {
                let why = format!("it holds {} where questions belong", lenient::kind(&other));
                return Err(ArtifactError::malformed(path, why));
            }
        };
        let experiment = lenient::take_text(&mut map, "experiment").unwrap_or_default();
        let dataset = lenient::take_text(&mut map, "dataset").unwrap_or_default();
        let count = lenient::take_count(&mut map, "count");
        let questions = match map.shift_remove("questions") {
            Some(value @ (Value::Array(_) | Value::Object(_))) => by_idx(value),
            _ => {
                let why = "it has no list of questions";
                return Err(ArtifactError::malformed(path, why));
            }
        };
        Ok(Some(Self {
            experiment,
            dataset,
            count: count.unwrap_or(questions.len()),
            questions,
            extra: map,
        }))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write(&self, path: &Path, durability: Durability) -> Result<()> {
        let bytes = lenient::pretty(path, self)?;
        atomic::write(path, "questions::write", durability, &bytes)
    }
}

fn by_idx(value: Value) -> Vec<Question> {
    let mut questions = BTreeMap::new();
    for (position, item) in items(value) {
        if let Some(question) = question(position, item) {
            questions.entry(question.idx).or_insert(question);
        }
    }
    questions.into_values().collect()
}

/// The items of a list with their positions, or of an object with its keys
/// where these are numbers.
pub(super) fn items(value: Value) -> Vec<(usize, Value)> {
    match value {
        Value::Array(items) => items.into_iter().enumerate().collect(),
        Value::Object(map) => map
            .into_iter()
            .enumerate()
            .map(|(position, (key, item))| (key.trim().parse().unwrap_or(position), item))
            .collect(),
        _ => Vec::new(),
    }
}

fn question(position: usize, item: Value) -> Option<Question> {
    let mut map = match item {
        Value::Object(map) => map,
        Value::String(text) => Map::from_iter([("question".to_owned(), Value::String(text))]),
        _ => return None,
    };
    Some(Question {
        idx: lenient::take_count(&mut map, "idx").unwrap_or(position),
        question: take_question(&mut map)?,
        expected: take_expected(&mut map),
        id: lenient::take_text(&mut map, "id"),
        supporting: lenient::take_texts(&mut map, "supporting"),
        context: lenient::take_texts(&mut map, "context"),
    })
}

/// Takes the question's text: old files call it `query`.
pub(super) fn take_question(map: &mut Map<String, Value>) -> Option<String> {
    let question = lenient::take_text(map, "question");
    let query = lenient::take_text(map, "query");
    question.or(query)
}

/// Takes the gold answers: a list, or one text.
pub(super) fn take_expected(map: &mut Map<String, Value>) -> Vec<String> {
    lenient::take_texts(map, "expected")
}
