use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    experiment_dir::ExperimentDir,
    faults, lenient,
    seal::{self, Sealed},
    tables::Tables,
    time,
};
use crate::domain::Event;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// What every study's directory has once a run began in it.
pub(super) const MANIFEST: &str = "manifest.json";

/// A study's directory: `outputs/<study>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyDir {
    path: PathBuf,
}

impl StudyDir {
    /// Makes the directory and its parents where they are missing.
    ///
    /// # Errors
    /// When a parent can not be written, or a file is in the way.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        atomic::create_directory(&path)?;
        Ok(Self { path })
    }

    /// The directory at `path`, whether it exists or not: to look, not to
    /// write.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Opens a directory that exists.
    ///
    /// # Errors
    /// When it does not.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if path.is_dir() {
            return Ok(Self { path });
        }
        Err(ArtifactError::malformed(
            &path,
            "there is no such directory",
        ))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's name; of `.` the name of what it stands for.
    pub fn name(&self) -> String {
        directory_name(&self.path)
    }

    /// The directory of an experiment, whether it exists or not.
    pub fn experiment(&self, name: &str) -> ExperimentDir {
        ExperimentDir::new(self.path.join(name))
    }

    /// The names of the experiments that have a directory, sorted.
    ///
    /// # Errors
    /// When the directory can not be listed.
    pub fn experiments(&self) -> Result<Vec<String>> {
        let failed = |source| ArtifactError::io("listing", &self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            // The entry's type spares a look at every file; links are followed.
            let is_directory = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
                Ok(kind) => kind.is_dir(),
                Err(_) => false,
            };
            if is_directory && ExperimentDir::new(entry.path()).exists() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Keeps the study's YAML, so that `resume` needs no other file.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_study(&self, yaml: &str) -> Result<()> {
        atomic::write(
            &self.path.join("study.yaml"),
            "study::write",
            Durability::Durable,
            yaml.as_bytes(),
        )
    }

    /// The study's YAML.
    ///
    /// # Errors
    /// When it is missing, can not be read, or is no text.
    pub fn read_study(&self) -> Result<String> {
        let path = self.path.join("study.yaml");
        let Some(bytes) = atomic::read(&path)? else {
            return Err(ArtifactError::malformed(
                &path,
                "it is missing, so this is no directory that a run made",
            ));
        };
        String::from_utf8(bytes).map_err(|_| ArtifactError::malformed(&path, "it is not UTF-8"))
    }

    /// Keeps what the study ran on and with. Under `experiments` it may hold
    /// the names of the whole grid; `health` then shows those without a
    /// directory too.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_manifest(&self, manifest: &Value) -> Result<()> {
        let path = self.path.join(MANIFEST);
        let bytes = lenient::pretty(&path, manifest)?;
        self.unseal()?;
        atomic::write(&path, "manifest::write", Durability::Durable, &bytes)
    }

    /// The manifest; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or is no JSON.
    pub fn read_manifest(&self) -> Result<Option<Value>> {
        lenient::value(&self.path.join(MANIFEST))
    }

    /// Whether the study's directory still is what it was when its run began,
    /// so that nothing is made anew in the place of what somebody removed.
    ///
    /// # Errors
    /// When it is gone.
    pub fn still_there(&self) -> Result<()> {
        let path = self.path.join(MANIFEST);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(()),
            Err(source) => Err(ArtifactError::io("looking at", &path, source)),
        }
    }

    /// Opens `events.jsonl` for appending.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn events(&self) -> Result<EventLog> {
        EventLog::open(self.path.join("events.jsonl"))
    }

    /// Keeps the checksums of the study's own files. Experiments have theirs.
    ///
    /// # Errors
    /// When a file can not be read, or the checksums not written.
    pub fn seal(&self) -> Result<()> {
        // A report is written from all of this whenever somebody wants one.
        seal::write(&self.path, &|file| {
            file == "report.html" || self.path.join(file).is_dir()
        })
    }

    /// Removes the checksums, before something changes.
    ///
    /// # Errors
    /// When they can not be removed.
    pub fn unseal(&self) -> Result<()> {
        seal::remove(&self.path)
    }

    /// Compares the study's own files with what they were when the last run
    /// ended. A run that began since appends to the events.
    ///
    /// # Errors
    /// When the checksums can not be read.
    pub fn check_seal(&self) -> Result<Sealed> {
        // Others keep files of theirs beside a study's own.
        seal::check(&self.path, &|file| file == "events.jsonl", &|_| false)
    }

    /// The experiments that `study_summary.json` has a result or an error of;
    /// none where there is no such file, or it can not be read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn told(&self) -> Result<BTreeSet<String>> {
        let summary = match lenient::object(&self.path.join("study_summary.json")) {
            Err(ArtifactError::Malformed { .. }) => None,
            read => read?,
        };
        let entries = summary.and_then(|mut summary| summary.shift_remove("experiments"));
        let Some(Value::Array(entries)) = entries else {
            return Ok(BTreeSet::new());
        };
        let is_told = |entry: &&Value| {
            ["complete", "failed"].contains(&entry["status"].as_str().unwrap_or_default())
        };
        let names = entries.iter().filter(is_told);
        Ok(names
            .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// Writes `study_summary.json`, one entry per experiment, and
    /// `results.csv`: experiment, status, the fields in the order in which
    /// they first appear, then the metrics by name.
    ///
    /// # Errors
    /// When one of them can not be written.
    pub fn write_tables(&self, tables: &Tables) -> Result<()> {
        self.unseal()?;
        tables.write_summary(&self.path.join("study_summary.json"))?;
        tables.write_csv(&self.path.join("results.csv"))
    }
}

/// The last part of a path; of `.` and `..` of what they stand for.
pub(super) fn directory_name(path: &Path) -> String {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    name(path)
        .or_else(|| name(&path.canonicalize().ok()?))
        .unwrap_or_default()
}

/// `events.jsonl`, open for appending. Several runs may append at once: each
/// event is one write at the end of the file.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    fn open(path: PathBuf) -> Result<Self> {
        let failed = |source| ArtifactError::io("opening", &path, source);
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(failed)?;
        if ends_torn(&mut file).map_err(failed)? {
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(Self { path, file })
    }

    /// An event as a line of JSON without its line break:
    /// `{"ts":"2025-12-10T03:58:22.114Z","event":"progress",...}`.
    pub fn line(event: &Event) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            ts: String,
            #[serde(flatten)]
            event: &'a Event,
        }
        let line = Line {
            ts: time::now(),
            event,
        };
        // Plain data with text keys always serialises.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Appends an event. It is not fsynced: events tell, they are no truth.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        let mut line = Self::line(event);
        line.push('\n');
        faults::check("events::append")
            .and_then(|()| self.file.write_all(line.as_bytes()))
            .map_err(|source| ArtifactError::io("appending to", &self.path, source))
    }
}

/// Whether a killed process left the last line unfinished.
fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
