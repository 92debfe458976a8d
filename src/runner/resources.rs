use crate::{
    datasets::{self, Dataset, DatasetError, SearchPaths},
    domain::{DatasetSpec, ModelSpec, Prompt, Provider},
    hub, metrics, prompts,
    study::{Catalog, KnownName},
};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::Duration,
};

/// What this program knows by name.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgramCatalog;

impl Catalog for ProgramCatalog {
    fn datasets(&self) -> Vec<KnownName> {
        datasets::known()
            .iter()
            .map(|dataset| KnownName::available(dataset.name))
            .collect()
    }

    fn metrics(&self) -> Vec<KnownName> {
        metrics::known()
            .iter()
            .flat_map(|metric| match metric.availability {
                metrics::Availability::Available => cut_offs(metric.name)
                    .into_iter()
                    .map(KnownName::available)
                    .collect(),
                metrics::Availability::Unavailable { reason } => {
                    vec![KnownName::unavailable(metric.name, reason)]
                }
            })
            .collect()
    }

    fn prompts(&self) -> Vec<KnownName> {
        let known_elsewhere = prompts::UNAVAILABLE
            .iter()
            .map(|&(name, reason)| KnownName::unavailable(name, reason));
        prompts::library()
            .names()
            .map(KnownName::available)
            .chain(known_elsewhere)
            .collect()
    }

    fn prompt(&self, name: &str, dataset: &str) -> Option<Prompt> {
        prompts::library().resolve(name, dataset)
    }
}

/// `recall@k` stands for one metric per k.
fn cut_offs(name: &str) -> Vec<String> {
    match name.strip_suffix("@k") {
        Some(base) => [1, 2, 3, 5, 10, 20, 50, 100]
            .iter()
            .map(|k| format!("{base}@{k}"))
            .collect(),
        None => vec![name.to_owned()],
    }
}

/// A lane that waits for another's download gives signs of life this often.
const WAIT: Duration = Duration::from_millis(200);

/// Where a model's relative path is resolved, or why it can not be had; empty
/// until somebody has looked.
type Found = Arc<Mutex<Option<Result<Option<PathBuf>, String>>>>;

/// Datasets that were loaded already: hundreds of cells share a few. Clones
/// share what they know of models, so that each is downloaded once.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    bases: Vec<PathBuf>,
    datasets: HashMap<(DatasetSpec, Option<usize>), Arc<Dataset>>,
    models: Arc<Mutex<HashMap<ModelSpec, Found>>>,
    told: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Resources {
    /// Relative paths are looked for below each of `bases`, in order.
    pub fn new(bases: Vec<PathBuf>) -> Self {
        Self {
            bases,
            datasets: HashMap::new(),
            models: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Sees to it that a model's files are here, downloading what is missing.
    /// The answer is kept: a model that can not be had is asked for once, not
    /// once per cell. `tell` hears of every downloaded piece, and of nothing now
    /// and then while another lane downloads it. Gives the directory against which its relative path is to be resolved.
    ///
    /// # Errors
    /// One sentence that says what is missing and how to get it.
    pub fn model(
        &self,
        model: &ModelSpec,
        tell: &mut dyn FnMut(Option<&hub::FetchProgress>),
    ) -> Result<Option<PathBuf>, String> {
        if matches!(model.provider, Provider::Openai | Provider::Vllm) {
            return Ok(None);
        }
        let found = {
            let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(models.entry(model.clone()).or_default())
        };
        let mut found = loop {
            match found.try_lock() {
                Ok(found) => break found,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    tell(None);
                    std::thread::sleep(WAIT);
                }
            }
        };
        if let Some(known) = &*found {
            return known.clone();
        }
        let here = self.locate(model, tell);
        *found = Some(here.clone());
        here
    }

    fn locate(
        &self,
        model: &ModelSpec,
        tell: &mut dyn FnMut(Option<&hub::FetchProgress>),
    ) -> Result<Option<PathBuf>, String> {
        let found = self
            .bases
            .iter()
            .find(|base| hub::locate(model, Some(base)).is_ok());
        let base = found.or(self.bases.first()).cloned();
        let here = match hub::locate(model, base.as_deref()) {
            Ok(_) => Ok(base),
            Err(hub::HubError::NotFetched { .. } | hub::HubError::PartlyFetched { .. }) => {
                hub::fetch(model, &mut |progress| tell(Some(progress))).map(|_| base)
            }
            Err(error) => Err(error),
        };
        here.map_err(|error| error.to_string())
    }

    /// The first `num_questions` questions of a dataset, or all of them.
    ///
    /// # Errors
    /// When it can not be loaded: one sentence.
    pub fn dataset(
        &mut self,
        spec: &DatasetSpec,
        num_questions: Option<usize>,
    ) -> Result<Arc<Dataset>, DatasetError> {
        let key = (spec.clone(), num_questions);
        if let Some(dataset) = self.datasets.get(&key) {
            return Ok(Arc::clone(dataset));
        }
        let search = SearchPaths::new(self.bases.clone());
        let dataset = Arc::new(datasets::load(spec, num_questions, &search)?);
        self.datasets.insert(key, Arc::clone(&dataset));
        Ok(dataset)
    }

    /// Whether nobody has been told of this file's warnings yet.
    pub fn is_news(&self, dataset: &Dataset) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(dataset.source.clone())
    }

    /// A relative path below the first base that has it; otherwise as it is.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.bases
            .iter()
            .map(|base| base.join(path))
            .find(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from(path))
    }
}
