use super::{atomic, error::Result, predictions::PredictionsFile};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// What of a file of our own shape is looked at: prompts make up most of it,
/// and are passed over without a copy.
#[derive(Deserialize)]
struct File {
    predictions: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    idx: usize,
    question: String,
    metrics: Map<String, Value>,
}

/// idx, question and score of every record that has the metric, by idx. An
/// absent file has none.
///
/// # Errors
/// When the file can not be read, or holds no records.
pub(super) fn read(path: &Path, metric: &str) -> Result<Vec<(usize, String, f64)>> {
    let Some(bytes) = atomic::read(path)? else {
        return Ok(Vec::new());
    };
    let score = |metrics: &Map<String, Value>| metrics.get(metric).and_then(Value::as_f64);
    let mut scores: Vec<_> = match serde_json::from_slice::<File>(&bytes) {
        Ok(file) => file
            .predictions
            .into_iter()
            .filter_map(|item| Some((item.idx, item.question, score(&item.metrics)?)))
            .collect(),
        // An older shape, or no JSON at all.
        Err(_) => PredictionsFile::read(path)?
            .map(PredictionsFile::best)
            .unwrap_or_default()
            .into_values()
            .filter(|record| record.is_answered())
            .filter_map(|record| Some((record.idx, score(&record.metrics)?, record.question)))
            .map(|(idx, score, question)| (idx, question, score))
            .collect(),
    };
    scores.sort_by_key(|(idx, _, _)| *idx);
    scores.dedup_by_key(|(idx, _, _)| *idx);
    Ok(scores)
}
