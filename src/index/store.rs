//! Directories of indexes: a name from what is in them, and a way to fill one
//! that no reader ever sees half done.

use super::IndexError;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const BUILDING: &str = ".building-";
const LOCK: &str = "lock";

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of an index: 128 bits of the hash of all that decides what is in
/// it.
pub(super) fn key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hexadecimal(&digest.finalize()[..16])
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> IndexError + '_ {
    |source| IndexError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Makes `cache_dir/name` with what `build` puts into the directory that it is
/// given, in one step: the directory is filled elsewhere and renamed.
///
/// When another process is faster, its result stays and this one is dropped.
/// What builds that were killed left behind is removed.
pub(super) fn publish<T>(
    cache_dir: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    fs::create_dir_all(cache_dir).map_err(io_error(cache_dir))?;
    remove_abandoned(cache_dir);
    let building = tempfile::Builder::new()
        .prefix(BUILDING)
        .tempdir_in(cache_dir)
        .map_err(io_error(cache_dir))?;
    // Held until after the rename: others can tell that the builder lives. It
    // gets its name when it is locked, so that nobody finds it unlocked.
    let unnamed = building.path().join("lock.new");
    let lock = File::create(&unnamed).map_err(io_error(&unnamed))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| io_error(&unnamed)(errno.into()))?;
    fs::rename(&unnamed, building.path().join(LOCK)).map_err(io_error(&unnamed))?;
    let built = build(building.path())?;
    sync_dir(building.path())?;
    let place = cache_dir.join(name);
    match fs::rename(building.path(), &place) {
        Ok(()) => {
            // It has another name now; nothing is left to clean up.
            let _ = building.keep();
            sync_dir(cache_dir)?;
        }
        Err(_) if place.is_dir() => {}
        Err(error) => return Err(io_error(&place)(error)),
    }
    drop(lock);
    Ok(built)
}

/// Moves a broken index out of the way, so that it can be built anew; one
/// earlier broken one is kept, for whoever wants to look.
pub(super) fn set_aside(place: &Path) -> Result<PathBuf, IndexError> {
    let mut aside = place.as_os_str().to_owned();
    aside.push(".broken");
    let aside = PathBuf::from(aside);
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io_error(&aside))?;
    }
    match fs::rename(place, &aside) {
        // Another process saw the same and was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(aside),
        Err(error) => Err(io_error(place)(error)),
        Ok(()) => Ok(aside),
    }
}

fn sync_dir(path: &Path) -> Result<(), IndexError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error(path))
}

/// Removes half-built directories whose builder is gone: nobody holds their
/// lock. Errors do not matter: the next build tries again.
fn remove_abandoned(cache_dir: &Path) {
    let Ok(entries) = fs::read_dir(cache_dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(BUILDING) {
            continue;
        }
        // Without a lock file the builder may be about to make it.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
