//! What indexes there are, under which names, and whether they are whole.

use super::{
    Index, IndexError,
    error::io_error,
    store::{MANIFEST, PARTIAL, damage, key, read_manifest},
};
use crate::domain::RetrieverSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Which retrievers were built here: a file each.
const NAMES: &str = "retrievers";
const KINDS: [&str; 4] = ["bm25-", "passages-", "dense-", "hnsw-"];

/// How an index stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShelvedState {
    /// Whole, as far as its manifest says.
    Ready,
    /// Being built, or left by a build that was killed; the next one goes on.
    Unfinished,
    /// Set aside because it could not be opened.
    Broken,
}

/// One directory of the shelves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shelved {
    /// The directory's name.
    pub directory: String,
    /// `bm25`, `passages`, `dense` or `hnsw`.
    pub kind: String,
    /// How it stands.
    pub state: ShelvedState,
    /// Retrievers that use it, by their names in studies.
    pub retrievers: Vec<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// What it was built of; `null` while it is unfinished.
    pub manifest: Value,
}

/// A name that does not say which index is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It is neither a retriever's nor the beginning of a directory's.
    #[error("there is no index '{name}' in {}", place.display())]
    Nothing {
        /// The name.
        name: String,
        /// Where it is not.
        place: PathBuf,
        /// Names that are there.
        known: Vec<String>,
    },
    /// Several directories begin so.
    #[error("'{name}' is the beginning of several indexes: {}", directories.join(", "))]
    Several {
        /// The name.
        name: String,
        /// The directories.
        directories: Vec<String>,
    },
}

/// A retriever with the directories it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Named {
    retriever: RetrieverSpec,
    directories: Vec<String>,
}

/// The directory of all indexes.
#[derive(Debug, Clone)]
pub struct Shelves {
    place: PathBuf,
}

impl Shelves {
    /// The shelves below `cache_dir`; nothing has to be there yet.
    pub fn new(cache_dir: &Path) -> Self {
        Self {
            place: cache_dir.to_owned(),
        }
    }

