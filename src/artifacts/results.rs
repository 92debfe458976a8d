use super::{
    atomic::{self, Durability},
    error::Result,
    lenient, time,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// `results.json`: what an experiment came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// The experiment's name.
    pub name: String,
    /// The scores, with `n_scored`, `n_failed` and coverage.
    pub metrics: Map<String, Value>,
    /// Questions that have an answer.
    pub num_examples: usize,
    /// Seconds of work, over all attempts.
    pub duration_seconds: f64,
    /// The experiment's directory.
    pub output_path: String,
    /// Where the answers are.
    pub predictions_path: String,
    /// What was run: model, quantisation, dataset, retriever, and so on.
    pub metadata: Map<String, Value>,
    /// When it was written, RFC 3339 UTC.
    pub timestamp: String,
    /// Keys that other versions wrote; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Results {
    /// Results of the experiment in `directory`, as of now.
    pub fn new(
        name: impl Into<String>,
        directory: &Path,
        metrics: Map<String, Value>,
        num_examples: usize,
        duration_seconds: f64,
        metadata: Map<String, Value>,
    ) -> Self {
        Self {
            name: name.into(),
            metrics,
            num_examples,
            duration_seconds,
            output_path: directory.display().to_string(),
            predictions_path: directory.join("predictions.json").display().to_string(),
            metadata,
            timestamp: time::now(),
            extra: Map::new(),
        }
    }

    /// Reads a file of this or an older shape; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or is no JSON object.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(mut map) = lenient::object(path)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: lenient::take_text(&mut map, "name").unwrap_or_default(),
            metrics: lenient::take_object(&mut map, "metrics"),
            num_examples: lenient::take_count(&mut map, "num_examples").unwrap_or_default(),
            duration_seconds: map
                .shift_remove("duration_seconds")
                .and_then(|value| value.as_f64())
                .unwrap_or_default(),
            output_path: lenient::take_text(&mut map, "output_path").unwrap_or_default(),
            predictions_path: lenient::take_text(&mut map, "predictions_path").unwrap_or_default(),
            metadata: lenient::take_object(&mut map, "metadata"),
            timestamp: lenient::take_text(&mut map, "timestamp").unwrap_or_default(),
            extra: map,
        }))
    }

    /// Writes the file durably.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let bytes = lenient::pretty(path, self)?;
        atomic::write(path, "results::write", Durability::Durable, &bytes)
    }
}
