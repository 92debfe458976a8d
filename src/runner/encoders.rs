use super::{devices::LaneDevice, options::WorkerProgram, supervisor::worker_environment};
use crate::{
    domain::{
        Embedder, Encoders, Failure, FailureClass, ModelSpec, NearestRows, PairScorer, TokenModel,
        VectorFile, embedding_model, reranking_model,
    },
    hub,
    worker::{EncoderSettings, EncoderWorkers, MatchingWorker, ScorerOnDemand, Spawn},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an encoder may take to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How long a batch of texts may make no progress.
const BATCH_TIMEOUT: Duration = Duration::from_secs(600);

/// So many products take a processor of many cores longer than a GPU needs to
/// be ready: those of 500 queries with a million vectors of 400 numbers.
const MUCH_WORK: usize = 200_000_000_000;

/// Embedding models and cross-encoders in workers of their own. Their files are
/// fetched when they are first asked for; paths are looked for below each of
/// several directories, as those of a study are.
pub struct StudyEncoders {
    bases: Vec<PathBuf>,
    /// By model, the directory that its path starts from, or why it can not be
    /// had: it is asked for once, not once per experiment.
    settled: HashMap<ModelSpec, Result<Option<PathBuf>, Failure>>,
    workers: EncoderWorkers,
    /// Whether workers may find a GPU.
    has_gpu: bool,
}

impl StudyEncoders {
    /// No model yet. What workers print goes to `log`.
    pub fn new(
        worker: &WorkerProgram,
        device: &LaneDevice,
        bases: Vec<PathBuf>,
        log: &Path,
    ) -> Self {
        Self {
            bases,
            settled: HashMap::new(),
            has_gpu: cfg!(feature = "cuda") && device.device != "cpu",
            workers: EncoderWorkers::new(EncoderSettings {
                spawn: Spawn {
                    program: worker.program.clone(),
                    args: worker.args.clone(),
                    env: worker_environment(device),
                    log: log.to_owned(),
                },
                device: device.device.clone(),
                visible: device.visible.clone(),
                base: None,
                load_timeout: LOAD_TIMEOUT,
                batch_timeout: BATCH_TIMEOUT,
            }),
        }
    }

    /// A cross-encoder with its labels and logits.
    ///
    /// # Errors
    /// When the model is missing or not supported.
    pub fn classifier(&mut self, model: &ModelSpec) -> Result<&mut ScorerOnDemand, Failure> {
        self.settle(Ok(model.clone()))?;
        self.workers.classifier(&model.to_string())
    }

    /// What compares texts token by token.
    ///
    /// # Errors
    /// When the model is missing or can not be loaded.
    pub fn matcher(&mut self, tokens: &TokenModel) -> Result<&mut MatchingWorker, Failure> {
        self.settle(Ok(tokens.model.clone()))?;
        self.workers.matcher(tokens)
    }

    /// Sees to it that a model's files are here and that its path is looked
    /// for in the right place.
    fn settle(&mut self, model: Result<ModelSpec, String>) -> Result<(), Failure> {
        let model = model.map_err(|why| Failure::new(FailureClass::Permanent, why))?;
        let bases = &self.bases;
        let settled = self
            .settled
            .entry(model)
            .or_insert_with_key(|model| settled(model, bases));
        self.workers.set_base(settled.clone()?);
        Ok(())
    }
}

/// Fetches a model where it is not here, and says where its path starts.
fn settled(model: &ModelSpec, bases: &[PathBuf]) -> Result<Option<PathBuf>, Failure> {
    let base = base_of(model, bases);
    let found = match hub::locate(model, base.as_deref()) {
        Err(hub::HubError::NotFetched { .. } | hub::HubError::PartlyFetched { .. }) => {
            hub::fetch(model, &mut |_| {})
        }
        found => found,
    };
    match found {
        Ok(_) => Ok(base),
        Err(error) => Err(Failure::new(FailureClass::Permanent, error.to_string())),
    }
}

/// Sees to it that an encoder's files are here; `bases` as for
/// [`StudyEncoders`].
///
/// # Errors
/// One sentence that says what is missing and how to get it.
pub fn fetch_encoder(model: &ModelSpec, bases: &[PathBuf]) -> Result<(), String> {
    match settled(model, bases) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.message),
    }
}

/// The first directory below which the model is, or simply the first.
pub(super) fn base_of(model: &ModelSpec, bases: &[PathBuf]) -> Option<PathBuf> {
    let found = bases
        .iter()
        .find(|base| hub::locate(model, Some(base)).is_ok());
    found.or(bases.first()).cloned()
}

impl Encoders for StudyEncoders {
    fn embedder(&mut self, model: &str) -> Result<&mut dyn Embedder, Failure> {
        self.settle(embedding_model(model))?;
        self.workers.embedder(model)
    }

    fn scorer(&mut self, model: &str) -> Result<&mut dyn PairScorer, Failure> {
        self.settle(reranking_model(model))?;
        self.workers.scorer(model)
    }

    fn vectors(
        &mut self,
        model: &str,
        file: &VectorFile,
        queries: usize,
    ) -> Option<&mut dyn NearestRows> {
        let products = file.rows.saturating_mul(file.dimension);
        let is_worth_it = products.saturating_mul(queries) >= MUCH_WORK;
        if !self.has_gpu || !is_worth_it {
            return None;
        }
        self.settle(embedding_model(model)).ok()?;
        self.workers.vectors(model, file, queries)
    }

    fn release(&mut self) {
        self.workers.release();
    }
}
