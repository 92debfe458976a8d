//! Documents from a JSONL file or a directory of texts, one at a time.

use super::{IndexError, error::io_error};
use crate::domain::RetrieverSpec;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

const ID: [&str; 3] = ["id", "_id", "docid"];
const TEXT: [&str; 4] = ["text", "contents", "content", "passage"];
/// Corpora that studies name and that live on the hub.
const ON_HUB: [(&str, &str); 2] = [
    ("simple", "wikimedia/wikipedia 20231101.simple"),
    ("en", "wikimedia/wikipedia 20231101.en"),
];

/// A document of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub id: String,
    pub title: Option<String>,
    pub text: String,
}

/// A corpus on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Corpus {
    /// The file or directory.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    source: Source,
    /// Only the first so many documents.
    max_docs: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// One JSON object per line.
    Lines,
    /// `.txt` and `.md` files; paths from the directory, sorted.
    Files(Vec<PathBuf>),
}

impl Corpus {
    /// The corpus of a retriever.
    pub fn find(spec: &RetrieverSpec) -> Result<Self, IndexError> {
        let path = Path::new(&spec.corpus);
        if spec.options.contains_key("wikirank_top_k") {
            return Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: "ranks of documents (wikirank_top_k) are not available; use max_docs"
                    .to_owned(),
            });
        }
        let max_docs = spec.options.get("max_docs").and_then(Value::as_u64);
        if !path.exists() {
            return Err(match ON_HUB.iter().find(|(name, _)| *name == spec.corpus) {
                Some((name, hub)) => IndexError::Unavailable {
                    retriever: spec.name.clone(),
                    what: format!(
                        "corpus '{name}' is {hub} on the hub, which this version does not \
                             read; give a local JSONL file or a directory of texts as `corpus:`"
                    ),
                },
                None => IndexError::CorpusMissing {
                    retriever: spec.name.clone(),
                    corpus: spec.corpus.clone(),
                },
            });
        }
        if path.is_dir() {
            let mut files = Vec::new();
            let mut bytes = 0;
            list_texts(path, Path::new(""), &mut files, &mut bytes).map_err(io_error(path))?;
            files.sort();
            return Ok(Self {
                path: path.to_owned(),
                bytes,
                source: Source::Files(files),
                max_docs,
            });
        }
        let extension = path
            .extension()
            .map(|text| text.to_string_lossy().to_lowercase());
        if matches!(
            extension.as_deref(),
            Some("parquet" | "arrow" | "gz" | "zst" | "zip")
        ) {
            return Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: format!(
                    "corpus '{}' is neither JSONL nor a directory of texts",
                    path.display()
                ),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            bytes: fs::metadata(path).map_err(io_error(path))?.len(),
            source: Source::Lines,
            max_docs,
        })
    }

    /// What decides which documents are read: a SHA-256 over the file, or over
    /// every path with its content, and how many documents are taken.
    pub fn identity(&self) -> Result<String, IndexError> {
        let checksum = self.checksum()?;
        Ok(match self.max_docs {
            Some(count) => format!("{checksum} first {count}"),
            None => checksum,
        })
    }

    fn checksum(&self) -> Result<String, IndexError> {
        let mut digest = Sha256::new();
        match &self.source {
            Source::Lines => hash_file(&self.path, &mut digest)?,
            Source::Files(files) => {
                for file in files {
                    let path = self.path.join(file);
                    let name = file.as_os_str().as_encoded_bytes();
                    digest.update((name.len() as u64).to_le_bytes());
                    digest.update(name);
                    // A digest of its own, so that no content can pose as a path.
                    let mut content = Sha256::new();
                    hash_file(&path, &mut content)?;
                    digest.update(content.finalize());
                }
            }
        }
        Ok(super::store::hexadecimal(&digest.finalize()))
    }

    /// Reads the documents in order. `take` also gets the bytes read so far.
    /// An id that was there before is an error; documents without an id are
    /// called by their number from 0.
    pub fn read(
        &self,
        take: &mut dyn FnMut(Document, u64) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        match &self.source {
            Source::Lines => self.read_lines(take),
            Source::Files(files) => self.read_files(files, take),
        }
    }

    fn is_enough(&self, documents: usize) -> bool {
        self.max_docs.is_some_and(|most| documents as u64 >= most)
    }

    fn read_lines(
        &self,
        take: &mut dyn FnMut(Document, u64) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let file = File::open(&self.path).map_err(io_error(&self.path))?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut bytes = Vec::new();
        let mut read_so_far = 0;
        let mut number = 0;
        let mut documents = 0_usize;
        let mut seen = SeenIds::default();
        loop {
            bytes.clear();
            let read = reader
                .read_until(b'\n', &mut bytes)
                .map_err(io_error(&self.path))?;
            if read == 0 || self.is_enough(documents) {
                return Ok(());
            }
            read_so_far += read as u64;
            number += 1;
            let malformed = |message: String| IndexError::CorpusMalformed {
                path: self.path.clone(),
                line: number,
                message,
            };
            let line = match bytes.strip_prefix(b"\xef\xbb\xbf") {
                Some(rest) if number == 1 => rest,
                _ => &bytes,
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let object: Map<String, Value> = serde_json::from_slice(line)
                .map_err(|error| malformed(format!("not a JSON object: {error}")))?;
            let document = document(object, documents).map_err(malformed)?;
            documents += 1;
            if !seen.insert(&document.id) {
                return Err(malformed(format!(
                    "id '{}' was there before; ids must differ",
                    document.id
                )));
            }
            take(document, read_so_far)?;
        }
    }

    fn read_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(Document, u64) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut read_so_far = 0;
        for (number, file) in files.iter().enumerate() {
            if self.is_enough(number) {
                break;
            }
            let path = self.path.join(file);
            let bytes = fs::read(&path).map_err(io_error(&path))?;
            read_so_far += bytes.len() as u64;
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_start_matches('\u{feff}');
            let heading = text
                .lines()
                .find(|line| !line.trim().is_empty())
                .and_then(|line| line.strip_prefix("# "))
                .map(|title| title.trim().to_owned());
            let stem = file
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            let document = Document {
                id: file.to_string_lossy().into_owned(),
                title: heading.or(stem),
                text: text.to_owned(),
            };
            take(document, read_so_far)?;
        }
        Ok(())
    }
}

