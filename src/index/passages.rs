//! The passages of a corpus on disk: their texts, and what of them is searched.
//!
//! `passages.jsonl` has a passage per line, `passages.offsets` where each line
//! starts (u64, and the end), and for hierarchical retrievers `children` what
//! is searched: passage, start and end in its text (u32 each). All numbers are
//! little-endian.

use super::{
    BuildProgress, IndexError,
    corpus::Corpus,
    cutting::Cutting,
    error::{broken, io_error},
    progress::{Tell, report},
    store::{key, publish, read_manifest, set_aside, write_manifest},
};
use crate::domain::Passage;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

const TEXTS: &str = "passages.jsonl";
const OFFSETS: &str = "passages.offsets";
const CHILDREN: &str = "children";
const CHILD_BYTES: usize = 12;
/// The files that an index of vectors takes over.
pub(super) const FILES: [&str; 3] = [TEXTS, OFFSETS, CHILDREN];

/// A passage as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    id: String,
    /// The id of its document.
    document: String,
    /// Where it stands in the document's text, in bytes.
    start: u64,
    end: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
}

/// The directory with the passages of a corpus, made where it is not there.
pub(super) fn prepare(
    corpus: &Corpus,
    corpus_identity: &str,
    cutting: &Cutting,
    cache_dir: &Path,
    tell: &mut Tell<'_>,
) -> Result<PathBuf, IndexError> {
    let name = format!("passages-{}", key(&[corpus_identity, &cutting.identity()]));
    let place = cache_dir.join(&name);
    if place.is_dir() {
        if Passages::open(&place).is_ok() {
            return Ok(place);
        }
        set_aside(&place)?;
    }
    publish(cache_dir, &name, |dir| {
        build(corpus, corpus_identity, cutting, dir, tell)
    })?;
    Ok(place)
}

fn build(
    corpus: &Corpus,
    corpus_identity: &str,
    cutting: &Cutting,
    dir: &Path,
    tell: &mut Tell<'_>,
) -> Result<(), IndexError> {
    let started = Instant::now();
    report(
        tell,
        BuildProgress::Started {
            kind: "passages",
            corpus: corpus.path.clone(),
            bytes: corpus.bytes,
        },
    )?;
    let create = |name: &str| {
        let path = dir.join(name);
        File::create(&path)
            .map(|file| BufWriter::with_capacity(1 << 18, file))
            .map_err(io_error(&path))
    };
    let mut texts = create(TEXTS)?;
    let mut offsets = create(OFFSETS)?;
    let mut children = match cutting.children {
        Some(_) => Some(create(CHILDREN)?),
        None => None,
    };
    let mut offset = 0_u64;
    let (mut documents, mut empty_documents, mut passages, mut searched) = (0, 0, 0_u64, 0_u64);
    corpus.read(&mut |document, bytes| {
        let chunks = cutting.passages.chunks(&document.id, &document.text);
        match chunks.is_empty() {
            true => empty_documents += 1,
            false => documents += 1,
        }
        for chunk in chunks {
            let stored = Stored {
                id: chunk.id,
                document: document.id.clone(),
                start: chunk.range.start as u64,
                end: chunk.range.end as u64,
                title: document.title.clone(),
                text: chunk.text.to_owned(),
            };
            let mut line =
                serde_json::to_vec(&stored).map_err(|error| broken(dir, error.to_string()))?;
            line.push(b'\n');
            let mut write = || {
                texts.write_all(&line)?;
                offsets.write_all(&offset.to_le_bytes())?;
                let Some((out, chunking)) = children.as_mut().zip(cutting.children.as_ref()) else {
                    searched += 1;
                    return Ok(());
                };
                for child in chunking.chunks("", chunk.text) {
                    for number in [passages as usize, child.range.start, child.range.end] {
                        out.write_all(&(number as u32).to_le_bytes())?;
                    }
                    searched += 1;
                }
                Ok(())
            };
            write().map_err(io_error(dir))?;
            offset += line.len() as u64;
            passages += 1;
            if u32::try_from(passages.max(searched)).is_err() {
                return Err(broken(
                    dir,
                    "a corpus of more than 2^32 passages is too large",
                ));
            }
            if passages.is_multiple_of(1_000) {
                report(tell, BuildProgress::Indexed { bytes, passages })?;
            }
        }
        Ok(())
    })?;
    if passages == 0 {
        return Err(IndexError::CorpusEmpty {
            path: corpus.path.clone(),
        });
    }
    offsets
        .write_all(&offset.to_le_bytes())
        .map_err(io_error(dir))?;
    for file in [Some(texts), Some(offsets), children].into_iter().flatten() {
        file.into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .map_err(io_error(dir))?;
    }
    write_manifest(
        dir,
        json!({
            "kind": "passages",
            "corpus": corpus.path,
            "corpus_identity": corpus_identity,
            "chunking": cutting.identity(),
            "documents": documents,
            "empty_documents": empty_documents,
            "passages": passages,
            "searched": searched,
        }),
    )?;
    report(
        tell,
        BuildProgress::Finished {
            kind: "passages",
            passages,
            empty_documents,
            seconds: started.elapsed().as_secs_f64(),
        },
    )
}

/// Passages on disk, mapped.
pub(super) struct Passages {
    dir: PathBuf,
    texts: Mmap,
    offsets: Mmap,
    children: Option<Mmap>,
}

