use crate::domain::ModelSpec;
use std::{
    env,
    path::{Path, PathBuf},
};

/// How the hub is reached and where its files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The cache directory, which holds `models--org--name` folders.
    pub cache: PathBuf,
    /// Models that were put on this machine by hand, as `org/name`
    /// directories; looked at before the cache.
    pub models: PathBuf,
    /// The access token for gated models.
    pub token: Option<String>,
    /// The hub's address.
    pub endpoint: String,
    /// No network at all.
    pub offline: bool,
}

impl HubSettings {
    /// The settings that the environment asks for.
    pub fn from_env() -> Self {
        Self::from_variables(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The settings that these variables ask for.
    pub(super) fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let user_cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
            .unwrap_or_else(|| PathBuf::from(".cache"));
        let home =
            variable("HF_HOME").map_or_else(|| user_cache.join("huggingface"), PathBuf::from);
        let token = variable("HF_TOKEN").or_else(|| {
            let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        });
        let is_on = |value: String| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        };
        Self {
            cache: variable("HF_HUB_CACHE")
                .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
                .map_or_else(|| home.join("hub"), PathBuf::from),
            models: variable("RAGICAMP_MODELS")
                .map_or_else(|| user_cache.join("ragicamp").join("models"), PathBuf::from),
            token,
            endpoint: variable("HF_ENDPOINT").map_or_else(
                || "https://huggingface.co".to_owned(),
                |endpoint| endpoint.trim_end_matches('/').to_owned(),
            ),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
        }
    }

    /// The directory of a model that was put on this machine by hand. It has
    /// no revisions, so a model of a certain one is never there.
    pub(super) fn by_hand(&self, model: &ModelSpec) -> Option<PathBuf> {
        let directory = self.models.join(&model.name);
        (model.revision.is_none() && directory.is_dir()).then_some(directory)
    }

    /// The cached snapshot of a revision (`None`: `main`) of the repository
    /// whose folder in the cache is given, with its commit.
    pub(super) fn snapshot(
        &self,
        folder: &str,
        revision: Option<&str>,
    ) -> Option<(PathBuf, String)> {
        let folder = self.cache.join(folder);
        let revision = revision.unwrap_or("main");
        let commit = match std::fs::read_to_string(folder.join("refs").join(revision)) {
            Ok(commit) => commit.trim().to_owned(),
            // Other tools keep no reference for a revision that is a commit.
            Err(_) => revision.to_owned(),
        };
        let snapshot = folder.join("snapshots").join(&commit);
        snapshot.is_dir().then_some((snapshot, commit))
    }
}
