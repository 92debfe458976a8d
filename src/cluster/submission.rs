use super::queue::QueuedTask;
use crate::{
    artifacts::{StudyDir, now},
    domain::ExperimentSpec,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

/// Where submissions lie in a study's directory. The dot keeps it apart from
/// experiments.
const DIRECTORY: &str = ".cluster";

const FILE: &str = "submission.json";

/// What was given to a cluster, and under which numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Ours, random. The cluster's own numbers come again after a crash of its
    /// controller, so nothing is known by them alone.
    pub run_id: String,
    /// The study's name.
    pub study: String,
    /// When, RFC 3339 UTC.
    pub submitted_at: String,
    /// The array's job id, once it was accepted.
    #[serde(default)]
    pub array_job_id: Option<u64>,
    /// The job that renders the study's tables after it.
    #[serde(default)]
    pub aggregate_job_id: Option<u64>,
    /// The tasks; the place of one is its number in the array.
    pub tasks: Vec<Task>,
}

/// What one task of an array does: experiments of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The model and its quantisation, for people.
    pub model: String,
    /// Names of experiments, in the order of the run.
    pub experiments: Vec<String>,
}

/// A submission's file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{} is no submission: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Tasks of at most `per_task` experiments, each with one model: a task loads
/// it once.
pub fn group(experiments: &[ExperimentSpec], per_task: Option<NonZeroUsize>) -> Vec<Task> {
    let mut groups: Vec<(_, Task)> = Vec::new();
    for spec in experiments {
        let key = spec.load_key();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, task)) => task.experiments.push(spec.name.clone()),
            None => {
                let task = Task {
                    model: format!("{} {}", spec.model, spec.quantization),
                    experiments: vec![spec.name.clone()],
                };
                groups.push((key, task));
            }
        }
    }
    let most = per_task.map_or(usize::MAX, NonZeroUsize::get);
    groups
        .into_iter()
        .flat_map(|(_, task)| {
            let parts: Vec<Task> = task
                .experiments
                .chunks(most)
                .map(|experiments| Task {
                    model: task.model.clone(),
                    experiments: experiments.to_vec(),
                })
                .collect();
            parts
        })
        .collect()
}

impl Submission {
    /// One that was not submitted yet.
    pub fn new(study: &str, tasks: Vec<Task>) -> Self {
        let submitted_at = now();
        let random = RandomState::new().hash_one(&submitted_at);
        Self {
            run_id: format!("{:010x}", random & 0xff_ffff_ffff),
            study: study.to_owned(),
            submitted_at,
            array_job_id: None,
            aggregate_job_id: None,
            tasks,
        }
    }

    /// The name of the array, which tells it from a later job of the same
    /// number.
    pub fn job_name(&self) -> String {
        format!("ragicamp-{}", self.run_id)
    }

    /// The name of the job after it.
    pub fn aggregate_name(&self) -> String {
        format!("ragicamp-{}-tables", self.run_id)
    }

    /// What a queue has of its array. A number alone does not tell: it comes
    /// again when the controller lost its memory.
    pub fn in_queue<'q>(
        &self,
        queue: &'q [QueuedTask],
    ) -> impl Iterator<Item = &'q QueuedTask> + use<'q> {
        let (name, id) = (self.job_name(), self.array_job_id);
        queue
            .iter()
            .filter(move |task| task.name == name && id.is_none_or(|id| task.job_id == id))
    }

    /// Where its file and its tasks' logs are.
    pub fn directory(&self, dir: &StudyDir) -> PathBuf {
        dir.path().join(DIRECTORY).join(&self.run_id)
    }

    /// Its file.
    pub fn file(&self, dir: &StudyDir) -> PathBuf {
        self.directory(dir).join(FILE)
    }

    /// Writes it, in one step.
    ///
    /// # Errors
    /// When that fails.
    pub fn save(&self, dir: &StudyDir) -> Result<(), SubmissionError> {
        let path = self.file(dir);
        let directory = self.directory(dir);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&directory)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| SubmissionError::Io { path, source })
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it can not be read or is none.
    pub fn load(path: &Path) -> Result<Self, SubmissionError> {
        let bytes = fs::read(path).map_err(|source| SubmissionError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|error| SubmissionError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// The submissions of a study, oldest first.
///
/// # Errors
/// When one can not be read: what it gave to the cluster would be forgotten.
pub fn submissions(dir: &StudyDir) -> Result<Vec<Submission>, SubmissionError> {
    let path = dir.path().join(DIRECTORY);
    let failed = |source| SubmissionError::Io {
        path: path.clone(),
        source,
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path().join(FILE);
        if file.is_file() {
            found.push(Submission::load(&file)?);
        }
    }
    found.sort_by(|a, b| a.submitted_at.cmp(&b.submitted_at));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_submission_comes_back_as_it_was_written_and_the_oldest_first() {
        let root = tempfile::tempdir().unwrap();
        let dir = StudyDir::at(root.path());
        assert_eq!(submissions(&dir).unwrap(), []);
        let tasks = vec![Task {
            model: "embedded:reader none".to_owned(),
            experiments: vec!["a".to_owned(), "b".to_owned()],
        }];
        let mut first = Submission::new("s", tasks.clone());
        first.save(&dir).unwrap();
        let mut second = Submission::new("s", tasks);
        second.submitted_at = format!("{}x", first.submitted_at);
        second.save(&dir).unwrap();
        first.array_job_id = Some(7);
        first.save(&dir).unwrap();
        assert_ne!(first.job_name(), second.job_name());
        assert_eq!(submissions(&dir).unwrap(), [first, second]);
    }

    #[test]
    fn a_torn_file_is_said_and_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let dir = StudyDir::at(root.path());
        let submission = Submission::new("s", Vec::new());
        submission.save(&dir).unwrap();
        fs::write(submission.file(&dir), "{\"run_id\"").unwrap();
        let error = submissions(&dir).unwrap_err().to_string();
        assert!(
            error.contains("submission.json is no submission"),
            "{error}"
        );
    }
}
