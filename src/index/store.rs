//! Directories of indexes: a name from what is in them, and a way to fill one
//! that no reader ever sees half done.

use super::{
    BuildProgress, IndexError,
    error::{broken, io_error, not_kept},
    progress::{Tell, report},
};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// What tells that an index is whole: the last file written.
pub(super) const MANIFEST: &str = "index.json";
/// Directories of builds that start over when they are killed.
const BUILDING: &str = ".building-";
/// Directories of builds that go on when they are killed.
pub(super) const PARTIAL: &str = ".partial-";
/// Locks of the latter, which outlive the directories.
const LOCKS: &str = ".locks";
const LOCK: &str = "lock";
/// How often a waiting process looks again.
const PATIENCE: Duration = Duration::from_millis(100);

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
    fs::create_dir_all(cache_dir).map_err(not_kept(cache_dir, cache_dir))?;
    remove_abandoned(cache_dir);
    let building = tempfile::Builder::new()
        .prefix(BUILDING)
        .tempdir_in(cache_dir)
        .map_err(not_kept(cache_dir, cache_dir))?;
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

/// As [`publish`] for builds that take hours: `build` finds in its directory
/// what an earlier, killed attempt has left there, and goes on with it. One
/// process builds; the others wait for it. `None` when the index got there
/// meanwhile.
pub(super) fn publish_resumable<T>(
    cache_dir: &Path,
    name: &str,
    tell: &mut Tell<'_>,
    build: impl FnOnce(&Path, &mut Tell<'_>) -> Result<T, IndexError>,
) -> Result<Option<T>, IndexError> {
    let locks = cache_dir.join(LOCKS);
    fs::create_dir_all(&locks).map_err(not_kept(cache_dir, &locks))?;
    let lock_path = locks.join(name);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(not_kept(cache_dir, &lock_path))?;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(io_error(&lock_path)(errno.into())),
        }
        report(tell, BuildProgress::Waiting)?;
        thread::sleep(PATIENCE);
    }
    let place = cache_dir.join(name);
    if place.is_dir() {
        return Ok(None);
    }
    let partial = cache_dir.join(format!("{PARTIAL}{name}"));
    fs::create_dir_all(&partial).map_err(not_kept(cache_dir, &partial))?;
    let built = match build(&partial, tell) {
        // Another corpus will have another name: nobody goes on with this.
        Err(error) if error.is_of_corpus() => {
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        built => built?,
    };
    sync_dir(&partial)?;
    fail::fail_point!("index::publish");
    fs::rename(&partial, &place).map_err(io_error(&place))?;
    sync_dir(cache_dir)?;
    drop(lock);
    Ok(Some(built))
}

/// Writes `index.json`, with the size and checksum of every other file.
pub(super) fn write_manifest(dir: &Path, mut manifest: Value) -> Result<(), IndexError> {
    let path = dir.join(MANIFEST);
    manifest["files"] = Value::Object(inventory(dir)?);
    manifest["written_by"] = json!(concat!("ragicamp ", env!("CARGO_PKG_VERSION")));
    File::create(&path)
        .and_then(|mut file| {
            writeln!(file, "{manifest:#}")?;
            file.sync_all()
        })
        .map_err(io_error(&path))
}

/// Reads `index.json`.
pub(super) fn read_manifest(dir: &Path) -> Result<Value, IndexError> {
    let path = dir.join(MANIFEST);
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| broken(dir, format!("{MANIFEST}: {error}")))
}

/// Every file of an index by name, with `bytes` and `sha256`.
fn inventory(dir: &Path) -> Result<Map<String, Value>, IndexError> {
    let mut files = Map::new();
    let mut names: Vec<String> = fs::read_dir(dir)
        .map_err(io_error(dir))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != MANIFEST && name != LOCK && !name.starts_with('.'))
        .collect();
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let (bytes, sha256) = checksum(&path)?;
        files.insert(name, json!({ "bytes": bytes, "sha256": sha256 }));
    }
    Ok(files)
}

/// Size and SHA-256 of a file.
fn checksum(path: &Path) -> Result<(u64, String), IndexError> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(io_error(path))? {
            0 => return Ok((bytes, hexadecimal(&digest.finalize()))),
            read => {
                bytes += read as u64;
                digest.update(&buffer[..read]);
            }
        }
    }
}

/// What differs between an index's files and its manifest; nothing when it is
/// whole.
pub(super) fn damage(dir: &Path) -> Result<Vec<String>, IndexError> {
    let manifest = read_manifest(dir)?;
    let Some(files) = manifest["files"].as_object() else {
        return Ok(vec![format!("{MANIFEST} lists no files")]);
    };
    let mut damage = Vec::new();
    for (name, wanted) in files {
        let path = dir.join(name);
        if !path.is_file() {
            damage.push(format!("{name} is missing"));
            continue;
        }
        let (bytes, sha256) = checksum(&path)?;
        if wanted["bytes"] != bytes {
            damage.push(format!("{name} has {bytes} bytes, not {}", wanted["bytes"]));
        } else if wanted["sha256"] != sha256 {
            damage.push(format!("{name} has another content than was written"));
        }
    }
    Ok(damage)
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
