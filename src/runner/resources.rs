use crate::{
    datasets::{self, Dataset, DatasetError, SearchPaths},
    domain::{DatasetSpec, ModelSpec, Prompt, Provider},
    hub, metrics, prompts,
    study::{Catalog, KnownName},
};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
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

/// Datasets that were loaded already: hundreds of cells share a few.
#[derive(Debug, Default)]
pub struct Resources {
    bases: Vec<PathBuf>,
    datasets: HashMap<(DatasetSpec, Option<usize>), Arc<Dataset>>,
    models: HashMap<ModelSpec, Result<Option<PathBuf>, String>>,
    told: HashSet<PathBuf>,
}

impl Resources {
    /// Relative paths are looked for below each of `bases`, in order.
    pub fn new(bases: Vec<PathBuf>) -> Self {
        Self {
            bases,
            datasets: HashMap::new(),
            models: HashMap::new(),
            told: HashSet::new(),
        }
    }

    /// Where relative paths are looked for, in order.
    pub fn bases(&self) -> &[PathBuf] {
        &self.bases
    }

    /// Sees to it that a model's files are here, downloading what is missing.
    /// The answer is kept: a model that can not be had is asked for once, not
    /// once per cell. `tell` hears of every downloaded piece. Gives the
    /// directory against which its relative path is to be resolved.
    ///
    /// # Errors
    /// One sentence that says what is missing and how to get it.
    pub fn model(
        &mut self,
        model: &ModelSpec,
        tell: &mut dyn FnMut(&hub::FetchProgress),
    ) -> Result<Option<PathBuf>, String> {
        if matches!(model.provider, Provider::Openai | Provider::Vllm) {
            return Ok(None);
        }
        if let Some(known) = self.models.get(model) {
            return known.clone();
        }
        let found = self
            .bases
            .iter()
            .find(|base| hub::locate(model, Some(base)).is_ok());
        let base = found.or(self.bases.first()).cloned();
        let here = match hub::locate(model, base.as_deref()) {
            Ok(_) => Ok(base),
            Err(hub::HubError::NotFetched { .. } | hub::HubError::PartlyFetched { .. }) => {
                hub::fetch(model, tell).map(|_| base)
            }
            Err(error) => Err(error),
        };
        let here = here.map_err(|error| error.to_string());
        self.models.insert(model.clone(), here.clone());
        here
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
    pub fn is_news(&mut self, dataset: &Dataset) -> bool {
        self.told.insert(dataset.source.clone())
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
