//! The journal: what an experiment has answered, as it answered it.
//!
//! `journal/000007.jsonl` belongs to the owner with fence number 7 and to
//! nobody else. A line is a record with a checksum of its own bytes as the
//! last key, so that a line is either exactly what was written or passed
//! over; then its question is outstanding again and nothing else is lost.

use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    faults,
    predictions::keep_best,
    regular_file::open_regular,
};
use crate::domain::Prediction;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// No record comes near it; what does is a file that was zeroed or replaced.
const LONGEST_LINE: usize = 64 << 20;

/// Hex digits of the checksum: 64 bits of SHA-256.
const SUM_DIGITS: usize = 16;

/// One owner's segment, open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    segment: u64,
    file: File,
    /// Bytes that were written whole; what lies beyond is written over.
    length: u64,
    /// Bytes of them that are on disk.
    durable: u64,
}

impl Journal {
    /// Starts segment `fence` in `directory`, with the records of `initial`
    /// in it from the first moment that it exists.
    ///
    /// # Errors
    /// When the segment exists: then somebody else owns this fence number.
    /// When it can not be written.
    pub(super) fn create(directory: &Path, fence: u64, initial: &[Prediction]) -> Result<Self> {
        atomic::create_directory(directory)?;
        let path = segment_path(directory, fence);
        let bytes = lines(&path, initial)?;
        if !atomic::create_new(&path, "journal::create", Durability::Durable, &bytes)? {
            return Err(ArtifactError::LeaseLost { path, holder: None });
        }
        let file = File::options()
            .write(true)
            .open(&path)
            .map_err(|source| ArtifactError::io("opening", &path, source))?;
        Ok(Self {
            path,
            segment: fence,
            file,
            length: bytes.len() as u64,
            durable: bytes.len() as u64,
        })
    }

    /// The segment's number: its owner's fence number.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Appends `records` with one write, and returns when they are on disk.
    ///
    /// After an error the same call may be made again: what a failed write
    /// left behind is cut off or written over.
    ///
    /// # Errors
    /// When the disk does not take them. None of them counts as kept then.
    pub fn append(&mut self, records: &[Prediction]) -> Result<()> {
        self.write(records)?;
        self.sync()
    }

    /// Appends `records` with one write, which the end of this process does
    /// not undo; the end of the machine may, until [`Self::sync`].
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn write(&mut self, records: &[Prediction]) -> Result<()> {
        let bytes = lines(&self.path, records)?;
        self.write_bytes(&bytes)
    }

    /// As [`Self::write`], for records of another kind.
    pub(super) fn write_lines<T: Serialize>(&mut self, records: &[T]) -> Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            sealed(record, &mut bytes)
                .map_err(|error| ArtifactError::malformed(&self.path, error))?;
        }
        self.write_bytes(&bytes)
    }

    /// Returns when everything that was written is on disk.
    ///
    /// # Errors
    /// When the disk does not take it: nothing since the last call counts as
    /// kept then, and it is cut off.
    pub fn sync(&mut self) -> Result<()> {
        if self.durable == self.length {
            return Ok(());
        }
        let synced = || {
            faults::check("journal::sync")?;
            self.file.sync_data()?;
            faults::check("journal::synced")
        };
        if let Err(source) = synced() {
            self.cut_to(self.durable);
            return Err(ArtifactError::io("appending to", &self.path, source));
        }
        self.durable = self.length;
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(source) = self.write_at_end(bytes) {
            self.cut_to(self.length);
            return Err(ArtifactError::io("appending to", &self.path, source));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn write_at_end(&self, bytes: &[u8]) -> io::Result<()> {
        faults::check("journal::append")?;
        if let Some(kept) = faults::torn("journal::torn", bytes.len()) {
            self.file.write_all_at(&bytes[..kept], self.length)?;
            faults::check("journal::after_torn")?;
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.file.write_all_at(bytes, self.length)
    }

    fn cut_to(&mut self, length: u64) {
        // Best effort: a torn line is passed over on reading anyway.
        let _ = self.file.set_len(length);
        self.length = length;
    }
}

/// What all segments of an experiment say together.
#[derive(Debug, Default)]
pub struct JournalContents {
    /// The best record of each question: an answer over a failure, then the
    /// first.
    pub best: BTreeMap<usize, Prediction>,
    /// Lines that were passed over.
    pub damaged: Vec<DamagedLine>,
    /// Intact records, duplicates included.
    pub records: usize,
    /// The segments that exist, ascending.
    pub segments: Vec<u64>,
}

/// A line that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLine {
    /// The segment's file.
    pub segment: PathBuf,
    /// Its number in the file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for DamagedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} line {}: {}",
            self.segment.display(),
            self.line,
            self.why
        )
    }
}

/// Reads all segments in `directory`, line by line; none when it does not
/// exist.
///
/// # Errors
/// When a file can not be read. A line that is damaged is no error.
pub(super) fn read(directory: &Path) -> Result<JournalContents> {
    let mut contents = JournalContents {
        segments: segments(directory)?,
        ..JournalContents::default()
    };
    for segment in contents.segments.clone() {
        read_segment(&segment_path(directory, segment), &mut contents)?;
    }
    Ok(contents)
}

