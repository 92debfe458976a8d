use super::{
    SCHEMA_VERSION,
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    identity::StoredIdentity,
    lenient, time,
};
use crate::domain::ExperimentSpec;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// `metadata.json`: what the experiment is, and what it ran on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metadata {
    /// The experiment's name.
    pub experiment: String,
    /// The hash of the canonical spec: the experiment's identity. Empty in
    /// files of older shapes.
    pub spec_hash: String,
    /// The spec.
    pub spec: Value,
    /// Program version, host, device, driver: whatever the run can tell.
    pub environment: Value,
    /// What was loaded, as the generator describes it: the types and bits of
    /// its tensors.
    pub model: Value,
    /// Where the questions are from: source, revision, checksum.
    pub dataset: Value,
    /// Which index was searched, by its identity; `null` without one.
    pub index: Value,
    /// Tokens, batches by size, restarts and other sums over all attempts.
    pub counts: Map<String, Value>,
    /// When the directory was made, RFC 3339 UTC.
    pub created_at: String,
    /// The version of this shape; 0 for files that name none.
    pub schema_version: u32,
    /// Keys that other versions wrote; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Metadata {
    /// Metadata of an experiment that has not started.
    pub fn new(spec: &ExperimentSpec) -> Self {
        Self {
            experiment: spec.name.clone(),
            spec_hash: spec.hash(),
            // A spec is plain data with text keys: it always serialises.
            spec: serde_json::to_value(spec).unwrap_or(Value::Null),
            environment: Value::Object(Map::new()),
            model: Value::Null,
            dataset: Value::Null,
            index: Value::Null,
            counts: Map::new(),
            created_at: time::now(),
            schema_version: SCHEMA_VERSION,
            extra: Map::new(),
        }
    }

    /// The identity, where the file has one.
    pub fn identity(&self) -> Option<StoredIdentity> {
        (!self.spec_hash.is_empty()).then(|| StoredIdentity {
            hash: self.spec_hash.clone(),
            spec: self.spec.clone(),
        })
    }

    /// Reads a file of this or an older shape; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or is no JSON object.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(mut map) = lenient::object(path)? else {
            return Ok(None);
        };
        let spec_hash = match map.shift_remove("spec_hash") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(hash)) => hash,
            Some(_) => return Err(ArtifactError::malformed(path, "its spec_hash is no text")),
        };
        Ok(Some(Self {
            experiment: lenient::take_text(&mut map, "experiment").unwrap_or_default(),
            spec_hash,
            spec: map.shift_remove("spec").unwrap_or_default(),
            environment: map.shift_remove("environment").unwrap_or_default(),
            model: map.shift_remove("model").unwrap_or_default(),
            dataset: map.shift_remove("dataset").unwrap_or_default(),
            index: map.shift_remove("index").unwrap_or_default(),
            counts: lenient::take_object(&mut map, "counts"),
            created_at: lenient::take_text(&mut map, "created_at").unwrap_or_default(),
            schema_version: lenient::take_count(&mut map, "schema_version")
                .and_then(|version| u32::try_from(version).ok())
                .unwrap_or_default(),
            extra: map,
        }))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn write(&self, path: &Path, durability: Durability) -> Result<()> {
        let bytes = lenient::pretty(path, self)?;
        atomic::write(path, "metadata::write", durability, &bytes)
    }
}