    /// Remembers which directories a retriever is made of. The last one of a
    /// name counts; where it was made of others before, they are returned.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remember(
        &self,
        retriever: &RetrieverSpec,
        index: &Index,
    ) -> Result<Option<Vec<String>>, IndexError> {
        let names = self.place.join(NAMES);
        fs::create_dir_all(&names).map_err(io_error(&names))?;
        let named = Named {
            retriever: retriever.clone(),
            directories: index.directories(),
        };
        let path = names.join(format!("{}.json", key(&[&retriever.name])));
        let text = serde_json::to_string_pretty(&named).unwrap_or_default();
        let known = fs::read_to_string(&path).unwrap_or_default();
        if known == text {
            return Ok(None);
        }
        let before = serde_json::from_str::<Named>(&known).ok();
        let before = before.map(|before| before.directories);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&names)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(io_error(&path))?;
        Ok(before.filter(|before| *before != named.directories))
    }

    fn named(&self) -> Vec<Named> {
        let files = fs::read_dir(self.place.join(NAMES));
        let mut named: Vec<Named> = files
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| serde_json::from_slice(&fs::read(file.path()).ok()?).ok())
            .collect();
        named.sort_by(|a, b| a.retriever.name.cmp(&b.retriever.name));
        named
    }

    /// Everything that is there, by directory.
    ///
    /// # Errors
    /// When the directory is there and can not be read.
    pub fn list(&self) -> Result<Vec<Shelved>, IndexError> {
        let entries = match fs::read_dir(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error(&self.place))?,
        };
        let named = self.named();
        let mut shelved = Vec::new();
        for entry in entries.flatten() {
            let directory = entry.file_name().to_string_lossy().into_owned();
            let (name, state) = match directory.strip_prefix(PARTIAL) {
                Some(name) => (name, ShelvedState::Unfinished),
                None => match directory.strip_suffix(".broken") {
                    Some(name) => (name, ShelvedState::Broken),
                    None => (directory.as_str(), ShelvedState::Ready),
                },
            };
            let Some(kind) = KINDS.iter().find(|kind| name.starts_with(**kind)) else {
                continue;
            };
            shelved.push(Shelved {
                kind: kind.trim_end_matches('-').to_owned(),
                state,
                retrievers: named
                    .iter()
                    .filter(|named| named.directories.contains(&directory))
                    .map(|named| named.retriever.name.clone())
                    .collect(),
                bytes: size(&entry.path()),
                manifest: read_manifest(&entry.path()).unwrap_or(Value::Null),
                directory,
            });
        }
        shelved.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(shelved)
    }

    /// The retriever of a name, where one was built here.
    pub fn retriever(&self, name: &str) -> Option<RetrieverSpec> {
        let named = self.named().into_iter();
        let mut specs = named.map(|named| named.retriever);
        specs.find(|spec| spec.name == name)
    }

    /// The directories that a name means: those of a retriever, or the one
    /// whose name begins so.
    ///
    /// # Errors
    /// When it means none, or several.
    pub fn resolve(&self, name: &str) -> Result<Vec<String>, Unknown> {
        let named = self.named();
        if let Some(named) = named.iter().find(|named| named.retriever.name == name) {
            return Ok(named.directories.clone());
        }
        let list = self.list().unwrap_or_default();
        let beginning: Vec<&Shelved> = list
            .iter()
            .filter(|shelved| shelved.directory.starts_with(name) && !name.is_empty())
            .collect();
        match beginning[..] {
            [only] => Ok(vec![only.directory.clone()]),
            [_, _, ..] => Err(Unknown::Several {
                name: name.to_owned(),
                directories: beginning
                    .iter()
                    .map(|shelved| shelved.directory.clone())
                    .collect(),
            }),
            [] => Err(Unknown::Nothing {
                name: name.to_owned(),
                place: self.place.clone(),
                known: named
                    .iter()
                    .map(|named| named.retriever.name.clone())
                    .chain(list.iter().map(|shelved| shelved.directory.clone()))
                    .collect(),
            }),
        }
    }

    /// Forgets the name of a retriever; what it is made of stays.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&self, name: &str) -> Result<(), IndexError> {
        let file = format!("{}.json", key(&[name]));
        let path = self.place.join(NAMES).join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io_error(&path)),
        }
    }

    /// What is wrong with a directory's files; nothing when all have the
    /// contents that were written.
    ///
    /// # Errors
    /// When they can not be read.
    pub fn verify(&self, directory: &str) -> Result<Vec<String>, IndexError> {
        let path = self.place.join(directory);
        if directory.starts_with(PARTIAL) {
            return Ok(vec!["it is unfinished: build it to go on".to_owned()]);
        }
        match path.join(MANIFEST).exists() {
            true => damage(&path),
            false => Ok(vec![format!("{MANIFEST} is missing")]),
        }
    }

    /// Removes directories, with the passages and graphs that nothing else
    /// needs then, and forgets retrievers that needed them. Returns what was
    /// removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn drop(&self, directories: &[String]) -> Result<Vec<String>, IndexError> {
        let list = self.list()?;
        let mut doomed: BTreeSet<String> = directories.iter().cloned().collect();
        let texts = |shelved: &Shelved| {
            let of = |key: &str| shelved.manifest[key].as_str().map(str::to_owned);
            (of("corpus_identity"), of("chunking"))
        };
        for shelved in &list {
            let of = shelved.manifest["of"].as_str().unwrap_or_default();
            if shelved.kind == "hnsw" && doomed.contains(of) {
                doomed.insert(shelved.directory.clone());
            }
        }
        for passages in list.iter().filter(|shelved| shelved.kind == "passages") {
            let (users, others): (Vec<_>, Vec<_>) = list
                .iter()
                .filter(|shelved| shelved.kind == "dense" && texts(shelved) == texts(passages))
                .partition(|shelved| doomed.contains(&shelved.directory));
            if !users.is_empty() && others.is_empty() {
                doomed.insert(passages.directory.clone());
            }
        }
        for directory in &doomed {
            let path = self.place.join(directory);
            // Under another name first: nobody opens what is half removed.
            let going = self.place.join(format!(".dropped-{directory}"));
            match fs::rename(&path, &going) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                renamed => renamed.map_err(io_error(&path))?,
            }
            fs::remove_dir_all(&going).map_err(io_error(&going))?;
        }
        for named in self.named() {
            if named.directories.iter().any(|name| doomed.contains(name)) {
                self.forget(&named.retriever.name)?;
            }
        }
        Ok(doomed.into_iter().collect())
    }
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
