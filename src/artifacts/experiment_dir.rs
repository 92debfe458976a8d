use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    error_log::{ErrorLog, StoredErrorLog},
    identity::StoredIdentity,
    item_scores,
    journal::{self, Journal, JournalContents},
    lease::{self, Claim, Lease, LeaseOptions, LeaseRecord, Liveness},
    metadata::Metadata,
    predictions::{self, PredictionsFile},
    questions::QuestionsFile,
    results::Results,
    seal::{self, Sealed},
    state::State,
    steps::{self, StepContents, StepJournal},
    study_dir::directory_name,
    time,
};
use crate::domain::{Prediction, Question};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// An experiment's directory: `outputs/<study>/<experiment>`.
///
/// Reading is free to everybody. Writing is for the owner of the lease; ask
/// [`Lease::check`] first where the wait was long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentDir {
    /// Where it is.
    pub path: PathBuf,
}

impl ExperimentDir {
    /// The directory at `path`, whether it exists or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the directory where it is missing, durably.
    ///
    /// # Errors
    /// When a parent can not be written, or a file is in the way.
    pub fn create(&self) -> Result<()> {
        atomic::create_directory(&self.path)
    }

    /// The experiment's name.
    pub fn name(&self) -> String {
        directory_name(&self.path)
    }

    /// Whether an experiment has left anything here.
    pub fn exists(&self) -> bool {
        [
            "state.json",
            "metadata.json",
            "journal",
            "predictions.json",
            "questions.json",
            "results.json",
            "error.log",
        ]
        .iter()
        .any(|name| self.file(name).exists())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn journal_path(&self) -> PathBuf {
        self.file("journal")
    }

    /// `state.json`; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, is no JSON object, or names no known phase.
    pub fn state(&self) -> Result<Option<State>> {
        State::read(&self.file("state.json"))
    }

    /// Writes `state.json`, with `updated_at` set to now; durably where work
    /// ends.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_state(&self, state: &State) -> Result<()> {
        state.write(&self.file("state.json"))
    }

    /// `questions.json`; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or holds no questions.
    pub fn questions(&self) -> Result<Option<QuestionsFile>> {
        QuestionsFile::read(&self.file("questions.json"))
    }

