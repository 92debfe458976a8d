//! Quantised weights on disk: the second load of a model maps them into memory
//! instead of quantising again.
//!
//! A file `CACHE/weights/HASH-QUANTIZATION-LAYOUT.blocks` holds all matrices
//! of a model, as the kernels want them: a line that says what it is, the
//! length of the table, the table as JSON, and the matrices, each at a
//! multiple of 64 bytes. It is written beside its place and renamed. Every
//! matrix has a checksum, which is compared before it is used; a file that is
//! torn or damaged is written again.

use super::{
    fingerprint::fingerprint,
    quantized::{BlockKind, BlockMatrix},
};
use crate::{domain::Quantization, hub::WeightFiles};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the file begins with.
const MAGIC: &[u8; 16] = b"ragicamp blocks\n";

/// To be raised when the order of weights in memory changes.
const LAYOUT: u32 = 1;

/// Where matrices begin.
const ALIGNMENT: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    kind: BlockKind,
    outputs: usize,
    inputs: usize,
    /// From the end of the table on.
    start: usize,
    bytes: usize,
    checksum: u64,
}

/// The quantised matrices of one model.
pub struct WeightCache {
    path: PathBuf,
    map: Option<Arc<Mmap>>,
    /// Where the matrices begin.
    data: usize,
    entries: HashMap<String, Entry>,
    /// Everything that was asked for.
    used: Mutex<Vec<(String, Arc<BlockMatrix>)>>,
    /// Something was not there, or damaged.
    is_stale: AtomicBool,
}

impl WeightCache {
    /// Looks for a model's matrices below `directory`; `None` when there is
    /// nothing to keep, or nowhere, which is said in the log.
    pub fn open(directory: &Path, files: &WeightFiles, quantization: Quantization) -> Option<Self> {
        if quantization == Quantization::None {
            return None;
        }
        let directory = directory.join("weights");
        let key = fs::create_dir_all(&directory).and_then(|()| fingerprint(files, &directory));
        let key = match key {
            Ok(key) => key?,
            Err(error) => {
                tracing::warn!(
                    "quantised weights are not kept in {}: {error}",
                    directory.display()
                );
                return None;
            }
        };
        let path = directory.join(format!("{key}-{}-{LAYOUT}.blocks", quantization.as_str()));
        let mut cache = Self {
            path,
            map: None,
            data: 0,
            entries: HashMap::new(),
            used: Mutex::default(),
            is_stale: AtomicBool::new(false),
        };
        match cache.read() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(
                    "{} is made again, it can not be used: {error}",
                    cache.path.display()
                );
            }
        }
        Some(cache)
    }

    fn read(&mut self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        // SAFETY: files of this cache are replaced, never changed.
        let map = unsafe { Mmap::map(&file) }?;
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let length = map
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<8>())
            .map(|length| u64::from_le_bytes(*length))
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(|| damaged("it does not begin as it should"))?;
        let start = MAGIC.len() + 8;
        let end = start.checked_add(length).filter(|end| *end <= map.len());
        let end = end.ok_or_else(|| damaged("its table is torn"))?;
        let entries: Vec<Entry> = serde_json::from_slice(&map[start..end])?;
        self.data = end.next_multiple_of(ALIGNMENT);
        self.entries = entries
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        self.map = Some(Arc::new(map));
        Ok(())
    }

    /// The matrix of this name, else the one that `make` makes.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or<E>(
        &self,
        name: &str,
        kind: BlockKind,
        shape: (usize, usize),
        make: impl FnOnce() -> Result<Arc<BlockMatrix>, E>,
    ) -> Result<Arc<BlockMatrix>, E> {
        let matrix = match self.find(name, kind, shape) {
            Some(matrix) => Arc::new(matrix),
            None => {
                self.is_stale.store(true, Ordering::Relaxed);
                make()?
            }
        };
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_owned(), Arc::clone(&matrix)));
        Ok(matrix)
    }

    fn find(
        &self,
        name: &str,
        kind: BlockKind,
        (outputs, inputs): (usize, usize),
    ) -> Option<BlockMatrix> {
        let map = self.map.as_ref()?;
        let entry = self.entries.get(name)?;
        if (entry.kind, entry.outputs, entry.inputs) != (kind, outputs, inputs) {
            return None;
        }
        let start = self.data.checked_add(entry.start)?;
        let end = start.checked_add(entry.bytes)?;
        let is_whole = map
            .get(start..end)
            .is_some_and(|bytes| checksum(bytes) == entry.checksum);
        if !is_whole {
            tracing::warn!(
                "{} is made again: {name} is torn or damaged in it",
                self.path.display()
            );
            return None;
        }
        BlockMatrix::of_map(kind, outputs, inputs, Arc::clone(map), start..end)
    }

    /// Writes what was asked for, unless all of it was there. What can not be
    /// written is said in the log: the model works without.
    pub fn save(self) {
        if !self.is_stale.load(Ordering::Relaxed) {
            return;
        }
        let mut used = self
            .used
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        used.sort_by(|a, b| a.0.cmp(&b.0));
        if let Err(error) = write(&self.path, &used) {
            tracing::warn!(
                "the quantised weights can not be kept in {}: {error}",
                self.path.display()
            );
        }
    }
}

fn write(path: &Path, matrices: &[(String, Arc<BlockMatrix>)]) -> io::Result<()> {
    let mut start = 0;
    let entries: Vec<Entry> = matrices
        .iter()
        .map(|(name, matrix)| {
            let entry = Entry {
                name: name.clone(),
                kind: matrix.kind(),
                outputs: matrix.outputs(),
                inputs: matrix.inputs(),
                start,
                bytes: matrix.bytes(),
                checksum: checksum(matrix.as_bytes()),
            };
            start = (start + entry.bytes).next_multiple_of(ALIGNMENT);
            entry
        })
        .collect();
    let table = serde_json::to_vec(&entries)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory)?;
    let mut to = BufWriter::new(file);
    to.write_all(MAGIC)?;
    to.write_all(&(table.len() as u64).to_le_bytes())?;
    to.write_all(&table)?;
    let mut at = MAGIC.len() + 8 + table.len();
    for (_, matrix) in matrices {
        let begin = at.next_multiple_of(ALIGNMENT);
        to.write_all(&[0; ALIGNMENT][..begin - at])?;
        to.write_all(matrix.as_bytes())?;
        at = begin + matrix.bytes();
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Not fsynced: what a crash tears is found by its checksum.
    file.persist(path)?;
    Ok(())
}

/// Finds damage, at the speed of memory; no defence against anybody. FNV-1a's
/// steps over words, in eight lanes.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut lanes: [u64; 8] = std::array::from_fn(|lane| 0xcbf2_9ce4_8422_2325 ^ lane as u64);
    let (chunks, rest) = bytes.as_chunks::<64>();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            let mixed = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
            // High bits reach low ones only this way.
            *lane = mixed ^ (mixed >> 29);
        }
    }
    let whole = rest.iter().map(|byte| u64::from(*byte)).chain(lanes);
    whole.fold(bytes.len() as u64, |sum, word| {
        let mixed = (sum ^ word).wrapping_mul(PRIME);
        mixed ^ (mixed >> 29)
    })
}
