//! Files that appear whole or not at all.

use super::{
    error::{ArtifactError, Result},
    faults,
    regular_file::open_regular,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::NamedTempFile;

/// Whether a file must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Fsynced with its directory before the call returns.
    Durable,
    /// Fsynced before it is renamed into place, its directory not: a power cut
    /// may bring the old content back, never a part of the new one. What is
    /// made durable in that directory later makes this durable too.
    Ordered,
    /// Renamed into place without fsync: it can be derived again.
    Derivable,
}

/// Marks files that are not in their place yet; a killed process leaves them.
const TEMPORARY_SUFFIX: &str = ".partial";

/// Replaces `path` with `bytes`; readers see the old or the new content.
///
/// # Errors
/// When any step fails; the old content is still there then.
pub(super) fn write(
    path: &Path,
    point: &'static str,
    durability: Durability,
    bytes: &[u8],
) -> Result<()> {
    write_with(path, point, durability, |out| out.write_all(bytes))
}

/// As [`write`], with the content streamed by `fill`.
///
/// # Errors
/// When any step fails; the old content is still there then.
pub(super) fn write_with(
    path: &Path,
    point: &'static str,
    durability: Durability,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| ArtifactError::io("writing", path, source);
    let directory = parent(path);
    let temporary = temporary_beside(path).map_err(failed)?;
    faults::check(point).map_err(failed)?;
    // The file itself, because the wrapper's errors have no error number.
    let mut out = BufWriter::new(temporary.as_file());
    fill(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    if durability != Durability::Derivable {
        temporary.as_file().sync_all().map_err(failed)?;
    }
    faults::check(&format!("{point}::rename")).map_err(failed)?;
    temporary
        .persist(path)
        .map_err(|error| failed(error.error))?;
    if durability == Durability::Durable {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Creates `path` with `bytes`, unless it exists: of many callers at once
/// exactly one gets true. Of an empty file nothing but its name is to be kept.
///
/// The file appears with its whole content, by link(2), which is atomic on
/// network file systems too. Where there are no hard links it is made with
/// O_EXCL, and a reader may see it empty for a moment.
///
/// # Errors
/// When the directory can not be written.
pub(super) fn create_new(
    path: &Path,
    point: &'static str,
    durability: Durability,
    bytes: &[u8],
) -> Result<bool> {
    let failed = |source| ArtifactError::io("creating", path, source);
    let mut temporary = temporary_beside(path).map_err(failed)?;
    faults::check(point).map_err(failed)?;
    temporary.as_file_mut().write_all(bytes).map_err(failed)?;
    if durability != Durability::Derivable && !bytes.is_empty() {
        temporary.as_file().sync_all().map_err(failed)?;
    }
    let created = match fs::hard_link(temporary.path(), path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A link request that a network repeats fails the second time
            // although the first made it: the two names then are one file.
            same_file(temporary.path(), path)
        }
        Err(error) if has_no_links(&error) => create_exclusive(path, bytes).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    if created && durability == Durability::Durable {
        sync_directory(parent(path))?;
    }
    Ok(created)
}

/// As [`create_new`], where there are no hard links.
///
/// # Errors
/// When the directory can not be written.
pub(super) fn create_exclusive(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn has_no_links(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK)
    )
}

fn same_file(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::symlink_metadata(left), fs::symlink_metadata(right)) {
        (Ok(left), Ok(right)) => left.dev() == right.dev() && left.ino() == right.ino(),
        _ => false,
    }
}

/// Makes what was created or renamed in `directory` survive a power cut.
///
/// # Errors
/// When the directory is gone or its disk fails.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    match synced {
        // Some network and FUSE file systems can not sync directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(|source| ArtifactError::io("syncing", directory, source)),
    }
}

/// Creates `directory` with all its parents, durably.
///
/// # Errors
/// When a parent can not be written, or a file is in the way.
pub(super) fn create_directory(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut missing: Vec<&Path> = Vec::new();
    for ancestor in directory.ancestors() {
        if ancestor.as_os_str().is_empty() || ancestor.exists() {
            break;
        }
        missing.push(ancestor);
    }
    fs::create_dir_all(directory)
        .map_err(|source| ArtifactError::io("creating", directory, source))?;
    for created in missing.iter().rev() {
        sync_directory(parent(created))?;
    }
    Ok(())
}

/// The directory that `path` is in; `.` for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes what killed processes left unfinished in `directory` and is older
/// than `age`: younger files may be those of a process that lives.
pub(super) fn sweep(directory: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') || !name.ends_with(TEMPORARY_SUFFIX) {
            continue;
        }
        let is_old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| modified.elapsed().unwrap_or_default() >= age);
        if is_old {
            // What can not be removed costs a few bytes and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The whole file; `None` when it does not exist.
///
/// # Errors
/// When it exists and can not be read.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open_regular(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ArtifactError::io("reading", path, source)),
    }
}

/// Gives `path` the first free name of `path`, `path-2`, `path-3` ...
pub(super) fn free_name(path: PathBuf) -> PathBuf {
    if fs::symlink_metadata(&path).is_err() {
        return path;
    }
    let mut number = 2_u64;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{number}"));
        let candidate = PathBuf::from(name);
        if fs::symlink_metadata(&candidate).is_err() {
            return candidate;
        }
        number += 1;
    }
}

/// An empty file that is gone when it is dropped, in the directory of `path`.
///
/// # Errors
/// The system's, with its number, when the directory can not be written.
pub(super) fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(TEMPORARY_SUFFIX)
        .make_in(parent(path), |path| {
            // The umask applies: colleagues read these files.
            File::options().write(true).create_new(true).open(path)
        })
}