impl Passages {
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        read_manifest(dir)?;
        let map = |name: &str| {
            let path = dir.join(name);
            let file = File::open(&path).map_err(io_error(&path))?;
            // SAFETY: files of a published index are never written again.
            unsafe { Mmap::map(&file) }.map_err(io_error(&path))
        };
        let passages = Self {
            dir: dir.to_owned(),
            texts: map(TEXTS)?,
            offsets: map(OFFSETS)?,
            children: match dir.join(CHILDREN).exists() {
                true => Some(map(CHILDREN)?),
                false => None,
            },
        };
        let whole = passages.offsets.len() >= 16
            && passages.offsets.len().is_multiple_of(8)
            && passages.offset(passages.count()) == passages.texts.len() as u64
            && passages
                .children
                .as_ref()
                .is_none_or(|map| map.len().is_multiple_of(CHILD_BYTES));
        match whole {
            true => Ok(passages),
            false => Err(broken(dir, "its passages are cut off")),
        }
    }

    /// Number of passages.
    pub fn count(&self) -> usize {
        self.offsets.len() / 8 - 1
    }

    /// Number of what is searched: the passages, or their children.
    pub fn searched(&self) -> usize {
        match &self.children {
            Some(children) => children.len() / CHILD_BYTES,
            None => self.count(),
        }
    }

    /// The passage that a searched one is, or is a part of.
    pub fn owner(&self, searched: u32) -> u32 {
        match &self.children {
            Some(children) => child(children, searched as usize).map_or(0, |(owner, _)| owner),
            None => searched,
        }
    }

    fn offset(&self, row: usize) -> u64 {
        let bytes = self.offsets.get(row * 8..row * 8 + 8);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// A passage.
    pub fn passage(&self, row: u32) -> Result<Passage, IndexError> {
        let row = row as usize;
        let range = self.offset(row) as usize..self.offset(row + 1) as usize;
        let line = self.texts.get(range);
        let line = line.ok_or_else(|| broken(&self.dir, format!("it has no passage {row}")))?;
        let stored = parse(&self.dir, line)?;
        Ok(Passage {
            id: stored.id,
            title: stored.title,
            text: stored.text,
            score: 0.0,
        })
    }

    /// The id of a passage.
    pub fn id(&self, row: u32) -> Result<String, IndexError> {
        Ok(self.passage(row)?.id)
    }
}

fn child(children: &[u8], number: usize) -> Option<(u32, std::ops::Range<usize>)> {
    let bytes = children.get(number * CHILD_BYTES..(number + 1) * CHILD_BYTES)?;
    let part = |at: usize| {
        let bytes = bytes[at..at + 4].try_into().ok();
        bytes.map(u32::from_le_bytes)
    };
    Some((part(0)?, part(4)? as usize..part(8)? as usize))
}

fn parse(dir: &Path, line: &[u8]) -> Result<Stored, IndexError> {
    serde_json::from_slice(line).map_err(|error| broken(dir, format!("{TEXTS}: {error}")))
}

/// Reads what is searched one after another, without mapping gigabytes.
pub(super) struct SearchedTexts {
    dir: PathBuf,
    texts: BufReader<File>,
    children: Option<BufReader<File>>,
    line: Vec<u8>,
    current: Option<(u32, Stored)>,
    next_row: u32,
}

impl SearchedTexts {
    /// From number `start` on.
    pub fn from(dir: &Path, start: usize) -> Result<Self, IndexError> {
        let open = |name: &str| {
            let path = dir.join(name);
            let file = File::open(&path).map_err(io_error(&path))?;
            Ok::<_, IndexError>(BufReader::with_capacity(1 << 18, file))
        };
        let mut texts = Self {
            dir: dir.to_owned(),
            texts: open(TEXTS)?,
            children: match dir.join(CHILDREN).exists() {
                true => Some(open(CHILDREN)?),
                false => None,
            },
            line: Vec::new(),
            current: None,
            next_row: 0,
        };
        match &mut texts.children {
            Some(children) => {
                let bytes = (start * CHILD_BYTES) as i64;
                children.seek_relative(bytes).map_err(io_error(dir))?;
            }
            None => {
                for _ in 0..start {
                    texts.skip_line()?;
                }
            }
        }
        Ok(texts)
    }

    /// The next text; `None` at the end.
    pub fn next(&mut self) -> Result<Option<String>, IndexError> {
        let Some(children) = &mut self.children else {
            let is_there = self.read_line()?;
            return match is_there {
                true => Ok(Some(parse(&self.dir, &self.line)?.text)),
                false => Ok(None),
            };
        };
        let mut bytes = [0; CHILD_BYTES];
        match children.read_exact(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(io_error(&self.dir))?,
        }
        let (owner, range) = child(&bytes, 0).unwrap_or_default();
        while self.current.as_ref().is_none_or(|(row, _)| *row != owner) {
            if self.next_row < owner {
                self.skip_line()?;
                continue;
            }
            if !self.read_line()? {
                return Err(broken(&self.dir, "its children have no passages"));
            }
            self.current = Some((self.next_row - 1, parse(&self.dir, &self.line)?));
        }
        let text = self
            .current
            .as_ref()
            .and_then(|(_, row)| row.text.get(range));
        let text = text.ok_or_else(|| broken(&self.dir, "a child lies outside of its passage"))?;
        Ok(Some(text.to_owned()))
    }

    fn read_line(&mut self) -> Result<bool, IndexError> {
        self.line.clear();
        let read = self.texts.read_until(b'\n', &mut self.line);
        self.next_row += 1;
        Ok(read.map_err(io_error(&self.dir))? > 0)
    }

    fn skip_line(&mut self) -> Result<(), IndexError> {
        self.next_row += 1;
        let skipped = self.texts.skip_until(b'\n');
        skipped.map(|_| ()).map_err(io_error(&self.dir))
    }
}
