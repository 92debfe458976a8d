use super::{FetchProgress, HubError, HubSettings, check_repository_name, download};
use hf_hub::RepoType;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Endings of files that can be read, the preferred first.
const ENDINGS: [&str; 5] = ["parquet", "jsonl", "json", "csv", "tsv"];

/// One split of a dataset on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetSplit {
    /// `org/name`.
    pub repository: String,
    /// Branch, tag or commit; `None` means `main`.
    pub revision: Option<String>,
    /// The configuration, which is the directory of its files, where the
    /// repository has several.
    pub config: Option<String>,
    /// The split: what the names of its files begin with.
    pub split: String,
}

/// The files of a split on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFiles {
    /// The files, in the order of their shards.
    pub paths: Vec<PathBuf>,
    /// The commit they are of.
    pub revision: String,
}

impl DatasetSplit {
    /// For messages: the repository with what was pinned.
    fn label(&self) -> String {
        let revision = self.revision.as_ref();
        let revision = revision.map_or(String::new(), |revision| format!("@{revision}"));
        format!("the dataset {}{revision}", self.repository)
    }

    /// How the names of its files begin, below the repository.
    fn stem(&self) -> String {
        match &self.config {
            Some(config) => format!("{config}/{}", self.split),
            None => self.split.clone(),
        }
    }

    /// Its files among `names`, which are paths in the repository. A split is
    /// `{config}/{split}-00000-of-00002.parquet` and so on; without a
    /// configuration in the root or below `data/`; or one file
    /// `{split}.parquet`, or of another kind.
    fn choose(&self, names: &[String]) -> Vec<String> {
        let stem = self.stem();
        let stems = match self.config {
            Some(_) => vec![stem],
            None => vec![format!("data/{stem}"), stem],
        };
        for ending in ENDINGS {
            for stem in &stems {
                let belongs = |name: &&String| {
                    name.strip_prefix(stem.as_str())
                        .and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'))
                        .is_some_and(|rest| rest.is_empty() || is_shard(rest))
                };
                let chosen: BTreeSet<String> = names.iter().filter(belongs).cloned().collect();
                if !chosen.is_empty() {
                    return chosen.into_iter().collect();
                }
            }
        }
        Vec::new()
    }

    /// The name of a shard that belongs to those of `chosen` and is not among
    /// them.
    fn missing_shard(chosen: &[String]) -> Option<String> {
        let (place, _) = chosen.first()?.rsplit_once('.')?;
        let (start, count) = place.rsplit_once("-of-")?;
        let (stem, _) = start.rsplit_once('-')?;
        let ending = chosen.first()?.strip_prefix(place)?;
        let total: usize = count.parse().ok()?;
        let width = count.len();
        (0..total)
            .map(|number| format!("{stem}-{number:0width$}-of-{count}{ending}"))
            .find(|name| !chosen.contains(name))
    }
}

/// Whether a name goes on as `-00001-of-00002`.
fn is_shard(rest: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    rest.strip_prefix('-')
        .and_then(|rest| rest.split_once("-of-"))
        .is_some_and(|(number, count)| is_number(number) && is_number(count))
}

/// Finds the files of a split in the hub's cache. Never touches the network.
///
/// # Errors
/// One sentence that names what is missing and how to get it.
pub fn locate_dataset(split: &DatasetSplit) -> Result<DatasetFiles, HubError> {
    locate_with(&HubSettings::from_env(), split)
}

/// Finds the files of a split, downloading what is not here yet; see
/// [`super::fetch`].
///
/// # Errors
/// As [`super::fetch`], and when the repository has no such split.
pub fn fetch_dataset(
    split: &DatasetSplit,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<DatasetFiles, HubError> {
    let settings = HubSettings::from_env();
    match locate_with(&settings, split) {
        Err(HubError::DatasetMissing { .. }) if !settings.offline => {
            let wanted = split.clone();
            download::repository(
                &settings,
                download::Wanted {
                    label: split.label(),
                    kind: RepoType::Dataset,
                    name: split.repository.clone(),
                    revision: split.revision.clone(),
                    files: download::Files::Chosen(Box::new(move |names| wanted.choose(names))),
                },
                tell,
            )
            .map_err(|error| match error {
                HubError::NoSuchFile { label, there, .. } => HubError::NoSuchFile {
                    label,
                    file: format!("{}*", split.stem()),
                    there,
                },
                other => other,
            })?;
            locate_with(&settings, split)
        }
        found_or_hopeless => found_or_hopeless,
    }
}

pub(super) fn locate_with(
    settings: &HubSettings,
    split: &DatasetSplit,
) -> Result<DatasetFiles, HubError> {
    check_repository_name(&split.label(), &split.repository, split.revision.as_deref())?;
    let folder = format!("datasets--{}", split.repository.replace('/', "--"));
    let missing = |file: String| HubError::DatasetMissing {
        label: split.label(),
        file,
        folder: settings.cache.join(&folder),
        offline: settings.offline,
    };
    let revision = split.revision.as_deref();
    let Some((snapshot, commit)) = settings.snapshot(&folder, revision) else {
        return Err(missing(format!("{}*", split.stem())));
    };
    let mut names = Vec::new();
    list(&snapshot, Path::new(""), &mut names);
    let chosen = split.choose(&names);
    if chosen.is_empty() {
        return Err(missing(format!("{}*", split.stem())));
    }
    match DatasetSplit::missing_shard(&chosen) {
        Some(shard) => Err(missing(shard)),
        None => Ok(DatasetFiles {
            paths: chosen.iter().map(|name| snapshot.join(name)).collect(),
            revision: commit,
        }),
    }
}

/// The files below a snapshot whose content is there, as paths in it.
fn list(snapshot: &Path, below: &Path, names: &mut Vec<String>) {
    let entries = std::fs::read_dir(snapshot.join(below));
    for entry in entries.into_iter().flatten().flatten() {
        let name = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(snapshot, &name, names);
        } else if snapshot.join(&name).is_file()
            && let Some(name) = name.to_str()
        {
            names.push(name.to_owned());
        }
    }
}
