use crate::{
    datasets::{self, Dataset, DatasetError, SearchPaths},
    domain::{DatasetSpec, ModelSpec, Prompt, Provider},
    hub::{self, DatasetSplit},
    metrics, prompts,
    study::{Catalog, KnownName},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
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

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// A corpus that studies may name without a path.
struct KnownCorpus {
    name: &'static str,
    hub_repository: &'static str,
    hub_config: &'static str,
}

const CORPORA: [KnownCorpus; 2] = [
    KnownCorpus {
        name: "simple",
        hub_repository: "wikimedia/wikipedia",
        hub_config: "20231101.simple",
    },
    KnownCorpus {
        name: "en",
        hub_repository: "wikimedia/wikipedia",
        hub_config: "20231101.en",
    },
];

impl KnownCorpus {
    fn on_hub(&self) -> DatasetSplit {
        DatasetSplit {
            repository: self.hub_repository.to_owned(),
            revision: None,
            config: Some(self.hub_config.to_owned()),
            split: "train".to_owned(),
        }
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
/// share what they know of models, datasets and corpora on the hub, so that
/// each is downloaded once.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    bases: Vec<PathBuf>,
    datasets: HashMap<(DatasetSpec, Option<usize>), Arc<Dataset>>,
    models: Arc<Mutex<HashMap<ModelSpec, Found>>>,
    /// Held while a dataset or corpus is downloaded.
    downloads: Arc<Mutex<Downloads>>,
    used: Arc<Mutex<Used>>,
    told: Arc<Mutex<HashSet<PathBuf>>>,
}

/// What came of asking the hub.
#[derive(Debug, Default)]
struct Downloads {
    /// Datasets that are neither here nor to be had, and why.
    lost_datasets: HashMap<DatasetSpec, String>,
    /// Where corpora are, or why they can not be had.
    corpora: HashMap<String, Result<PathBuf, String>>,
}

/// What was used, by name, for a study's manifest.
#[derive(Debug, Default)]
struct Used {
    datasets: Map<String, Value>,
    /// Of them those whose questions were asked, or their answers scored.
    asked: HashSet<String>,
    corpora: Map<String, Value>,
}

/// Hears of a download: of a piece, or of nothing while another lane has it.
pub type Tell<'t> = dyn FnMut(Option<&hub::FetchProgress>) + 't;

/// Waits for what another lane may hold, with signs of life.
fn wait_for<'m, T>(mutex: &'m Mutex<T>, tell: &mut Tell<'_>) -> MutexGuard<'m, T> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                tell(None);
                std::thread::sleep(WAIT);
            }
        }
    }
}

impl Resources {
    /// Relative paths are looked for below each of `bases`, in order.
    pub fn new(bases: Vec<PathBuf>) -> Self {
        Self {
            bases,
            ..Self::default()
        }
    }

    /// Where relative paths are looked for, in order.
    pub fn bases(&self) -> &[PathBuf] {
        &self.bases
    }

    /// Sees to it that a model's files are here, downloading what is missing.
    /// The answer is kept: a model that can not be had is asked for once, not
    /// once per cell. `tell` hears of every downloaded piece, and of nothing now
    /// and then while another lane downloads it. Gives the directory against
    /// which its relative path is to be resolved.
    ///
    /// # Errors
    /// One sentence that says what is missing and how to get it.
    pub fn model(&self, model: &ModelSpec, tell: &mut Tell<'_>) -> Result<Option<PathBuf>, String> {
        if matches!(model.provider, Provider::Openai | Provider::Vllm) {
            return Ok(None);
        }
        let found = {
            let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(models.entry(model.clone()).or_default())
        };
        let mut found = wait_for(&found, tell);
        if let Some(known) = &*found {
            return known.clone();
        }
        let here = self.locate(model, tell);
        *found = Some(here.clone());
        here
    }

    /// Whether a model's files are on this machine.
    pub fn is_here(&self, model: &ModelSpec) -> bool {
        self.why_missing(model).is_none()
    }

    /// What is missing of a model on this machine, as one sentence.
    pub fn why_missing(&self, model: &ModelSpec) -> Option<String> {
        let mut bases = self.bases.iter();
        if bases.any(|base| hub::locate(model, Some(base)).is_ok()) {
            return None;
        }
        let base = self.bases.first().map(PathBuf::as_path);
        let found = hub::locate(model, base);
        found.err().map(|error| error.to_string())
    }

