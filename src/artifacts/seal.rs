//! `checksums.json`: what a directory's files were when it came to rest.
//!
//! It is written last and removed before anything changes, so a directory
//! that has one is as its last run left it. Its own last key is the checksum
//! of all that stands before, so no byte of it can change unseen either. A
//! power cut may take it away, and nothing is lost then but the check; it
//! must not bring one back that is not true any more.

use super::{
    SCHEMA_VERSION,
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    lenient, time,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

const NAME: &str = "checksums.json";

/// What a file was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checksum {
    bytes: u64,
    /// 64 hex digits.
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    schema_version: u32,
    sealed_at: String,
    /// By path below the directory, with `/` between its parts.
    files: BTreeMap<String, Checksum>,
    /// SHA-256 of this file with an empty text in this place.
    sum: String,
}

/// How a directory compares with its `checksums.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// There is none: work is going on, was cut off, or an older version of
    /// the program left the directory.
    Not,
    /// There is one.
    Yes {
        /// Files that were compared.
        files: usize,
        /// What is not as it was.
        tampered: Vec<Tampered>,
    },
}

/// A file that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tampered {
    /// Its path below the directory.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.why)
    }
}

/// Writes the checksums of every file in `directory`, those that
/// `is_outside` tells aside.
///
/// # Errors
/// When a file can not be read, or the checksums not written.
pub(super) fn write(directory: &Path, is_outside: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut files = BTreeMap::new();
    list(directory, "", is_outside, &mut |file| {
        let path = directory.join(&file);
        let checksum = checksum(&path, u64::MAX)
            .map_err(|source| ArtifactError::io("reading", &path, source))?;
        files.insert(file, checksum);
        Ok(())
    })?;
    let mut seal = Seal {
        schema_version: SCHEMA_VERSION,
        sealed_at: time::now(),
        files,
        sum: String::new(),
    };
    let path = directory.join(NAME);
    seal.sum = hex(&Sha256::digest(lenient::pretty(&path, &seal)?));
    let bytes = lenient::pretty(&path, &seal)?;
    atomic::write(&path, "checksums::write", Durability::Ordered, &bytes)
}

/// Removes the checksums before anything changes.
///
/// # Errors
/// When they can not be removed.
pub(super) fn remove(directory: &Path) -> Result<()> {
    let path = directory.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ArtifactError::io("removing", &path, error))
        }
        Err(_) => Ok(()),
        Ok(()) => atomic::sync_directory(directory),
    }
}

/// Compares the files in `directory` with its checksums. A file for which
/// `grows` may be longer than it was. Files and directories for which `counts`
/// are read by whoever wants to know what was computed: none may be added.
///
/// # Errors
/// When `checksums.json` can not be read at all.
pub(super) fn check(
    directory: &Path,
    grows: &dyn Fn(&str) -> bool,
    counts: &dyn Fn(&str) -> bool,
) -> Result<Sealed> {
    let path = directory.join(NAME);
    let Some(bytes) = atomic::read(&path)? else {
        return Ok(Sealed::Not);
    };
    let seal = match parse(&path, &bytes) {
        Ok(seal) => seal,
        Err(why) => {
            let file = NAME.to_owned();
            return Ok(Sealed::Yes {
                files: 0,
                tampered: vec![Tampered { file, why }],
            });
        }
    };
    let mut added = Vec::new();
    list(directory, "", &|file| !counts(file), &mut |file| {
        if !seal.files.contains_key(&file) {
            let why = "was not there".to_owned();
            added.push(Tampered { file, why });
        }
        Ok(())
    })?;
    let tampered = seal
        .files
        .iter()
        .filter_map(|(file, was)| {
            let why = difference(&directory.join(file), was, grows(file))?;
            Some(Tampered {
                file: file.clone(),
                why,
            })
        })
        .chain(added)
        .collect();
    Ok(Sealed::Yes {
        files: seal.files.len(),
        tampered,
    })
}

fn parse(path: &Path, bytes: &[u8]) -> std::result::Result<Seal, String> {
    let seal: Seal = serde_json::from_slice(bytes)
        .map_err(|error| format!("is no list of checksums ({error})"))?;
    let leaves = |file: &String| file.starts_with('/') || file.split('/').any(|part| part == "..");
    if let Some(file) = seal.files.keys().find(|file| leaves(file)) {
        return Err(format!("names {file:?}, which is not in this directory"));
    }
    let changed = || "was changed: its own checksum does not fit".to_owned();
    let mut unsigned = seal.clone();
    unsigned.sum.clear();
    let content = lenient::pretty(path, &unsigned).map_err(|_| changed())?;
    // Also a blank more or another order is a change.
    let same = lenient::pretty(path, &seal).is_ok_and(|rendered| rendered == bytes);
    if same && hex(&Sha256::digest(content)) == seal.sum {
        Ok(seal)
    } else {
        Err(changed())
    }
}

fn difference(path: &Path, was: &Checksum, grows: bool) -> Option<String> {
    let is = match checksum(path, if grows { was.bytes } else { u64::MAX }) {
        Ok(is) => is,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("is missing".to_owned());
        }
        Err(error) => return Some(format!("can not be read: {error}")),
    };
    if is.bytes != was.bytes {
        Some(format!("has {} bytes and had {}", is.bytes, was.bytes))
    } else if is.sha256 != was.sha256 {
        Some("was changed: its checksum does not fit".to_owned())
    } else {
        None
    }
}

/// Tells every file below `directory` that a seal may hold.
fn list(
    directory: &Path,
    below: &str,
    is_outside: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(String) -> Result<()>,
) -> Result<()> {
    let place = directory.join(below);
    let failed = |source| ArtifactError::io("listing", &place, source);
    for entry in fs::read_dir(&place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let file = format!("{below}{name}");
        if name.starts_with('.') || file == NAME || is_outside(&file) {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            list(directory, &format!("{file}/"), is_outside, tell)?;
        } else if kind.is_file() {
            tell(file)?;
        }
    }
    Ok(())
}

/// Of the first `most` bytes.
fn checksum(path: &Path, most: u64) -> io::Result<Checksum> {
    let mut file = File::open(path)?.take(most);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Checksum {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
