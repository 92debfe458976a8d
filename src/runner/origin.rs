//! What an experiment's answers are made with: put on record before the first
//! of them, so that a run that was killed at any moment is not gone on with
//! by another model or over another index.

use super::drift;
use crate::{
    artifacts::{ArtifactError, Durability, ExperimentDir, Lease, Metadata, State},
    domain::{ExperimentSpec, Failure, FailureClass},
};
use serde_json::{Value, json};

/// The model and the index of the answers that are there. Null is what is not
/// known, and everything while there are none.
#[derive(Debug, Default)]
pub struct Origin {
    model: Value,
    index: Value,
    /// Another one was turned away.
    has_refused: bool,
}

impl Origin {
    /// What the record of an experiment with answers tells.
    pub fn of(metadata: Option<Metadata>) -> Self {
        metadata.map_or_else(Self::default, |metadata| Self {
            model: metadata.model,
            index: metadata.index,
            has_refused: false,
        })
    }

    /// Whether a model that describes itself so is known to be another one.
    pub fn is_of_another_model(&self, now: &Value) -> bool {
        drift::of_model(&self.model, now).is_some()
    }

    /// Turns another model away, and says why.
    pub fn refuse_model(&mut self, now: &Value) -> Option<Failure> {
        let failure = drift::of_model(&self.model, now);
        self.has_refused |= failure.is_some();
        failure
    }

    /// As [`Self::refuse_model`], of the index of this identity.
    pub fn refuse_index(&mut self, now: &str) -> Option<Failure> {
        let failure = drift::of_index(&self.index, now);
        self.has_refused |= failure.is_some();
        failure
    }

    /// Adds no answers to those that are there, for this reason: only `--force`
    /// or what it names goes on.
    pub fn refuse(&mut self, message: String) -> Failure {
        self.has_refused = true;
        Failure::new(FailureClass::Permanent, message)
    }

    /// Whether no answers may be added as things are.
    pub fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// Puts on record what was not known before: answers follow that are made
    /// with these. What an attempt without answers left behind is replaced.
    ///
    /// Durable, because an answer whose origin a power cut takes back could be
    /// joined by those of another model.
    pub fn record(
        &mut self,
        spec: &ExperimentSpec,
        dir: &ExperimentDir,
        lease: &Lease,
        model: &Value,
        index: &Value,
    ) -> Result<(), ArtifactError> {
        let is_news = |known: &Value, now: &Value| known.is_null() && !now.is_null();
        if !is_news(&self.model, model) && !is_news(&self.index, index) {
            return Ok(());
        }
        let before = stored(spec, dir)?;
        let mut metadata = before.clone();
        for (known, now, told) in [
            (&mut self.model, model, &mut metadata.model),
            (&mut self.index, index, &mut metadata.index),
        ] {
            if known.is_null() {
                known.clone_from(now);
                told.clone_from(now);
            }
        }
        if metadata == before {
            return Ok(());
        }
        lease.check()?;
        dir.write_metadata(&metadata, Durability::Durable)
    }
}

/// The record of this experiment that is there, or a new one.
pub fn stored(spec: &ExperimentSpec, dir: &ExperimentDir) -> Result<Metadata, ArtifactError> {
    match dir.metadata() {
        Ok(Some(metadata)) if metadata.spec_hash == spec.hash() => Ok(metadata),
        Ok(_) | Err(ArtifactError::Malformed { .. }) => Ok(Metadata::new(spec)),
        Err(error) => Err(error),
    }
}

/// Whether the record that this program has made of an experiment is gone or
/// can not be read, so that nobody knows what its answers are of. Other
/// programs may have made none.
pub fn is_lost(dir: &ExperimentDir, state: &State) -> Result<bool, ArtifactError> {
    let is_ours = state.schema_version > 0;
    match dir.metadata() {
        Ok(Some(_)) => Ok(false),
        Ok(None) => Ok(is_ours && state.attempt > 0),
        Err(ArtifactError::Malformed { .. }) => Ok(is_ours),
        Err(error) => Err(error),
    }
}

/// What a record says of the index that passages are from.
pub fn about_index(spec: &ExperimentSpec, identity: Option<&str>) -> Value {
    identity.map_or(Value::Null, |identity| {
        json!({
            "retriever": spec.retriever.as_ref().map(|retriever| &retriever.name),
            "identity": identity,
        })
    })
}
