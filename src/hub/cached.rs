use super::HubSettings;
use std::path::Path;

/// A model in the hub's cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedModel {
    /// `org/name`.
    pub name: String,
    /// Bytes on disk, all revisions together.
    pub bytes: u64,
}

/// The models in the hub's cache, by name; none where there is no cache.
pub fn cached_models() -> Vec<CachedModel> {
    cached_in(&HubSettings::from_env().cache)
}

pub(super) fn cached_in(cache: &Path) -> Vec<CachedModel> {
    let mut models: Vec<CachedModel> = entries(cache)
        .filter_map(|entry| {
            let folder = entry.file_name().into_string().ok()?;
            let name = folder.strip_prefix("models--")?.replace("--", "/");
            let bytes = size_of_files(&entry.path());
            Some(CachedModel { name, bytes })
        })
        .collect();
    models.sort();
    models
}

/// Links are not followed: snapshots are links to blobs.
fn size_of_files(directory: &Path) -> u64 {
    entries(directory)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of_files(&entry.path()),
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}

fn entries(directory: &Path) -> impl Iterator<Item = std::fs::DirEntry> + use<> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
}
