//! Which weights a model's files hold.

use crate::hub::{FileSource, ModelFiles, WeightFiles};
use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The SHA-256 of the files' SHA-256s, in order; `None` for weights that are
/// not worth a cache: those of the program itself, and GGUF files, which are
/// quantised as they are.
///
/// A hub's blob is named by its hash. Any other file is read once; `notes` is
/// where its hash is kept with its size, times and inode, and as long as these
/// stay the file is not read again.
///
/// # Errors
/// When a file can not be read.
pub fn fingerprint(files: &WeightFiles, notes: &Path) -> io::Result<Option<String>> {
    let WeightFiles::Safetensors(paths) = files else {
        return Ok(None);
    };
    let hashes = paths
        .par_iter()
        .map(|path| of_file(path, notes))
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Some(hash(hashes.join("\n").as_bytes())))
}

/// What a model is made of, for the record: the SHA-256 of its weights (as
/// [`fingerprint`], of a GGUF file its own) and of its tokenizer.
///
/// # Errors
/// When a file can not be read.
pub fn hashes(files: &ModelFiles, notes: &Path) -> io::Result<[Option<String>; 2]> {
    let weights = match &files.weights {
        WeightFiles::Gguf(path) => Some(of_file(path, notes)?),
        WeightFiles::Embedded(bytes) => Some(hash(bytes)),
        WeightFiles::Safetensors(_) => fingerprint(&files.weights, notes)?,
    };
    let tokenizer = match &files.tokenizer {
        Some(FileSource::Path(path)) => Some(hash(&fs::read(path)?)),
        Some(FileSource::Embedded(bytes)) => Some(hash(bytes)),
        None => None,
    };
    Ok([weights, tokenizer])
}

/// The same, with what is read for the first time noted below `cache`. Not to
/// know is no reason not to run.
pub fn identity(files: &ModelFiles, cache: &Path) -> [Option<String>; 2] {
    let notes = cache.join("weights");
    let found = fs::create_dir_all(&notes).and_then(|()| hashes(files, &notes));
    found.unwrap_or_else(|error| {
        tracing::warn!("{}: its hash is not known: {error}", files.label);
        [None, None]
    })
}

fn of_file(path: &Path, notes: &Path) -> io::Result<String> {
    let path = path.canonicalize()?;
    let name = path.file_name().and_then(|name| name.to_str());
    if let Some(name) = name
        && name.len() == 64
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(name.to_ascii_lowercase());
    }
    let file = File::open(&path)?;
    let found = file.metadata()?;
    // The change time moves with every write and can not be set back.
    let state = format!(
        "{} {} {} {} {} {}",
        found.dev(),
        found.ino(),
        found.len(),
        found.mtime_nsec() + found.mtime() * 1_000_000_000,
        found.ctime_nsec() + found.ctime() * 1_000_000_000,
        path.display()
    );
    let note: PathBuf = notes.join(format!(
        "{}.sha256",
        hash(path.as_os_str().as_encoded_bytes())
    ));
    if let Ok(known) = fs::read_to_string(&note)
        && let Some((hash, known)) = known.split_once(' ')
        && known == state
        && hash.len() == 64
    {
        return Ok(hash.to_owned());
    }
    // SAFETY: weights are written once and replaced, not changed.
    let map = unsafe { Mmap::map(&file) }?;
    let hash = hash(&map);
    // Without the note the file is read again next time.
    let _ = tempfile::NamedTempFile::new_in(notes).and_then(|mut to| {
        io::Write::write_all(&mut to, format!("{hash} {state}").as_bytes())?;
        to.persist(&note)?;
        Ok(())
    });
    Ok(hash)
}

fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