/// Ids that were there, as 64-bit hashes: 20 million take 300 MB as hashes
/// and gigabytes as texts.
#[derive(Default)]
struct SeenIds {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SeenIds {
    fn insert(&mut self, id: &str) -> bool {
        self.hashes.insert(self.hasher.hash_one(id))
    }
}

fn document(mut object: Map<String, Value>, number: usize) -> Result<Document, String> {
    let mut take = |names: &[&str]| names.iter().find_map(|name| object.remove(*name));
    let id = match take(&ID) {
        None | Some(Value::Null) => number.to_string(),
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err("'id' is neither a text nor a number".to_owned()),
    };
    let title = match take(&["title"]) {
        Some(Value::String(title)) if !title.trim().is_empty() => Some(title),
        _ => None,
    };
    match take(&TEXT) {
        Some(Value::String(text)) => Ok(Document { id, title, text }),
        Some(Value::Null) => Ok(Document {
            id,
            title,
            text: String::new(),
        }),
        Some(_) => Err("the document's text is not a text".to_owned()),
        None => Err(format!(
            "no text: none of the keys {} is there",
            TEXT.join(", ")
        )),
    }
}

fn hash_file(path: &Path, digest: &mut Sha256) -> Result<(), IndexError> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(io_error(path))? {
            0 => return Ok(()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn list_texts(
    root: &Path,
    below: &Path,
    files: &mut Vec<PathBuf>,
    bytes: &mut u64,
) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        // Links to directories are not followed: they can go in circles.
        if kind.is_dir() {
            list_texts(root, &path, files, bytes)?;
        } else if matches!(
            path.extension().and_then(|text| text.to_str()),
            Some("txt" | "md")
        ) {
            *bytes += fs::metadata(root.join(&path))?.len();
            files.push(path);
        }
    }
    Ok(())
}