    /// Writes `questions.json`, by which it is told what is outstanding. It is
    /// durable before an answer is.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_questions(&self, questions: &QuestionsFile) -> Result<()> {
        // A first journal's directory is made after it, in the same place.
        let durability = match self.journal_path().is_dir() {
            true => Durability::Durable,
            false => Durability::Ordered,
        };
        questions.write(&self.file("questions.json"), durability)
    }

    /// `metadata.json`; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or is no JSON object.
    pub fn metadata(&self) -> Result<Option<Metadata>> {
        Metadata::read(&self.file("metadata.json"))
    }

    /// Writes `metadata.json`.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_metadata(&self, metadata: &Metadata, durability: Durability) -> Result<()> {
        metadata.write(&self.file("metadata.json"), durability)
    }

    /// What the directory was made for; `None` when it does not say so, as
    /// directories of older shapes. Where `metadata.json` is lost or can not be
    /// read, `state.json` still has the hash.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn identity(&self) -> Result<Option<StoredIdentity>> {
        let told = self.metadata();
        let told = told.map(|metadata| metadata.and_then(|metadata| metadata.identity()));
        if !matches!(told, Ok(None) | Err(ArtifactError::Malformed { .. })) {
            return told;
        }
        match self.state() {
            Ok(Some(state)) if !state.spec_hash.is_empty() => Ok(Some(StoredIdentity {
                hash: state.spec_hash,
                spec: Value::Null,
            })),
            _ => told,
        }
    }

    /// `results.json`; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read, or is no JSON object.
    pub fn results(&self) -> Result<Option<Results>> {
        Results::read(&self.file("results.json"))
    }

    /// Writes `results.json` durably.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_results(&self, results: &Results) -> Result<()> {
        results.write(&self.file("results.json"))
    }

    /// The head of `error.log`; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn error_log(&self) -> Result<Option<StoredErrorLog>> {
        StoredErrorLog::read(&self.file("error.log"))
    }

    /// Writes `error.log` durably. The log of an earlier attempt goes to
    /// `earlier_errors/`.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_error_log(&self, log: &ErrorLog) -> Result<()> {
        let path = self.file("error.log");
        let same = atomic::read(&path)?.is_some_and(|bytes| bytes == log.render().as_bytes());
        if same {
            return Ok(());
        }
        self.retire_error_log()?;
        log.write(&path)
    }

    /// Moves `error.log` to `earlier_errors/001.log` and so on, where one is:
    /// an experiment that got complete has no error any more.
    ///
    /// # Errors
    /// When it can not be moved.
    pub fn retire_error_log(&self) -> Result<()> {
        let path = self.file("error.log");
        if !path.exists() {
            return Ok(());
        }
        let directory = self.file("earlier_errors");
        atomic::create_directory(&directory)?;
        let target = (1_u32..)
            .map(|number| directory.join(format!("{number:03}.log")))
            .find(|target| !target.exists());
        match target {
            Some(target) => fs::rename(&path, &target)
                .map_err(|source| ArtifactError::io("moving", &path, source)),
            None => Ok(()),
        }
    }

    /// Keeps the checksum of every file, when nothing more is to change.
    ///
    /// # Errors
    /// When a file can not be read, or the checksums not written.
    pub fn seal(&self) -> Result<()> {
        // Leases live on.
        seal::write(&self.path, &|file| file == "lease")
    }

    /// Removes the checksums, before something changes.
    ///
    /// # Errors
    /// When they can not be removed.
    pub fn unseal(&self) -> Result<()> {
        seal::remove(&self.path)
    }

    /// Compares every file with what it was when the directory was sealed.
    /// The worker that outlives the experiment may write to its log.
    ///
    /// # Errors
    /// When the checksums can not be read.
    pub fn check_seal(&self) -> Result<Sealed> {
        let counts = |file: &str| {
            let top = file.split('/').next().unwrap_or(file);
            matches!(top, "journal" | "steps") || top.ends_with(".json")
        };
        seal::check(&self.path, &|file| file == "experiment.log", &counts)
    }

    /// Where the worker's stdout and stderr and our log lines go.
    pub fn experiment_log(&self) -> PathBuf {
        self.file("experiment.log")
    }

    /// Makes the directory and takes its lease, unless somebody alive has it.
    ///
    /// # Errors
    /// When the directory can not be made, read or written.
    pub fn claim(&self, options: &LeaseOptions) -> Result<Claim> {
        self.create()?;
        Lease::claim(&self.path, options)
    }

    /// The current or last owner, and whether it lives; `None` when nobody
    /// ever claimed the directory.
    ///
    /// # Errors
    /// When the directory can not be read.
    pub fn owner(&self, options: &LeaseOptions) -> Result<Option<(LeaseRecord, Liveness)>> {
        if !self.path.is_dir() {
            return Ok(None);
        }
        lease::owner(&self.path, options)
    }

    /// Starts this owner's segment of the journal. Answers that only an old
    /// `predictions.json` holds are in it from its first moment on. Removes
    /// what killed owners left unfinished.
    ///
    /// # Errors
    /// When the lease is lost, or the segment can not be written.
    pub fn open_journal(&self, lease: &Lease) -> Result<Journal> {
        lease.check()?;
        let directory = self.journal_path();
        // Only the owner writes in these two; anybody may claim.
        atomic::sweep(&self.path, Duration::ZERO);
        atomic::sweep(&directory, Duration::ZERO);
        atomic::sweep(&lease::leases(&self.path), Duration::from_secs(600));
        let imported: Vec<Prediction> = if journal::segments(&directory)?.is_empty() {
            match self.predictions() {
                Ok(file) => answers(file).into_values().collect(),
                Err(ArtifactError::Malformed { path, .. }) => {
                    // A person may still save something from it.
                    let kept = atomic::free_name(path.with_extension("json.unreadable"));
                    fs::rename(&path, &kept)
                        .map_err(|source| ArtifactError::io("moving", &path, source))?;
                    Vec::new()
                }
                Err(error) => return Err(error),
            }
        } else {
            Vec::new()
        };
        Journal::create(&directory, lease.fence(), &imported)
    }

    /// Starts this owner's segment of the replies on the way to answers.
    ///
    /// # Errors
    /// As [`Self::open_journal`].
    pub fn open_steps(&self, lease: &Lease) -> Result<StepJournal> {
        lease.check()?;
        StepJournal::create(&self.file("steps"), lease.fence())
    }

    /// The replies on the way to answers that were kept.
    ///
    /// # Errors
    /// When a file can not be read at all.
    pub fn steps(&self) -> Result<StepContents> {
        steps::read(&self.file("steps"))
    }

    /// The best record of every question: from the journal; in a directory
    /// without one, the answers of `predictions.json`.
    ///
    /// # Errors
    /// When a file can not be read at all. Damaged lines of the journal are
    /// in the answer; a `predictions.json` that is no JSON holds nothing.
    pub fn records(&self) -> Result<JournalContents> {
        let mut contents = journal::read(&self.journal_path())?;
        if contents.segments.is_empty() {
            match self.predictions() {
                Ok(file) => contents.best = answers(file),
                Err(ArtifactError::Malformed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(contents)
    }

    /// The settled questions: those with an answer.
    ///
    /// # Errors
    /// As [`ExperimentDir::records`].
    pub fn answered(&self) -> Result<BTreeMap<usize, Prediction>> {
        let mut best = self.records()?.best;
        best.retain(|_, record| record.is_answered());
        Ok(best)
    }

    /// Those of `questions` that are not settled, in their order.
    ///
    /// # Errors
    /// As [`ExperimentDir::records`].
    pub fn outstanding(&self, questions: &[Question]) -> Result<Vec<Question>> {
        let answered = self.answered()?;
        Ok(questions
            .iter()
            .filter(|question| !answered.contains_key(&question.idx))
            .cloned()
            .collect())
    }

    /// Renders `predictions.json`: one record per question that has one, by
    /// idx. Equal inputs give equal bytes.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write_predictions(
        &self,
        questions: &[Question],
        best: &BTreeMap<usize, Prediction>,
        aggregate: &Map<String, Value>,
        durability: Durability,
    ) -> Result<()> {
        predictions::write(
            &self.file("predictions.json"),
            &self.name(),
            questions,
            best,
            aggregate,
            durability,
        )
    }

    /// `predictions.json` of this or an older shape; `None` when there is
    /// none.
    ///
    /// # Errors
    /// When it can not be read, or holds no records.
    pub fn predictions(&self) -> Result<Option<PredictionsFile>> {
        PredictionsFile::read(&self.file("predictions.json"))
    }

    /// What `predictions.json` says each question scored: idx, text and score
    /// of those that have one, by idx.
    ///
    /// # Errors
    /// When it can not be read, or holds no records.
    pub fn scores(&self, metric: &str) -> Result<Vec<(usize, String, f64)>> {
        item_scores::read(&self.file("predictions.json"), metric)
    }

    /// Moves the directory out of the study's tree, to
    /// `outputs/.aside/<study>/<experiment>-<timestamp>`, and says where it
    /// is. Its lease goes with it: claim it before, and the new one after.
    ///
    /// # Errors
    /// When it can not be moved, for instance to another file system.
    pub fn set_aside(&self, study_root: &Path) -> Result<PathBuf> {
        let failed = |source| ArtifactError::io("moving aside", &self.path, source);
        let root = study_root.canonicalize().map_err(failed)?;
        let aside = atomic::parent(&root)
            .join(".aside")
            .join(directory_name(&root));
        atomic::create_directory(&aside)?;
        let name = format!("{}-{}", self.name(), time::for_file_name());
        let target = atomic::free_name(aside.join(name));
        fs::rename(&self.path, &target).map_err(failed)?;
        atomic::sync_directory(&aside)?;
        atomic::sync_directory(atomic::parent(&self.path))?;
        Ok(target)
    }
}

fn answers(file: Option<PredictionsFile>) -> BTreeMap<usize, Prediction> {
    let mut best = file.map(PredictionsFile::best).unwrap_or_default();
    best.retain(|_, record| record.is_answered());
    best
}
