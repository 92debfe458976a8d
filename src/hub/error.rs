use crate::domain::{Failure, FailureClass};
use std::path::PathBuf;

/// Why the files of a model can not be had; every message is one sentence
/// that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nothing of the model is in the cache.
    #[error(
        "{model} is not on this machine (looked in {}): {}",
        .cache.display(), how_to_get(*.offline)
    )]
    NotFetched {
        /// The model as the study names it.
        model: String,
        /// The hub's cache directory.
        cache: PathBuf,
        /// Whether `HF_HUB_OFFLINE` forbids the network.
        offline: bool,
    },
    /// A part of the model is in the cache.
    #[error("{model} is only partly on this machine, {file} is missing: {}", how_to_get(*.offline))]
    PartlyFetched {
        /// The model as the study names it.
        model: String,
        /// The first missing file.
        file: String,
        /// Whether `HF_HUB_OFFLINE` forbids the network.
        offline: bool,
    },
    /// Files of a dataset are not in the cache.
    #[error(
        "{label} is not on this machine, {file} is missing below {}: {}",
        .folder.display(), how_to_get(*.offline)
    )]
    DatasetMissing {
        /// The dataset's repository, with what was pinned.
        label: String,
        /// The file, or how the names of its files begin and a star.
        file: String,
        /// The repository's folder in the cache.
        folder: PathBuf,
        /// Whether `HF_HUB_OFFLINE` forbids the network.
        offline: bool,
    },
    /// The repository has no such files.
    #[error("{label} has no file {file} on the hub, only {}: correct `split:`", few(.there))]
    NoSuchFile {
        /// The dataset's repository, with what was pinned.
        label: String,
        /// How the names of the wanted files begin, and a star.
        file: String,
        /// The files that are there.
        there: Vec<String>,
    },
    /// A local directory lacks a file.
    #[error("{model} lacks {file} in {}: put it there{hint}", .directory.display())]
    Incomplete {
        /// The model as the study names it.
        model: String,
        /// The missing file.
        file: String,
        /// The directory.
        directory: PathBuf,
        /// What else helps; starts with a comma or is empty.
        hint: String,
    },
    /// A local path does not exist.
    #[error("{model} is not there: {} does not exist; correct the path", .path.display())]
    NoSuchPath {
        /// The model as the study names it.
        model: String,
        /// The path that was looked at.
        path: PathBuf,
    },
    /// Only pickle weights are there, which could run code when loaded.
    #[error(
        "{model} has only pickle weights ({file}), which are never loaded because they can run code: convert them to safetensors or name a revision that has them"
    )]
    PickleOnly {
        /// The model as the study names it.
        model: String,
        /// The pickle file.
        file: String,
    },
    /// The name can not be a repository.
    #[error(
        "{model} is neither `org/name` on the hub nor a directory: write hf:org/name, hf:org/name@revision or hf:./directory"
    )]
    BadName {
        /// The model as the study names it.
        model: String,
    },
    /// The program holds no such model.
    #[error("{model} does not come with the program: the only embedded model is embedded:reader")]
    NotEmbedded {
        /// The model as the study names it.
        model: String,
    },
    /// A remote model.
    #[error("{model} runs on a server and has no files here")]
    NoFiles {
        /// The model as the study names it.
        model: String,
    },
    /// The hub refused: the model is gated, private or does not exist.
    #[error("the hub refuses {model} (HTTP {status}): {hint}")]
    Refused {
        /// The model as the study names it.
        model: String,
        /// HTTP status.
        status: u16,
        /// What to do.
        hint: &'static str,
    },
    /// The hub did not answer, or what it sent did not arrive.
    #[error(
        "{model} can not be downloaded from {endpoint}: {reason}; check the network, or fetch it elsewhere and set HF_HUB_OFFLINE=1"
    )]
    Network {
        /// The model as the study names it.
        model: String,
        /// The hub's address.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// A file is there and can not be read.
    #[error("{} can not be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there and makes no sense.
    #[error("{} is damaged: {reason}; delete it and fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::new(FailureClass::Permanent, error.to_string())
    }
}

fn how_to_get(offline: bool) -> &'static str {
    if offline {
        "HF_HUB_OFFLINE is set, so run `ragicamp fetch STUDY.yaml` without it where there is a network, with any study that names it"
    } else {
        "run `ragicamp fetch STUDY.yaml` where there is a network, with any study that names it"
    }
}

/// The first names of a list.
fn few(names: &[String]) -> String {
    let shown = names.iter().take(12).map(String::as_str);
    let mut shown: Vec<&str> = shown.collect();
    if names.len() > shown.len() {
        shown.push("...");
    }
    match shown.is_empty() {
        true => "nothing".to_owned(),
        false => shown.join(", "),
    }
}
