//! Vectors on disk, one after another behind a header of 64 bytes.
//!
//! `vectors`: the magic `RAGVEC01`, number type (u32: 0 = f32, 1 = f16),
//! dimension (u32), rows (u64), SHA-256 of what follows (32 bytes), 8 bytes of
//! nothing, and the rows; little-endian. While a build goes on the header is
//! empty and `batches.log` says which rows are safe: a line per batch with the
//! rows so far and the start of the batch's SHA-256.

use super::{
    IndexError,
    error::{broken, io_error},
    store::hexadecimal,
};
use crate::domain::VectorFile;
use half::{f16, slice::HalfFloatSliceExt};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

pub(super) const FILE: &str = "vectors";
const LOG: &str = "batches.log";
const MAGIC: &[u8; 8] = b"RAGVEC01";
const HEADER: u64 = 64;

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    F32,
    F16,
}

impl Precision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The form of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub dimension: usize,
    pub precision: Precision,
}

impl Shape {
    pub fn row_bytes(self) -> usize {
        self.dimension * self.precision.bytes()
    }

    /// Rows of these bytes as f32.
    fn numbers(self, bytes: &[u8]) -> Cow<'_, [f32]> {
        match self.precision {
            Precision::F32 => {
                // SAFETY: every bit pattern is an f32; misaligned ends are
                // looked at below.
                let (before, numbers, after) = unsafe { bytes.align_to::<f32>() };
                if cfg!(target_endian = "little") && before.is_empty() && after.is_empty() {
                    return Cow::Borrowed(numbers);
                }
                let numbers = bytes.as_chunks::<4>().0.iter();
                Cow::Owned(numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            Precision::F16 => {
                let halves = bytes.as_chunks::<2>().0.iter();
                let halves: Vec<f16> = halves.map(|bytes| f16::from_le_bytes(*bytes)).collect();
                let mut numbers = vec![0.0; halves.len()];
                halves.convert_to_f32_slice(&mut numbers);
                Cow::Owned(numbers)
            }
        }
    }
}

/// Appends batches of rows; what was appended survives a kill.
pub(super) struct VectorWriter {
    path: PathBuf,
    file: File,
    log: File,
    shape: Shape,
    rows: usize,
}

impl VectorWriter {
    /// Begins in `dir`, or goes on after the last batch that is whole there.
    pub fn open(dir: &Path, shape: Shape) -> Result<Self, IndexError> {
        let path = dir.join(FILE);
        let log_path = dir.join(LOG);
        let open = |path: &Path| {
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            options.open(path).map_err(io_error(path))
        };
        let mut file = open(&path)?;
        let mut log = open(&log_path)?;
        let (rows, log_bytes) = safe_rows(&mut file, &log, shape).map_err(io_error(&path))?;
        let end = HEADER + (rows * shape.row_bytes()) as u64;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .map_err(io_error(&path))?;
        log.set_len(log_bytes)
            .and_then(|()| log.seek(SeekFrom::Start(log_bytes)))
            .map_err(io_error(&log_path))?;
        Ok(Self {
            path,
            file,
            log,
            shape,
            rows,
        })
    }

    /// Rows that are safe.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends rows and does not return before they are on disk.
    pub fn append(&mut self, batch: &[Vec<f32>]) -> Result<(), IndexError> {
        let mut bytes = Vec::with_capacity(batch.len() * self.shape.row_bytes());
        for vector in batch {
            if vector.len() != self.shape.dimension {
                return Err(broken(
                    &self.path,
                    format!(
                        "the model gave a vector of {} numbers, not {}",
                        vector.len(),
                        self.shape.dimension
                    ),
                ));
            }
            if !vector.iter().all(|number| number.is_finite()) {
                return Err(broken(
                    &self.path,
                    format!(
                        "the model gave a vector that is no number, among passages {} to {}",
                        self.rows,
                        self.rows + batch.len() - 1
                    ),
                ));
            }
            for number in vector {
                match self.shape.precision {
                    Precision::F32 => bytes.extend_from_slice(&number.to_le_bytes()),
                    Precision::F16 => {
                        bytes.extend_from_slice(&f16::from_f32(*number).to_le_bytes());
                    }
                }
            }
        }
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(io_error(&self.path))?;
        self.rows += batch.len();
        let line = format!("{} {}\n", self.rows, short_hash(&bytes));
        self.log
            .write_all(line.as_bytes())
            .and_then(|()| self.log.sync_data())
            .map_err(io_error(&self.path))
    }

