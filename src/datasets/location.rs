//! Where the files of a dataset are.

use super::DatasetError;
use crate::{
    domain::DatasetSpec,
    hub::{self, DatasetSplit},
};
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
    on_hub(
        "nq",
        "google-research-datasets/nq_open",
        Some("nq_open"),
        "validation",
    ),
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
    on_hub("squad", "rajpurkar/squad", Some("plain_text"), "validation"),
    on_hub("popqa", "akariasai/PopQA", None, "test"),
];

/// Datasets that need no path. All of them live on the hub; a local copy, in
/// the places that [`SearchPaths`] tells, goes before it.
pub fn known() -> &'static [KnownDataset] {
    &KNOWN
}

impl KnownDataset {
    /// What is asked of the hub. `split: config/split` takes another
    /// configuration than the usual one.
    fn on_hub(&self, spec: &DatasetSpec) -> DatasetSplit {
        let asked = spec.split.as_deref().unwrap_or(self.split);
        let (config, split) = match asked.rsplit_once('/') {
            Some((config, split)) => (Some(config), split),
            None => (self.hub_config, asked),
        };
        DatasetSplit {
            repository: self.hub_repository.to_owned(),
            revision: spec.revision.clone(),
            config: config.map(str::to_owned),
            split: split.to_owned(),
        }
    }
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

/// The files of a dataset.
#[derive(Debug)]
pub(super) struct Found {
    /// At least one, in their order.
    pub files: Vec<PathBuf>,
    /// The commit on the hub, where they are from there.
    pub revision: Option<String>,
}

impl Found {
    const fn local(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            revision: None,
        }
    }
}

/// Finds the files of a dataset on this machine.
pub(super) fn find(spec: &DatasetSpec, search: &SearchPaths) -> Result<Found, DatasetError> {
    if let Some(path) = &spec.path {
        return find_path(spec, Path::new(path), search);
    }
    let dataset = known_by_name(spec)?;
    if let Some(file) = find_local_copy(spec, dataset, search) {
        return Ok(Found::local(vec![file]));
    }
    match hub::locate_dataset(&dataset.on_hub(spec)) {
        Ok(files) => Ok(Found {
            files: files.paths,
            revision: Some(files.revision),
        }),
        Err(reason) => Err(DatasetError::NotHere {
            name: spec.name.clone(),
            place: place_for_a_copy(spec, search),
            reason: Box::new(reason),
        }),
    }
}

/// Brings the files of a dataset that is known by name from the hub, where
/// there are none on this machine.
pub(super) fn fetch(
    spec: &DatasetSpec,
    search: &SearchPaths,
    tell: &mut dyn FnMut(&hub::FetchProgress),
) -> Result<(), DatasetError> {
    match find(spec, search) {
        Err(DatasetError::NotHere { name, place, .. }) => {
            let dataset = known_by_name(spec)?;
            match hub::fetch_dataset(&dataset.on_hub(spec), tell) {
                Ok(_) => Ok(()),
                Err(reason) => Err(DatasetError::NotHere {
                    name,
                    place,
                    reason: Box::new(reason),
                }),
            }
        }
        found_or_hopeless => found_or_hopeless.map(|_| ()),
    }
}

fn find_path(spec: &DatasetSpec, path: &Path, search: &SearchPaths) -> Result<Found, DatasetError> {
    let places = search.places(path);
    if let Some(place) = places.iter().find(|place| place.is_file()) {
        return Ok(Found::local(vec![place.clone()]));
    }
    match places.iter().find(|place| place.is_dir()) {
        Some(place) => Err(DatasetError::Directory {
            name: spec.name.clone(),
            path: place.clone(),
        }),
        // The first two are where people expect it; more would only confuse.
        None => Err(DatasetError::Missing {
            name: spec.name.clone(),
            tried: places.into_iter().take(2).collect(),
        }),
    }
}

fn known_by_name(spec: &DatasetSpec) -> Result<&'static KnownDataset, DatasetError> {
    let known = KNOWN.iter().find(|dataset| dataset.name == spec.name);
    known.ok_or_else(|| DatasetError::Unknown {
        name: spec.name.clone(),
    })
}

/// A copy that somebody put beside the study. One that a revision or another
/// configuration is asked for can only be on the hub.
fn find_local_copy(
    spec: &DatasetSpec,
    dataset: &KnownDataset,
    search: &SearchPaths,
) -> Option<PathBuf> {
    let name = spec.name.as_str();
    let split = spec.split.as_deref().unwrap_or(dataset.split);
    if spec.revision.is_some() || split.contains('/') {
        return None;
    }
    // A file that is called after the dataset holds its usual split.
    let is_usual = split == dataset.split;
    let mut stems = Vec::new();
    if let Some(data) = &search.data {
        stems.extend(is_usual.then(|| data.join(name)));
        stems.push(data.join(name).join(split));
    }
    for (relative, fits) in [
        (format!("data/{name}"), is_usual),
        (format!("conf/data/{name}"), is_usual),
        (format!("conf/data/{name}/{split}"), true),
        (format!("conf/data/{name}/questions"), is_usual),
    ] {
        if fits {
            stems.extend(search.places(Path::new(&relative)));
        }
    }
    stems.iter().find_map(|stem| {
        ["jsonl", "json", "csv", "tsv", "parquet"]
            .iter()
            .map(|extension| with_extension(stem, extension))
            .find(|path| path.is_file())
    })
}

/// Where a copy would be found without a hub.
fn place_for_a_copy(spec: &DatasetSpec, search: &SearchPaths) -> PathBuf {
    let file = format!("{}.jsonl", spec.name);
    match &search.data {
        Some(data) => data.join(file),
        None => Path::new("data").join(file),
    }
}

/// Adds an extension; a dot in the name stays what it is.
fn with_extension(stem: &Path, extension: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
