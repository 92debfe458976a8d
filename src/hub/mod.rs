//! Where the files of a model or a dataset are, what is missing, and how to
//! get it.
//!
//! [`locate`] and [`locate_dataset`] never touch the network. [`fetch`] and
//! [`fetch_dataset`] download what they do not find, through the hub's own
//! cache layout, so that other tools see the same files.
//!
//! A model that lies in `RAGICAMP_MODELS/org/name` (without the variable:
//! `~/.cache/ragicamp/models/org/name`) was put there by hand and is taken
//! before anything else.
//!
//! Environment: `RAGICAMP_MODELS`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`,
//! `HF_ENDPOINT`, `HF_HUB_OFFLINE`.

mod cached;
mod dataset;
mod directory;
mod download;
mod embedded;
mod error;
mod files;
mod settings;
#[cfg(test)]
mod tests;

pub use cached::{CachedModel, cached_models};
pub use dataset::{DatasetFiles, DatasetSplit, fetch_dataset, locate_dataset};
pub use download::FetchProgress;
pub use error::HubError;
pub use files::{FileSource, ModelFiles, SentenceFiles, WeightFiles};
pub use settings::HubSettings;

use crate::domain::{ModelSpec, Provider};
use hf_hub::RepoType;
use std::path::{Path, PathBuf};

/// Finds the files of a model on this machine.
///
/// Relative directories (`hf:./dir`) and GGUF paths are looked up from the
/// working directory first, then from `conf_root`.
///
/// # Errors
/// One sentence that names what is missing and how to get it.
pub fn locate(model: &ModelSpec, conf_root: Option<&Path>) -> Result<ModelFiles, HubError> {
    locate_with(&HubSettings::from_env(), model, conf_root)
}

/// Finds the files of a model, downloading what is not here yet.
///
/// Nothing is asked over the network when everything is here. `tell` hears of
/// every downloaded piece.
///
/// # Errors
/// What [`locate`] says where the network is off (`HF_HUB_OFFLINE=1`) or does
/// not apply; otherwise a sentence with the hub's answer. A silent network is
/// given up after a minute.
pub fn fetch(
    model: &ModelSpec,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<ModelFiles, HubError> {
    fetch_with(&HubSettings::from_env(), model, tell)
}

/// What is missing on this machine to run a model, as one sentence; `None`
/// when its files are here. Looks at file names only.
pub fn missing(model: &ModelSpec) -> Option<String> {
    match model.provider {
        Provider::Openai | Provider::Vllm => None,
        _ => locate(model, None).err().map(|error| error.to_string()),
    }
}

/// Bytes of the weights on this machine; `None` when they are not here.
pub fn weights_bytes(model: &ModelSpec) -> Option<u64> {
    locate(model, None).ok()?.weights.bytes()
}

fn locate_with(
    settings: &HubSettings,
    model: &ModelSpec,
    conf_root: Option<&Path>,
) -> Result<ModelFiles, HubError> {
    let label = model.to_string();
    match model.provider {
        Provider::Embedded => embedded::files(model),
        Provider::Gguf => {
            let path = resolve(&model.name, conf_root);
            if path.is_file() {
                Ok(ModelFiles::of_gguf(label, path))
            } else {
                Err(HubError::NoSuchPath { model: label, path })
            }
        }
        Provider::Hf if is_directory_name(&model.name) => {
            let path = resolve(&model.name, conf_root);
            if path.is_dir() {
                directory::files(&label, &path, None)
            } else {
                Err(HubError::NoSuchPath { model: label, path })
            }
        }
        Provider::Hf => {
            check_repository_name(&label, &model.name, model.revision.as_deref())?;
            if let Some(directory) = settings.by_hand(model) {
                return directory::files(&label, &directory, None);
            }
            let folder = format!("models--{}", model.name.replace('/', "--"));
            let revision = model.revision.as_deref();
            let Some((directory, commit)) = settings.snapshot(&folder, revision) else {
                return Err(HubError::NotFetched {
                    model: label,
                    cache: settings.cache.clone(),
                    offline: settings.offline,
                });
            };
            directory::files(&label, &directory, Some(commit)).map_err(|error| match error {
                HubError::Incomplete { model, file, .. } => HubError::PartlyFetched {
                    model,
                    file,
                    offline: settings.offline,
                },
                other => other,
            })
        }
        Provider::Openai | Provider::Vllm => Err(HubError::NoFiles { model: label }),
    }
}

fn fetch_with(
    settings: &HubSettings,
    model: &ModelSpec,
    tell: &mut dyn FnMut(&FetchProgress),
) -> Result<ModelFiles, HubError> {
    match locate_with(settings, model, None) {
        Err(HubError::NotFetched { .. } | HubError::PartlyFetched { .. }) if !settings.offline => {
            download::repository(
                settings,
                download::Wanted {
                    label: model.to_string(),
                    kind: RepoType::Model,
                    name: model.name.clone(),
                    revision: model.revision.clone(),
                    files: download::Files::OfModel,
                },
                tell,
            )?;
            locate_with(settings, model, None)
        }
        found_or_hopeless => found_or_hopeless,
    }
}

/// `./x`, `../x`, `/x` and `~/x` are directories; everything else is a
/// repository on the hub.
fn is_directory_name(name: &str) -> bool {
    name == "."
        || ["./", "../", "/", "~/"]
            .iter()
            .any(|start| name.starts_with(start))
}

fn resolve(name: &str, conf_root: Option<&Path>) -> PathBuf {
    if let Some(rest) = name.strip_prefix("~/")
        && let Some(home) = std::env::var_os("HOME")
    {
        return Path::new(&home).join(rest);
    }
    let path = Path::new(name);
    match conf_root {
        Some(root) if path.is_relative() && !path.exists() => root.join(path),
        _ => path.to_path_buf(),
    }
}

/// A repository name becomes a folder name and part of a URL.
fn check_repository_name(label: &str, name: &str, revision: Option<&str>) -> Result<(), HubError> {
    let word_is_fine = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let words: Vec<&str> = name.split('/').collect();
    let revision_is_fine = revision
        .is_none_or(|revision| !revision.is_empty() && revision.split('/').all(word_is_fine));
    if (1..=2).contains(&words.len()) && words.into_iter().all(word_is_fine) && revision_is_fine {
        Ok(())
    } else {
        Err(HubError::BadName {
            model: label.to_owned(),
        })
    }
}
