//! How a study is, seen from outside: no lease is taken, nothing is written.

use super::{
    error::{ArtifactError, Result},
    examine::examine,
    experiment_dir::ExperimentDir,
    lie::Lie,
    study_dir::{MANIFEST, StudyDir},
};
use crate::domain::{FailureClass, Phase};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// How an experiment is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// Where it says it stands; `None` when `state.json` does not tell.
    pub phase: Option<Phase>,
    /// True when a signal ended the last attempt.
    pub interrupted: bool,
    /// Attempts so far.
    pub attempt: u32,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions in all; 0 when nothing tells.
    pub total: usize,
    /// Questions that were tried or given up without an answer.
    pub failed_questions: usize,
    /// What its failure means.
    pub failure_class: Option<FailureClass>,
    /// The first line of its error.
    pub error: Option<String>,
    /// What `error.log` advises.
    pub advice: Option<String>,
    /// When something last got done, RFC 3339 UTC.
    pub last_progress: Option<String>,
    /// Seconds since then.
    pub idle_seconds: Option<u64>,
    /// The live process that owns it.
    pub owner: Option<String>,
    /// What its directory says and is not so.
    pub lies: Vec<Lie>,
    /// What `resume` would do with it.
    pub what_resume_does: NextStep,
}

impl Health {
    /// Whether somebody has to look at it: it failed, or it claims what is
    /// not so.
    pub fn is_failed(&self) -> bool {
        self.phase == Some(Phase::Failed) || self.lies.iter().any(|lie| !lie.is_ordinary())
    }

    /// Whether the process that was at it is gone without a word. What nobody
    /// began yet waits.
    pub fn has_died(&self) -> bool {
        self.lies.iter().any(|lie| match lie {
            Lie::OwnerGone { owner } => owner.is_some() || self.phase != Some(Phase::Init),
            _ => false,
        })
    }

    /// Whether its questions are answered, metrics are missing, and nobody is
    /// at it: `error` says why.
    pub fn lacks_metrics(&self) -> bool {
        self.phase == Some(Phase::ComputingMetrics)
            && self.owner.is_none()
            && !self.interrupted
            && self.error.is_some()
    }
}

/// What `resume` would do with an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// It is complete.
    Nothing,
    /// A live process is at it.
    LeaveAlone,
    /// A newer version of the program wrote it.
    Refuse,
    /// Nothing is answered yet.
    Start,
    /// Answer what is left.
    Answer {
        /// Questions without an answer that were not tried.
        outstanding: usize,
    },
    /// Try again what failed, and what was not tried.
    Retry {
        /// Questions without an answer.
        outstanding: usize,
    },
    /// Score the answers.
    Score {
        /// The metrics that are missing, as far as they are known.
        metrics: Vec<String>,
    },
    /// Write files again from what the journal holds.
    Rewrite,
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::LeaveAlone => f.write_str("leaves it to its owner"),
            Self::Refuse => f.write_str("refuses it"),
            Self::Start => f.write_str("starts it"),
            Self::Answer { outstanding: 1 } => f.write_str("answers the last question"),
            Self::Answer { outstanding } => write!(f, "answers {outstanding} more questions"),
            Self::Retry { outstanding: 0 } => f.write_str("tries again"),
            Self::Retry { outstanding: 1 } => f.write_str("retries one question"),
            Self::Retry { outstanding } => write!(f, "retries {outstanding} questions"),
            Self::Score { metrics } if metrics.is_empty() => f.write_str("computes its metrics"),
            Self::Score { metrics } => write!(f, "computes {}", metrics.join(", ")),
            Self::Rewrite => f.write_str("writes its files again from what is kept"),
        }
    }
}

impl Serialize for NextStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a study is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyHealth {
    /// Its directory's name.
    pub study: String,
    /// Its directory.
    pub path: PathBuf,
    /// Its experiments by name.
    pub experiments: Vec<Health>,
    /// Experiments of the grid that have no directory yet, as far as
    /// `manifest.json` names the grid.
    pub not_started: Vec<String>,
}