    /// Writes the header and forgets the log.
    pub fn finish(mut self) -> Result<(), IndexError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut sum = || {
            self.file.seek(SeekFrom::Start(HEADER))?;
            loop {
                match self.file.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => digest.update(&buffer[..read]),
                }
            }
        };
        sum().map_err(io_error(&self.path))?;
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&(self.shape.precision as u32).to_le_bytes());
        header.extend_from_slice(&(self.shape.dimension as u32).to_le_bytes());
        header.extend_from_slice(&(self.rows as u64).to_le_bytes());
        header.extend_from_slice(&digest.finalize());
        header.resize(HEADER as usize, 0);
        self.file
            .write_all_at(&header, 0)
            .and_then(|()| self.file.sync_all())
            .map_err(io_error(&self.path))?;
        let log = self.path.with_file_name(LOG);
        fs::remove_file(&log).map_err(io_error(&log))
    }
}

/// The rows of the batches that are whole, and where the log ends with them.
fn safe_rows(file: &mut File, log: &File, shape: Shape) -> std::io::Result<(usize, u64)> {
    let (mut rows, mut log_bytes) = (0, 0);
    let mut reader = BufReader::new(log);
    let mut line = String::new();
    file.seek(SeekFrom::Start(HEADER))?;
    loop {
        line.clear();
        // What is no text is no line of ours.
        if reader.read_line(&mut line).unwrap_or(0) == 0 || !line.ends_with('\n') {
            return Ok((rows, log_bytes));
        }
        let Some((count, hash)) = line.trim_end().split_once(' ') else {
            return Ok((rows, log_bytes));
        };
        let Some(more) = count
            .parse::<usize>()
            .ok()
            .and_then(|count| count.checked_sub(rows))
        else {
            return Ok((rows, log_bytes));
        };
        let left = file.metadata()?.len().saturating_sub(HEADER) / shape.row_bytes() as u64;
        if (rows + more) as u64 > left {
            return Ok((rows, log_bytes));
        }
        let mut bytes = vec![0; more * shape.row_bytes()];
        file.read_exact(&mut bytes)?;
        if short_hash(&bytes) != hash {
            return Ok((rows, log_bytes));
        }
        rows += more;
        log_bytes += line.len() as u64;
    }
}

fn short_hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes)[..8])
}

/// Vectors that are whole.
pub(super) struct Vectors {
    map: Mmap,
    file: File,
    path: PathBuf,
    shape: Shape,
    rows: usize,
}

impl Vectors {
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let path = dir.join(FILE);
        let file = File::open(&path).map_err(io_error(&path))?;
        // SAFETY: files of a published index are never written again.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error(&path))?;
        let (shape, rows) =
            header(&map).ok_or_else(|| broken(dir, "its vectors have no header that is known"))?;
        if map.len() as u64 != HEADER + (rows * shape.row_bytes()) as u64 {
            return Err(broken(dir, "its vectors are cut off"));
        }
        Ok(Self {
            map,
            file,
            path,
            shape,
            rows,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn dimension(&self) -> usize {
        self.shape.dimension
    }

    /// Where they are, for whoever reads them elsewhere.
    pub fn file(&self) -> VectorFile {
        VectorFile {
            path: std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()),
            start: HEADER,
            rows: self.rows,
            dimension: self.shape.dimension,
            half: self.shape.precision == Precision::F16,
        }
    }

    /// Rows one after another, from the map.
    pub fn block(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        let bytes = self.bytes(rows);
        self.shape.numbers(&self.map[bytes])
    }

    /// The same, read from the file: what is read once need not stay mapped.
    pub fn read_block(&self, rows: Range<usize>) -> Result<Vec<f32>, IndexError> {
        let bytes = self.bytes(rows);
        let mut buffer = vec![0; bytes.len()];
        self.file
            .read_exact_at(&mut buffer, bytes.start as u64)
            .map_err(io_error(&self.path))?;
        Ok(self.shape.numbers(&buffer).into_owned())
    }

    fn bytes(&self, rows: Range<usize>) -> Range<usize> {
        let at = |row: usize| HEADER as usize + row * self.shape.row_bytes();
        at(rows.start)..at(rows.end)
    }
}

fn header(bytes: &[u8]) -> Option<(Shape, usize)> {
    let header = bytes.get(..HEADER as usize)?;
    if &header[..8] != MAGIC {
        return None;
    }
    let number = |at: usize| header[at..at + 4].try_into().ok().map(u32::from_le_bytes);
    let precision = match number(8)? {
        0 => Precision::F32,
        1 => Precision::F16,
        _ => return None,
    };
    let dimension = number(12)? as usize;
    let rows = u64::from_le_bytes(header[16..24].try_into().ok()?);
    let shape = Shape {
        dimension,
        precision,
    };
    (dimension > 0).then_some((shape, usize::try_from(rows).ok()?))
}