/// The numbers of the segments in `directory`, ascending.
///
/// # Errors
/// When the directory exists and can not be listed.
pub(super) fn segments(directory: &Path) -> Result<Vec<u64>> {
    let failed = |source| ArtifactError::io("listing", directory, source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".jsonl"))
            .filter(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|stem| stem.parse().ok());
        // Only the canonical name: `7.jsonl` beside `000007.jsonl` is not ours.
        found.extend(number.filter(|number| *name == *segment_name(*number)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Where segment `number` is.
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(segment_name(number))
}

fn segment_name(number: u64) -> String {
    format!("{number:06}.jsonl")
}

fn lines(path: &Path, records: &[Prediction]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        line(record, &mut bytes).map_err(|error| ArtifactError::malformed(path, error))?;
    }
    Ok(bytes)
}

/// Adds a record's line: its JSON with `sum`, the checksum of the JSON
/// without it, as the last key.
fn line(record: &Prediction, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    match readable(record) {
        Some(readable) => sealed(&readable, bytes),
        None => sealed(record, bytes),
    }
}

fn sealed(record: &impl Serialize, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let start = bytes.len();
    serde_json::to_writer(&mut *bytes, record)?;
    let sum = sum(&bytes[start..]);
    bytes.pop();
    bytes.extend_from_slice(br#","sum":""#);
    bytes.extend_from_slice(sum.as_bytes());
    bytes.extend_from_slice(b"\"}\n");
    Ok(())
}

/// The record without what JSON could not bring back: scores that are no
/// numbers, and an extra key that is another name of one of ours.
fn readable(record: &Prediction) -> Option<Prediction> {
    let odd_score = record.retrieved.iter().any(|hit| !hit.score.is_finite());
    let odd_key = record.extra.contains_key("query");
    if !odd_score && !odd_key {
        return None;
    }
    let mut readable = record.clone();
    for hit in &mut readable.retrieved {
        if !hit.score.is_finite() {
            hit.score = 0.0;
        }
    }
    readable.extra.shift_remove("query");
    Some(readable)
}

fn sum(json: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(json);
    // By hand: a string per byte would cost as much as the digest.
    digest
        .iter()
        .take(SUM_DIGITS / 2)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(HEX[usize::from(nibble)]))
        .collect()
}

fn read_segment(path: &Path, contents: &mut JournalContents) -> Result<()> {
    let (best, records) = (&mut contents.best, &mut contents.records);
    read_lines(path, &mut contents.damaged, |record| {
        *records += 1;
        keep_best(best, record);
    })
}

/// Hands every intact record of a segment to `take`, and what is wrong with
/// the other lines to `damaged`.
pub(super) fn read_lines<T: DeserializeOwned>(
    path: &Path,
    damaged: &mut Vec<DamagedLine>,
    mut take: impl FnMut(T),
) -> Result<()> {
    let failed = |source| ArtifactError::io("reading", path, source);
    let mut reader = BufReader::new(open_regular(path).map_err(failed)?);
    let mut buffer = Vec::new();
    let mut number = 0;
    while let Some(length) = next_line(&mut reader, &mut buffer).map_err(failed)? {
        number += 1;
        let parsed = if length > LONGEST_LINE {
            Err(format!("it is {length} bytes long"))
        } else {
            record(&buffer)
        };
        match parsed {
            Ok(None) => {}
            Ok(Some(record)) => take(record),
            Err(why) => damaged.push(DamagedLine {
                segment: path.to_owned(),
                line: number,
                why,
            }),
        }
    }
    Ok(())
}

/// Reads one line without its line break into `buffer` and gives its length,
/// `None` at the end. Of a line that is too long only a part is kept.
pub(super) fn next_line(
    reader: &mut impl BufRead,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    buffer.clear();
    let mut length = 0;
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let (part, ended) = match memchr::memchr(b'\n', available) {
            Some(end) => (&available[..end], true),
            None => (available, false),
        };
        if length + part.len() <= LONGEST_LINE {
            buffer.extend_from_slice(part);
        }
        length += part.len();
        let used = part.len() + usize::from(ended);
        reader.consume(used);
        if ended {
            return Ok(Some(length));
        }
    }
}

/// The record in a line; `None` for an empty line.
fn record<T: DeserializeOwned>(line: &[u8]) -> std::result::Result<Option<T>, String> {
    // A file that grew over a power cut has zeros where nothing was written.
    let zeros = line.iter().take_while(|byte| **byte == 0).count();
    let line = &line[zeros..];
    if line.is_empty() {
        return if zeros == 0 {
            Ok(None)
        } else {
            Err(format!("{zeros} zero bytes, as after a power cut"))
        };
    }
    let Some((json, stored)) = split_sum(line) else {
        return Err(if line.starts_with(b"{") {
            "it is torn: the checksum at its end is missing".to_owned()
        } else {
            "it is no record".to_owned()
        });
    };
    if sum(&json).as_bytes() != stored {
        return Err("its checksum does not fit its content".to_owned());
    }
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|error| format!("it is no record ({error})"))
}

/// Splits a line into the record's JSON and the checksum.
fn split_sum(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = line.strip_suffix(b"\"}")?;
    let (rest, stored) = rest.split_at_checked(rest.len().checked_sub(SUM_DIGITS)?)?;
    let mut json = rest.strip_suffix(br#","sum":""#)?.to_vec();
    json.push(b'}');
    Some((json, stored))
}
