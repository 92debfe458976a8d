//! Documents from a JSONL file, from Parquet files (one, or a directory of
//! them) or from a directory of texts, one at a time.

use super::{IndexError, error::io_error};
use crate::{
    domain::RetrieverSpec,
    records::{ParquetFile, RecordsError},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

const ID: [&str; 3] = ["id", "_id", "docid"];
const TEXT: [&str; 4] = ["text", "contents", "content", "passage"];
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
    /// No more documents are taken.
    limit: usize,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// One JSON object per line.
    Lines,
    /// `.txt` and `.md` files; paths from the directory, sorted.
    Files(Vec<PathBuf>),
    /// A Parquet file, or all below a directory, sorted.
    Tables(Vec<PathBuf>),
}

impl Corpus {
    /// The corpus of a retriever.
    pub fn find(spec: &RetrieverSpec) -> Result<Self, IndexError> {
        let path = Path::new(&spec.corpus);
        let limit = spec.options.get("max_docs").and_then(Value::as_u64);
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if !path.exists() {
            return Err(IndexError::CorpusMissing {
                retriever: spec.name.clone(),
                corpus: spec.corpus.clone(),
            });
        }
        if path.is_dir() {
            let list = |endings: &[&str]| -> Result<(Vec<PathBuf>, u64), IndexError> {
                let mut files = Vec::new();
                let mut bytes = 0;
                list_files(path, Path::new(""), endings, &mut files, &mut bytes)
                    .map_err(io_error(path))?;
                files.sort();
                Ok((files, bytes))
            };
            let (tables, table_bytes) = list(&["parquet"])?;
            if !tables.is_empty() {
                return Ok(Self {
                    path: path.to_owned(),
                    bytes: table_bytes,
                    limit,
                    source: Source::Tables(tables.iter().map(|file| path.join(file)).collect()),
                });
            }
            let (files, bytes) = list(&["txt", "md"])?;
            if files.is_empty() {
                let mut endings = BTreeMap::new();
                count_endings(path, &mut endings).map_err(io_error(path))?;
                return Err(IndexError::CorpusUnread {
                    path: path.to_owned(),
                    found: in_words(&endings),
                });
            }
            return Ok(Self {
                path: path.to_owned(),
                bytes,
                limit,
                source: Source::Files(files),
            });
        }
        let extension = path
            .extension()
            .map(|text| text.to_string_lossy().to_lowercase());
        if matches!(extension.as_deref(), Some("arrow" | "gz" | "zst" | "zip")) {
            return Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: format!(
                    "corpus '{}' is neither JSONL nor Parquet nor a directory of texts",
                    path.display()
                ),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            bytes: fs::metadata(path).map_err(io_error(path))?.len(),
            limit,
            source: match extension.as_deref() {
                Some("parquet") => Source::Tables(vec![path.to_owned()]),
                _ => Source::Lines,
            },
        })
    }

    /// SHA-256 over what is read: the file, every path with its content, or
    /// the checksums of all tables; and over the limit, if there is one.
    pub fn checksum(&self) -> Result<String, IndexError> {
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
                    digest.update(content_digest(&path)?);
                }
            }
            // Rows are the same wherever their files lie.
            Source::Tables(files) => {
                for file in files {
                    digest.update(content_digest(file)?);
                }
            }
        }
        if self.limit < usize::MAX {
            digest.update(format!("max_docs {}", self.limit));
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
            Source::Tables(files) => self.read_tables(files, take),
        }
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
            if read == 0 {
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
            if documents >= self.limit {
                return Ok(());
            }
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

    fn read_tables(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(Document, u64) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut bytes_before = 0;
        let mut documents = 0_usize;
        let mut seen = SeenIds::default();
        for path in files {
            let bytes = fs::metadata(path).map_err(io_error(path))?.len();
            let table = ParquetFile::open(path).map_err(|error| of_records(error, 0))?;
            let (names, rows) = (table.columns(), table.len());
            let malformed = |row: usize, message: String| IndexError::CorpusMalformed {
                path: path.clone(),
                line: row,
                message,
            };
            let has = |name: &&&str| names.iter().any(|column| column == **name);
            let mut columns = vec!["title"];
            columns.extend(ID.iter().find(has));
            columns.extend(TEXT.iter().find(has));
            let found = table.rows(&columns).map_err(|error| of_records(error, 0))?;
            for (row, object) in found.enumerate() {
                if documents >= self.limit {
                    return Ok(());
                }
                let object = object.map_err(|error| of_records(error, row + 1))?;
                let document =
                    document(object, documents).map_err(|message| malformed(row + 1, message))?;
                documents += 1;
                if !seen.insert(&document.id) {
                    let message = format!("id '{}' was there before; ids must differ", document.id);
                    return Err(malformed(row + 1, message));
                }
                let share = (row as f64 + 1.0) / rows.max(1) as f64;
                take(document, bytes_before + (bytes as f64 * share) as u64)?;
            }
            bytes_before += bytes;
        }
        Ok(())
    }

    fn read_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(Document, u64) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut read_so_far = 0;
        for file in files.iter().take(self.limit) {
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

/// What a table's error means for a corpus; `row` counts from 1.
fn of_records(error: RecordsError, row: usize) -> IndexError {
    match error {
        RecordsError::Io { path, source } => IndexError::Io { path, source },
        RecordsError::Damaged { path, message } => IndexError::CorpusMalformed {
            path,
            line: row,
            message: format!("no Parquet file, or a damaged one: {message}"),
        },
    }
}

/// SHA-256 of a file. The hub's cache calls large files after it and links to
/// them, so that they need not be read for it.
fn content_digest(path: &Path) -> Result<[u8; 32], IndexError> {
    let blob = fs::read_link(path).ok();
    let name = blob.as_deref().and_then(Path::file_name);
    if let Some(digest) = name.and_then(|name| from_hexadecimal(name.to_str()?)) {
        return Ok(digest);
    }
    let mut digest = Sha256::new();
    hash_file(path, &mut digest)?;
    Ok(digest.finalize().into())
}

fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    bytes.try_into().ok()
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

fn list_files(
    root: &Path,
    below: &Path,
    endings: &[&str],
    files: &mut Vec<PathBuf>,
    bytes: &mut u64,
) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        // Links to directories are not followed: they can go in circles.
        if kind.is_dir() {
            list_files(root, &path, endings, files, bytes)?;
        } else if path
            .extension()
            .and_then(|text| text.to_str())
            .is_some_and(|ending| endings.contains(&ending))
        {
            *bytes += fs::metadata(root.join(&path))?.len();
            files.push(path);
        }
    }
    Ok(())
}

/// How many files there are of every ending.
fn count_endings(dir: &Path, endings: &mut BTreeMap<String, usize>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count_endings(&entry.path(), endings)?;
            continue;
        }
        let path = entry.path();
        let ending = path.extension().map(|text| text.to_string_lossy());
        let ending = ending.map_or_else(String::new, |ending| format!(".{ending} "));
        *endings.entry(ending).or_default() += 1;
    }
    Ok(())
}

/// The most frequent endings in words: `3 .jsonl files and 1 .gz file`.
fn in_words(endings: &BTreeMap<String, usize>) -> String {
    const MOST: usize = 3;
    let mut endings: Vec<(&String, &usize)> = endings.iter().collect();
    endings.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<String> = endings
        .into_iter()
        .take(MOST)
        .map(|(ending, count)| match count {
            1 => format!("1 {ending}file"),
            _ => format!("{count} {ending}files"),
        })
        .collect();
    match words.is_empty() {
        true => "no file".to_owned(),
        false => words.join(" and "),
    }
}