    fn locate(&self, model: &ModelSpec, tell: &mut Tell<'_>) -> Result<Option<PathBuf>, String> {
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

    /// The first `num_questions` questions of a dataset, or all of them, if it
    /// is on this machine.
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
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.datasets.insert(
            spec.name.clone(),
            json!({
                "source": dataset.source.display().to_string(),
                "revision": dataset.revision,
                "sha256": dataset.checksum,
                "sample_seed": spec.sample_seed,
                "questions": dataset.questions.len(),
                "skipped_empty": dataset.skipped_empty,
                "without_answers": dataset.without_answers,
                "repeated": dataset.repeated,
            }),
        );
        drop(used);
        Ok(dataset)
    }

    /// The dataset is what an experiment's answers are for.
    pub fn is_asked(&self, spec: &DatasetSpec) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.asked.insert(spec.name.clone());
    }

    /// A dataset that was loaded already.
    pub fn known_dataset(
        &self,
        spec: &DatasetSpec,
        num_questions: Option<usize>,
    ) -> Option<Arc<Dataset>> {
        self.datasets.get(&(spec.clone(), num_questions)).cloned()
    }

    /// As [`Self::dataset`], downloading what is not here. What can not be
    /// had is asked for once, not once per cell.
    ///
    /// # Errors
    /// One sentence that says what is missing and how to get it.
    pub fn fetch_dataset(
        &mut self,
        spec: &DatasetSpec,
        num_questions: Option<usize>,
        tell: &mut Tell<'_>,
    ) -> Result<Arc<Dataset>, String> {
        match self.dataset(spec, num_questions) {
            Err(DatasetError::NotHere { .. }) => {}
            loaded => return loaded.map_err(|error| error.to_string()),
        }
        let downloads = Arc::clone(&self.downloads);
        let mut downloads = wait_for(&downloads, tell);
        if let Some(why) = downloads.lost_datasets.get(spec) {
            return Err(why.clone());
        }
        let search = SearchPaths::new(self.bases.clone());
        datasets::fetch(spec, &search, &mut |progress| tell(Some(progress)))
            .and_then(|()| self.dataset(spec, num_questions))
            .map_err(|error| {
                let why = error.to_string();
                downloads.lost_datasets.insert(spec.clone(), why.clone());
                why
            })
    }

    /// Whether a corpus is one of the hub, not a path.
    pub fn is_on_hub(&self, corpus: &str) -> bool {
        CORPORA.iter().any(|known| known.name == corpus) && !self.resolve(corpus).exists()
    }

    /// Where a retriever's corpus is: the directory of a corpus that is known
    /// by name, downloading what of it is not here, or a path.
    ///
    /// # Errors
    /// One sentence that says what is missing and how to get it.
    pub fn corpus(&self, name: &str, tell: &mut Tell<'_>) -> Result<PathBuf, String> {
        // Whoever has such a path beside the study means it.
        let known = CORPORA.iter().find(|known| known.name == name);
        let Some(known) = known.filter(|_| self.is_on_hub(name)) else {
            return Ok(self.resolve(name));
        };
        let mut downloads = wait_for(&self.downloads, tell);
        if let Some(here) = downloads.corpora.get(name) {
            return here.clone();
        }
        let fetched = hub::fetch_dataset(&known.on_hub(), &mut |progress| tell(Some(progress)));
        let here = match fetched {
            Ok(files) => {
                let bytes = |path: &PathBuf| path.metadata().map_or(0, |meta| meta.len());
                let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
                used.corpora.insert(
                    name.to_owned(),
                    json!({
                        "source": format!("{} {}", known.hub_repository, known.hub_config),
                        "revision": files.revision,
                        "files": files.paths.len(),
                        "bytes": files.paths.iter().map(bytes).sum::<u64>(),
                    }),
                );
                let directory = files.paths.first().and_then(|path| path.parent());
                Ok(directory.map_or_else(PathBuf::new, Path::to_owned))
            }
            Err(error) => Err(error.to_string()),
        };
        downloads.corpora.insert(name.to_owned(), here.clone());
        here
    }

    /// Adds what was used so far to a study's manifest: for every dataset and
    /// corpus where it is from, its revision and its checksum.
    pub fn record(&self, manifest: &mut Map<String, Value>) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = &used.asked;
        for (key, used) in [("datasets", &used.datasets), ("corpora", &used.corpora)] {
            if used.is_empty() {
                continue;
            }
            let mut all = match manifest.remove(key) {
                Some(Value::Object(all)) => all,
                _ => Map::new(),
            };
            // A file that has changed since, and was only counted, is not what
            // the answers are for.
            let is_due = |name: &String| {
                key != "datasets" || !all.contains_key(name) || asked.contains(name)
            };
            let due = used.iter().filter(|(name, _)| is_due(name));
            let due: Vec<(String, Value)> = due
                .map(|(name, used)| (name.clone(), used.clone()))
                .collect();
            all.extend(due);
            manifest.insert(key.to_owned(), Value::Object(all));
        }
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
