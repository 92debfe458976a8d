//! Quantised weights on disk: the second load of a model maps them into memory
//! instead of quantising again.
//!
//! A file `CACHE/weights/HASH-QUANTIZATION-ORDER.blocks` holds all matrices of a
//! model, in the order in which a device's kernels want them: a line that says
//! what it is, the matrices, each at a multiple of 64 bytes, a table of them as
//! JSON, its length, and the same line once more. It is written beside its place,
//! each matrix as soon as it was made, and renamed. Every matrix has a checksum,
//! which is compared before it is used; a file that is torn or damaged is
//! written again.

use super::{fingerprint::fingerprint, quantized::BlockKind};
use crate::{domain::Quantization, hub::WeightFiles};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::NamedTempFile;

/// What the file begins and ends with.
const MAGIC: &[u8; 16] = b"ragicamp blocks\n";

/// Where matrices begin.
const ALIGNMENT: usize = 64;

/// What the names of files that are being written begin with.
const UNFINISHED: &str = ".unfinished-";

/// Who has not written for so long was killed.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// What a matrix is, beside its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The format that its weights became.
    pub kind: BlockKind,
    /// Its rows.
    pub outputs: usize,
    /// Its columns, as the model has them.
    pub inputs: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    form: Form,
    start: usize,
    bytes: usize,
    checksum: u64,
}

/// The bytes of a matrix in a file.
pub type Kept = (Arc<Mmap>, Range<usize>);

/// The quantised matrices of one model.
pub struct WeightCache {
    path: PathBuf,
    map: Option<Arc<Mmap>>,
    entries: HashMap<String, Entry>,
    /// What of it was used.
    used: Mutex<Vec<String>>,
    /// What was made, for the next file.
    spool: Mutex<Spool>,
}

impl WeightCache {
    /// Looks for a model's matrices below `directory`, in an order of weights
    /// that has a name of its own; `None` when there is nothing to keep, or
    /// nowhere, which is said in the log.
    pub fn open(
        directory: &Path,
        files: &WeightFiles,
        quantization: Quantization,
        order: &str,
    ) -> Option<Self> {
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
        remove_abandoned(&directory);
        let path = directory.join(format!("{key}-{}-{order}.blocks", quantization.as_str()));
        let mut cache = Self {
            path,
            map: None,
            entries: HashMap::new(),
            used: Mutex::default(),
            spool: Mutex::default(),
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
        let (rest, length) = map
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_suffix(MAGIC))
            .and_then(|rest| rest.split_last_chunk::<8>())
            .ok_or_else(|| damaged("it does not begin and end as it should"))?;
        let start = usize::try_from(u64::from_le_bytes(*length))
            .ok()
            .and_then(|length| rest.len().checked_sub(length))
            .ok_or_else(|| damaged("its table is torn"))?;
        let entries: Vec<Entry> = serde_json::from_slice(&rest[start..])?;
        self.entries = entries
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        self.map = Some(Arc::new(map));
        Ok(())
    }

    /// The matrix of this name, where it is there, whole and of this form.
    pub fn find(&self, name: &str, form: Form) -> Option<Kept> {
        let map = self.map.as_ref()?;
        let entry = self.entries.get(name)?;
        if entry.form != form {
            return None;
        }
        let range = entry.start..entry.start.checked_add(entry.bytes)?;
        let is_whole = map
            .get(range.clone())
            .is_some_and(|bytes| checksum(bytes) == entry.checksum);
        if !is_whole {
            tracing::warn!(
                "{} is made again: {name} is torn or damaged in it",
                self.path.display()
            );
            return None;
        }
        locked(&self.used).push(name.to_owned());
        Some((Arc::clone(map), range))
    }

    /// Keeps a matrix that was made for the next time.
    pub fn keep(&self, name: &str, form: Form, bytes: &[u8]) {
        locked(&self.spool).add(&self.path, name, form, bytes);
    }

    /// Publishes what was made with what was used, unless all of it was there.
    pub fn save(self) {
        let mut spool = locked(&self.spool);
        if spool.entries.is_empty() {
            return;
        }
        for name in locked(&self.used).iter() {
            if let (Some(map), Some(entry)) = (&self.map, self.entries.get(name)) {
                let bytes = &map[entry.start..entry.start + entry.bytes];
                spool.add(&self.path, name, entry.form, bytes);
            }
        }
        spool.publish(&self.path);
    }
}

/// Removes what killed processes left half written: it can be as large as a
/// model.
fn remove_abandoned(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let age = entry.metadata().and_then(|it| it.modified()).ok();
        let age = age.and_then(|written| written.elapsed().ok());
        if is_unfinished && age.is_some_and(|age| age > ABANDONED) {
            // Somebody else may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is being written.
#[derive(Default)]
struct Spool {
    to: Option<BufWriter<NamedTempFile>>,
    at: usize,
    entries: Vec<Entry>,
    /// It can not be written: the model works without.
    is_given_up: bool,
}

impl Spool {
    fn add(&mut self, path: &Path, name: &str, form: Form, bytes: &[u8]) {
        if self.is_given_up {
            return;
        }
        if let Err(error) = self.append(path, name, form, bytes) {
            self.give_up(path, &error);
        }
    }

    fn append(&mut self, path: &Path, name: &str, form: Form, bytes: &[u8]) -> io::Result<()> {
        let to = match &mut self.to {
            Some(to) => to,
            none => {
                let directory = path.parent().unwrap_or(Path::new("."));
                let file = tempfile::Builder::new()
                    .prefix(UNFINISHED)
                    .tempfile_in(directory)?;
                let mut to = BufWriter::new(file);
                to.write_all(MAGIC)?;
                self.at = MAGIC.len();
                none.insert(to)
            }
        };
        let start = self.at.next_multiple_of(ALIGNMENT);
        to.write_all(&[0; ALIGNMENT][..start - self.at])?;
        to.write_all(bytes)?;
        self.at = start + bytes.len();
        self.entries.push(Entry {
            name: name.to_owned(),
            form,
            start,
            bytes: bytes.len(),
            checksum: checksum(bytes),
        });
        Ok(())
    }

    fn publish(&mut self, path: &Path) {
        let Some(to) = self.to.take() else {
            return;
        };
        if let Err(error) = self.finish(to, path) {
            self.give_up(path, &error);
        }
    }

    fn finish(&self, mut to: BufWriter<NamedTempFile>, path: &Path) -> io::Result<()> {
        let table = serde_json::to_vec(&self.entries)?;
        to.write_all(&table)?;
        to.write_all(&(table.len() as u64).to_le_bytes())?;
        to.write_all(MAGIC)?;
        let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Not fsynced: what a crash tears is found by its checksum.
        file.persist(path)?;
        Ok(())
    }

    fn give_up(&mut self, path: &Path, error: &io::Error) {
        self.is_given_up = true;
        // The half of a file goes, and its room with it.
        self.to = None;
        tracing::warn!(
            "the quantised weights can not be kept in {}: {error}",
            path.display()
        );
    }
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
