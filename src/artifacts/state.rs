use super::{
    SCHEMA_VERSION,
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    lenient, time,
};
use crate::domain::{FailureClass, Phase};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// `state.json`: where an experiment stands.
///
/// People grep these files for the word "failed" to find failed experiments.
/// So no key contains it, also none that another version wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// The first line of the error; `None` when there is none.
    pub error: Option<String>,
    /// Questions with an answer.
    pub predictions_complete: usize,
    /// Questions in all.
    pub total_questions: usize,
    /// When the first attempt began, RFC 3339 UTC.
    pub started_at: String,
    /// When this file was written, RFC 3339 UTC.
    pub updated_at: String,
    /// Metrics that the study asks for.
    pub metrics_requested: Vec<String>,
    /// Metrics that `results.json` holds.
    pub metrics_computed: Vec<String>,
    /// True when a signal ended the last attempt.
    pub interrupted: bool,
    /// Attempts at this experiment, from 1; 0 before the first.
    pub attempt: u32,
    /// The version of this shape; 0 for files that name none.
    pub schema_version: u32,
    /// Questions that were tried, or given up, and have no answer.
    pub unanswered: usize,
    /// The error's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_class: Option<FailureClass>,
    /// True when the last attempt would not add to the answers that are there,
    /// because they were made with something else: `--force` starts over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_force: bool,
    /// The hash of the spec that the last attempt was of, beside the one in
    /// `metadata.json`, which may be lost; empty in files of older shapes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spec_hash: String,
    /// Keys that other versions wrote; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl State {
    /// An experiment of which nothing is done yet.
    pub fn new(total_questions: usize, metrics_requested: Vec<String>) -> Self {
        let now = time::now();
        Self {
            phase: Phase::Init,
            error: None,
            predictions_complete: 0,
            total_questions,
            started_at: now.clone(),
            updated_at: now,
            metrics_requested,
            metrics_computed: Vec::new(),
            interrupted: false,
            attempt: 0,
            schema_version: SCHEMA_VERSION,
            unanswered: 0,
            failure_class: None,
            needs_force: false,
            spec_hash: String::new(),
            extra: Map::new(),
        }
    }

    /// Reads a file of this or an older shape; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, is no JSON object, or names no known phase.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(map) = lenient::object(path)? else {
            return Ok(None);
        };
        Self::from_object(map)
            .map(Some)
            .map_err(|why| ArtifactError::malformed(path, why))
    }

    /// Writes the file, with `updated_at` set to now; durably where work ends.
    /// A power cut may take back a phase on the way: the journal knows better.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut state = self.clone();
        state.updated_at = time::now();
        state.schema_version = SCHEMA_VERSION;
        state.extra.retain(|key, _| !key.contains("failed"));
        let bytes = lenient::pretty(path, &state)?;
        let is_end = state.interrupted || matches!(state.phase, Phase::Complete | Phase::Failed);
        let durability = match is_end {
            true => Durability::Durable,
            false => Durability::Ordered,
        };
        atomic::write(path, "state::write", durability, &bytes)
    }

    /// # Errors
    /// When the phase is missing or unknown: every other key has a default.
    fn from_object(mut map: Map<String, Value>) -> std::result::Result<Self, String> {
        let phase = match map.shift_remove("phase") {
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|_| format!("its phase is {value}, which is none of ours"))?,
            None => return Err("it names no phase".to_owned()),
        };
        Ok(Self {
            phase,
            error: lenient::take_text(&mut map, "error").filter(|text| !text.is_empty()),
            predictions_complete: lenient::take_count(&mut map, "predictions_complete")
                .unwrap_or_default(),
            total_questions: lenient::take_count(&mut map, "total_questions").unwrap_or_default(),
            started_at: lenient::take_text(&mut map, "started_at").unwrap_or_default(),
            updated_at: lenient::take_text(&mut map, "updated_at").unwrap_or_default(),
            metrics_requested: lenient::take_texts(&mut map, "metrics_requested"),
            metrics_computed: lenient::take_texts(&mut map, "metrics_computed"),
            interrupted: lenient::take_flag(&mut map, "interrupted"),
            attempt: take_u32(&mut map, "attempt"),
            schema_version: take_u32(&mut map, "schema_version"),
            unanswered: lenient::take_count(&mut map, "unanswered").unwrap_or_default(),
            failure_class: map
                .shift_remove("failure_class")
                .and_then(|value| serde_json::from_value(value).ok()),
            needs_force: lenient::take_flag(&mut map, "needs_force"),
            spec_hash: lenient::take_text(&mut map, "spec_hash").unwrap_or_default(),
            extra: map,
        })
    }
}

fn take_u32(map: &mut Map<String, Value>, key: &str) -> u32 {
    lenient::take_count(map, key)
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or_default()
}
