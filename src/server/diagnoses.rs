use super::problem::Problem;
use crate::{
    diagnosis::{Bounds, DiagnosisError, GrowingLog, Source},
    errortrace::Context,
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Logs that are kept read. What is asked for again is read anew.
const KEPT: usize = 1024;

/// What logs said, by their files' sizes and times. A log that grew is read
/// on, not read again.
pub struct Diagnoses {
    bounds: Bounds,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<PathBuf, Arc<Mutex<Entry>>>,
    uses: u64,
}

struct Entry {
    log: GrowingLog,
    stamps: Vec<Option<(u64, SystemTime)>>,
    source: Option<Arc<Source>>,
    used: u64,
}

impl Diagnoses {
    /// Of logs inside `bounds`.
    pub fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            known: Mutex::default(),
        }
    }

    /// What the logs of the experiment in `directory` say.
    pub fn experiment(&self, directory: &Path) -> Result<Arc<Source>, Problem> {
        let log = directory.join("experiment.log");
        let files = [
            log.clone(),
            directory.join("error.log"),
            directory.join("state.json"),
        ];
        self.read(log, &files, |log| Source::of_experiment(directory, log))
    }

    /// What a log says that stands by itself.
    pub fn log(&self, path: &Path) -> Result<Arc<Source>, Problem> {
        let name = path.display().to_string();
        self.read(path.to_owned(), &[path.to_owned()], |log| {
            log.report(&Context::default())
                .map(|report| Source::of_report(name.clone(), report))
                .map_err(|source| DiagnosisError::Io {
                    path: path.to_owned(),
                    source,
                })
        })
    }

    /// What the log `path` said when it was last read; `None` when that is
    /// not known.
    pub fn known(&self, path: &Path) -> Option<Arc<Source>> {
        let entry = self.kept(path)?;
        let entry = entry.try_lock().ok()?;
        entry.source.clone()
    }

    /// A place in the log `path` where a line begins, and its number: near
    /// what `near` finds, where the log was read; else its first line.
    pub fn place(&self, path: &Path, near: impl Fn(&GrowingLog) -> (u64, u64)) -> (u64, u64) {
        self.kept(path)
            .and_then(|entry| entry.try_lock().ok().map(|entry| near(&entry.log)))
            .unwrap_or((0, 1))
    }

    fn kept(&self, path: &Path) -> Option<Arc<Mutex<Entry>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entries.get(path).cloned()
    }

    fn read(
        &self,
        path: PathBuf,
        files: &[PathBuf],
        look: impl FnOnce(&mut GrowingLog) -> Result<Source, DiagnosisError>,
    ) -> Result<Arc<Source>, Problem> {
        let entry = self.entry(path);
        // Whoever asks for the same log waits for the one who reads it.
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<_> = files.iter().map(|file| stamp(file)).collect();
        if let Some(source) = &entry.source
            && entry.stamps == stamps
        {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(look(&mut entry.log).map_err(Problem::internal)?);
        entry.stamps = stamps;
        entry.source = Some(Arc::clone(&source));
        Ok(source)
    }

    fn entry(&self, path: PathBuf) -> Arc<Mutex<Entry>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.uses += 1;
        let now = known.uses;
        if !known.entries.contains_key(&path) && known.entries.len() >= KEPT {
            let oldest = known
                .entries
                .iter()
                // One that is being read is in use.
                .filter_map(|(path, entry)| Some((entry.try_lock().ok()?.used, path.clone())))
                .min();
            if let Some((_, path)) = oldest {
                known.entries.remove(&path);
            }
        }
        let entry = known.entries.entry(path.clone()).or_insert_with(|| {
            Arc::new(Mutex::new(Entry {
                log: GrowingLog::new(path).within(self.bounds.clone()),
                stamps: Vec::new(),
                source: None,
                used: now,
            }))
        });
        if let Ok(mut entry) = entry.try_lock() {
            entry.used = now;
        }
        Arc::clone(entry)
    }
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
