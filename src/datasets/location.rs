//! Where the file of a dataset is.

use super::DatasetError;
use crate::domain::DatasetSpec;
use std::{
    env,
    path::{Path, PathBuf},
};

/// A dataset that studies may name without a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDataset {
    /// The name in studies.
    pub name: &'static str,
    /// The repository on the hub that holds it.
    pub hub_repository: &'static str,
    /// The hub's configuration, where there are several.
    pub hub_config: Option<&'static str>,
    /// The split that is used for evaluation.
    pub split: &'static str,
}

const fn on_hub(
    name: &'static str,
    hub_repository: &'static str,
    hub_config: Option<&'static str>,
    split: &'static str,
) -> KnownDataset {
    KnownDataset {
        name,
        hub_repository,
        hub_config,
        split,
    }
}

static KNOWN: [KnownDataset; 7] = [
    on_hub("nq", "google-research-datasets/nq_open", None, "validation"),
    on_hub(
        "triviaqa",
        "mandarjoshi/trivia_qa",
        Some("rc.nocontext"),
        "validation",
    ),
    on_hub(
        "hotpotqa",
        "hotpotqa/hotpot_qa",
        Some("distractor"),
        "validation",
    ),
    on_hub("techqa", "nvidia/TechQA-RAG-Eval", None, "train"),
    on_hub("pubmedqa", "qiaojin/PubMedQA", Some("pqa_labeled"), "train"),
    on_hub("squad", "rajpurkar/squad", None, "validation"),
    on_hub("popqa", "akariasai/PopQA", None, "test"),
];

/// Datasets that need no path. All of them live on the hub; this version uses
/// local copies of them, in the places that [`SearchPaths`] tells.
pub fn known() -> &'static [KnownDataset] {
    &KNOWN
}

/// Where local files are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPaths {
    /// Directories that relative paths start from; the first that has the
    /// file wins.
    pub bases: Vec<PathBuf>,
    /// A directory of datasets by name: `{data}/nq.jsonl`.
    pub data: Option<PathBuf>,
}

impl SearchPaths {
    /// Relative paths start from `bases`; datasets by name are looked for
    /// in the directory that `RAGICAMP_DATA` tells, then below the bases.
    pub fn new(bases: Vec<PathBuf>) -> Self {
        Self {
            bases,
            data: env::var_os("RAGICAMP_DATA").map(PathBuf::from),
        }
    }

    /// The places where `relative` could be, in order; an absolute path is
    /// its own place.
    fn places(&self, relative: &Path) -> Vec<PathBuf> {
        if relative.is_absolute() || self.bases.is_empty() {
            return vec![relative.to_owned()];
        }
        self.bases.iter().map(|base| base.join(relative)).collect()
    }
}

/// The file of a dataset.
pub(super) fn find(spec: &DatasetSpec, search: &SearchPaths) -> Result<PathBuf, DatasetError> {
    match &spec.path {
        Some(path) => find_path(spec, Path::new(path), search),
        None => find_named(spec, search),
    }
}

fn find_path(
    spec: &DatasetSpec,
    path: &Path,
    search: &SearchPaths,
) -> Result<PathBuf, DatasetError> {
    let places = search.places(path);
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        // The first two are where people expect it; more would only confuse.
        None => Err(DatasetError::Missing {
            name: spec.name.clone(),
            tried: places.into_iter().take(2).collect(),
            how: ": correct `path:`".to_owned(),
        }),
    }
}

fn find_named(spec: &DatasetSpec, search: &SearchPaths) -> Result<PathBuf, DatasetError> {
    let name = spec.name.as_str();
    let Some(dataset) = KNOWN.iter().find(|dataset| dataset.name == name) else {
        return Err(DatasetError::Unknown {
            name: name.to_owned(),
        });
    };
    let split = spec.split.as_deref().unwrap_or(dataset.split);
    let mut stems = Vec::new();
    if let Some(data) = &search.data {
        stems.extend([data.join(name), data.join(name).join(split)]);
    }
    for relative in [
        format!("data/{name}"),
        format!("conf/data/{name}"),
        format!("conf/data/{name}/{split}"),
        format!("conf/data/{name}/questions"),
    ] {
        stems.extend(search.places(Path::new(&relative)));
    }
    let found = stems.iter().find_map(|stem| {
        ["jsonl", "json", "csv"]
            .iter()
            .map(|extension| with_extension(stem, extension))
            .find(|path| path.is_file())
    });
    found.ok_or_else(|| {
        let config = dataset
            .hub_config
            .map_or(String::new(), |config| format!(", {config}"));
        let mut tried = Vec::new();
        if let Some(data) = &search.data {
            tried.push(data.join(format!("{name}.jsonl")));
        }
        tried.push(PathBuf::from(format!("data/{name}.jsonl")));
        DatasetError::Missing {
            name: name.to_owned(),
            tried,
            how: format!(
                ": save {} (split {split}{config}) from the hub there, one JSON object with \
                 question and answers per line, or give the dataset a `path:`",
                dataset.hub_repository
            ),
        }
    })
}

/// Adds an extension; a dot in the name stays what it is.
fn with_extension(stem: &Path, extension: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
