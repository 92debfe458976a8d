//! Encoders that are started when they are first asked to encode: whatever was
//! kept from before needs to know which model made it, and not the model.

use super::encoders::{EmbeddingWorker, EncoderSettings, ScoringWorker};
use crate::domain::{
    Embedder, Failure, FailureClass, ModelSpec, PairScorer, TextRole, embedding_model, relevance,
    reranking_model,
};

/// An embedding model that is loaded for its first text.
pub struct EmbedderOnDemand {
    settings: EncoderSettings,
    model: String,
    identity: String,
    dimension: usize,
    worker: Option<EmbeddingWorker>,
}

/// A cross-encoder that is loaded for its first pair.
pub struct ScorerOnDemand {
    settings: EncoderSettings,
    model: String,
    identity: String,
    labels: Vec<String>,
    worker: Option<ScoringWorker>,
}

impl EmbedderOnDemand {
    /// The model of a name that studies use, as its files tell of it.
    ///
    /// # Errors
    /// When there is no such name, the model is missing or not supported.
    pub fn new(settings: &EncoderSettings, model: &str) -> Result<Self, Failure> {
        let spec = embedding_model(model).map_err(permanent)?;
        let (identity, dimension, worker) = match told::embedder(settings, &spec)? {
            Some((identity, dimension)) => (identity, dimension, None),
            None => {
                let worker = EmbeddingWorker::start(settings, model)?;
                (
                    worker.identity().to_owned(),
                    worker.dimension(),
                    Some(worker),
                )
            }
        };
        Ok(Self {
            settings: settings.clone(),
            model: model.to_owned(),
            identity,
            dimension,
            worker,
        })
    }
}

impl Embedder for EmbedderOnDemand {
    fn embed(&mut self, texts: &[&str], role: TextRole) -> Result<Vec<Vec<f32>>, Failure> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => {
                let worker = EmbeddingWorker::start(&self.settings, &self.model)?;
                same(&self.model, &self.identity, worker.identity())?;
                none.insert(worker)
            }
        };
        worker.embed(texts, role)
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

impl ScorerOnDemand {
    /// As [`EmbedderOnDemand::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(settings: &EncoderSettings, model: &str) -> Result<Self, Failure> {
        let spec = reranking_model(model).map_err(permanent)?;
        let (identity, labels, worker) = match told::scorer(settings, &spec)? {
            Some((identity, labels)) => (identity, labels, None),
            None => {
                let worker = ScoringWorker::start(settings, model)?;
                let labels = worker.labels().to_vec();
                (worker.identity().to_owned(), labels, Some(worker))
            }
        };
        Ok(Self {
            settings: settings.clone(),
            model: model.to_owned(),
            identity,
            labels,
            worker,
        })
    }

    /// The labels, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The logits of pairs, in order, one per label.
    ///
    /// # Errors
    /// When the model can not be loaded; a failure of the batch.
    pub fn logits(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => {
                let worker = ScoringWorker::start(&self.settings, &self.model)?;
                same(&self.model, &self.identity, worker.identity())?;
                none.insert(worker)
            }
        };
        worker.logits(pairs)
    }
}

impl PairScorer for ScorerOnDemand {
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.logits(pairs)?;
        relevance(&self.labels, &logits)
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

/// What was kept under one identity must not be mixed with what another model
/// makes: its files may have been replaced in between.
fn same(model: &str, told: &str, loaded: &str) -> Result<(), Failure> {
    match told == loaded {
        true => Ok(()),
        false => Err(permanent(format!(
            "{model} was {told} and is {loaded} now; run it again"
        ))),
    }
}

fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}

/// What the files of models tell. A model that is to run in 16 bits runs in 32
/// on the processor, so that only its worker can tell what it is.
#[cfg(feature = "inference")]
mod told {
    use super::*;
    use crate::{
        domain::Dtype,
        hub,
        inference::{PairClassifier, TextEmbedder},
    };

    pub fn embedder(
        settings: &EncoderSettings,
        model: &ModelSpec,
    ) -> Result<Option<(String, usize)>, Failure> {
        match model.dtype {
            Dtype::Auto => {
                let files = hub::locate(model, settings.base.as_deref())?;
                TextEmbedder::told_by_files(&files).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub fn scorer(
        settings: &EncoderSettings,
        model: &ModelSpec,
    ) -> Result<Option<(String, Vec<String>)>, Failure> {
        match model.dtype {
            Dtype::Auto => {
                let files = hub::locate(model, settings.base.as_deref())?;
                PairClassifier::told_by_files(&files).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Without the code that reads them, a worker has to be asked.
#[cfg(not(feature = "inference"))]
mod told {
    use super::*;

    pub fn embedder(
        _settings: &EncoderSettings,
        _model: &ModelSpec,
    ) -> Result<Option<(String, usize)>, Failure> {
        Ok(None)
    }

    pub fn scorer(
        _settings: &EncoderSettings,
        _model: &ModelSpec,
    ) -> Result<Option<(String, Vec<String>)>, Failure> {
        Ok(None)
    }
}