impl StudyHealth {
    /// How many experiments are in `phase`.
    pub fn count(&self, phase: Phase) -> usize {
        self.experiments
            .iter()
            .filter(|health| health.phase == Some(phase))
            .count()
    }

    /// Whether somebody has to look at an experiment.
    pub fn is_failed(&self) -> bool {
        self.experiments.iter().any(Health::is_failed)
    }

    /// Whether an experiment claims what is not so, also what every kill leaves
    /// behind.
    pub fn claims_what_is_not_so(&self) -> bool {
        self.experiments
            .iter()
            .any(|health| !health.lies.is_empty())
    }
}

/// Looks at every experiment of the study in `directory`.
///
/// Without `deep` it reads `state.json` and the lease of each, the journal
/// of those that are in work, and looks whether the files that must be there
/// are whole; with `deep` it reads everything.
///
/// # Errors
/// When the directory can not be listed. What is wrong with an experiment is
/// in the answer.
pub fn scan(directory: &Path, deep: bool) -> Result<StudyHealth> {
    let study = StudyDir::open(directory)?;
    let candidates = subdirectories(directory)?;
    let mut experiments = examine_all(&candidates, deep);
    experiments.sort_by(|left, right| left.name.cmp(&right.name));
    let found: BTreeSet<&str> = experiments
        .iter()
        .map(|health| health.name.as_str())
        .collect();
    // What a newer version planned may mean something else.
    if let Err(error @ ArtifactError::Newer { .. }) = study.read_manifest() {
        return Err(error);
    }
    let mut not_started = planned(&study);
    not_started.retain(|name| !found.contains(name.as_str()));
    Ok(StudyHealth {
        study: study.name(),
        path: directory.to_owned(),
        experiments,
        not_started,
    })
}

/// The directories of studies at or below `root`, sorted: `root` itself when
/// it is one. Hidden directories are left out.
///
/// # Errors
/// When `root` can not be listed.
pub fn studies(root: &Path) -> Result<Vec<PathBuf>> {
    // `outputs/group/study` is as deep as people nest them.
    const DEEPEST: usize = 3;
    let mut found = Vec::new();
    collect_studies(root, DEEPEST, &mut found)?;
    Ok(found)
}

fn collect_studies(root: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut children = subdirectories(root)?;
    let is_study = root.join("study.yaml").is_file()
        || root.join(MANIFEST).is_file()
        || children
            .iter()
            .any(|child| ExperimentDir::new(child).exists());
    if is_study {
        found.push(root.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    children.sort();
    for child in children {
        // One that can not be listed does not hide the others.
        let _ = collect_studies(&child, depth - 1, found);
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| ArtifactError::io("listing", directory, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // The entry's type spares a look at every file; links are followed.
        let is_directory = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
            Ok(kind) => kind.is_dir(),
            Err(_) => false,
        };
        if is_directory {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn examine_all(candidates: &[PathBuf], deep: bool) -> Vec<Health> {
    // More threads than cores, because on a network file system they wait.
    let threads = thread::available_parallelism()
        .map_or(4, |cores| cores.get() * 2)
        .clamp(1, 16)
        .min(candidates.len().div_ceil(16).max(1));
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(candidates.len()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while let Some(path) = candidates.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mine.extend(examine(&ExperimentDir::new(path), deep));
                }
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .append(&mut mine);
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The names of the grid: texts, or objects with a `name`.
fn planned(study: &StudyDir) -> Vec<String> {
    let Ok(Some(manifest)) = study.read_manifest() else {
        return Vec::new();
    };
    let Some(Value::Array(items)) = manifest.get("experiments") else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| item.as_str().or_else(|| item.get("name")?.as_str()))
        .map(str::to_owned)
        .collect()
}
