//! One experiment's directory, compared with itself.

use super::{
    error::ArtifactError,
    experiment_dir::ExperimentDir,
    health::{Health, NextStep},
    journal::{self, JournalContents},
    lease::{self, LeaseOptions, LeaseRecord, Liveness},
    lie::Lie,
    listing::{Listing, looks_whole},
    predictions::PredictionsFile,
    seal::{Sealed, Tampered},
    state::State,
    time,
};
use crate::domain::{ExperimentSpec, Phase};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::SystemTime,
};

/// Looks at one experiment; `None` when the directory holds nothing of one.
pub fn examine(directory: &ExperimentDir, deep: bool) -> Option<Health> {
    let listing = match Listing::of(&directory.path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let mut examination = Examination::new(directory, Listing::default());
            examination.unreadable("the directory", error.to_string());
            return Some(examination.finish());
        }
    };
    if !listing.is_experiment() {
        return None;
    }
    let mut examination = Examination::new(directory, listing);
    examination.read_state();
    examination.read_owner();
    examination.count(deep);
    examination.check_complete();
    if deep {
        examination.check_metadata();
        examination.check_seal();
    } else {
        examination.check_version();
    }
    Some(examination.finish())
}

/// Whether a complete experiment's results are damaged, so that they are to be
/// written again from what is kept.
pub fn is_to_be_rewritten(directory: &ExperimentDir, deep: bool) -> bool {
    let Ok(listing) = Listing::of(&directory.path) else {
        return false;
    };
    let mut examination = Examination::new(directory, listing);
    examination.read_state();
    if deep {
        examination.count(true);
    }
    examination.check_complete();
    if deep {
        examination.check_metadata();
        examination.check_seal();
    }
    examination.next_step() == NextStep::Rewrite
}

struct Examination<'a> {
    directory: &'a ExperimentDir,
    listing: Listing,
    state: Option<State>,
    owner: Option<(LeaseRecord, Liveness)>,
    answered: usize,
    total: usize,
    failed_questions: usize,
    last_write: Option<SystemTime>,
    lies: Vec<Lie>,
}

impl<'a> Examination<'a> {
    fn new(directory: &'a ExperimentDir, listing: Listing) -> Self {
        Self {
            directory,
            listing,
            state: None,
            owner: None,
            answered: 0,
            total: 0,
            failed_questions: 0,
            last_write: None,
            lies: Vec::new(),
        }
    }

    fn unreadable(&mut self, file: &str, why: String) {
        self.lies.push(Lie::Unreadable {
            file: file.to_owned(),
            why,
        });
    }

    /// Notes why a file could not be read, without the path in it twice.
    fn note(&mut self, file: &str, error: ArtifactError) {
        let why = match error {
            ArtifactError::Malformed { why, .. } => why,
            ArtifactError::Newer { version, .. } => {
                let file = file.to_owned();
                return self.lies.push(Lie::Newer { file, version });
            }
            ArtifactError::Io { source, .. } => source.to_string(),
            other @ ArtifactError::LeaseLost { .. } => other.to_string(),
        };
        self.unreadable(file, why);
    }

    fn phase(&self) -> Option<Phase> {
        self.state.as_ref().map(|state| state.phase)
    }

    fn is_owned(&self) -> bool {
        matches!(self.owner, Some((_, Liveness::Alive)))
    }

    /// Complete and failed experiments change no more until somebody resumes.
    fn is_at_rest(&self) -> bool {
        matches!(self.phase(), Some(Phase::Complete | Phase::Failed)) && !self.is_owned()
    }

    fn read_state(&mut self) {
        match self.directory.state() {
            Ok(Some(state)) => {
                self.answered = state.predictions_complete;
                self.total = state.total_questions;
                self.failed_questions = state.unanswered;
                self.state = Some(state);
            }
            Ok(None) => self.lies.push(Lie::NoState),
            Err(error) => self.note("state.json", error),
        }
    }

    fn read_owner(&mut self) {
        if self.listing.has("lease") {
            match lease::owner(&self.directory.path, &LeaseOptions::default()) {
                Ok(owner) => self.owner = owner,
                Err(error) => self.note("the lease", error),
            }
        }
        let Some(state) = &self.state else {
            return;
        };
        let working = match state.phase {
            Phase::Init | Phase::Generating | Phase::Generated => true,
            // Without its metrics an experiment rests in this phase.
            Phase::ComputingMetrics => self.owner.is_some(),
            Phase::Complete | Phase::Failed => false,
        };
        if !working || state.interrupted {
            return;
        }
        match &self.owner {
            Some((_, Liveness::Alive | Liveness::Released)) => {}
            Some((record, Liveness::Dead | Liveness::Silent)) => {
                self.lies.push(Lie::OwnerGone {
                    owner: Some(record.to_string()),
                });
            }
            None => self.lies.push(Lie::OwnerGone { owner: None }),
        }
    }

    /// Counts answers where `state.json` may be behind, or everywhere.
    fn count(&mut self, deep: bool) {
        if !deep && self.is_at_rest() {
            return;
        }
        let questions = match self.directory.questions() {
            Ok(questions) => questions,
            Err(error) => {
                self.note("questions.json", error);
                None
            }
        };
        let journal = self.read_journal();
        let needs_predictions = deep || journal.is_none();
        let predictions = if needs_predictions {
            self.read_predictions()
        } else {
            None
        };
        let mut answered_in_predictions = None;
        if let Some(file) = predictions {
            self.check_records(&file);
            answered_in_predictions = Some(tally(&file.best()));
        }
        let in_journal = journal.map(|contents| {
            let wanted: Option<BTreeSet<usize>> = questions
                .as_ref()
                .map(|file| file.questions.iter().map(|question| question.idx).collect());
            let mut best = contents.best;
            if let Some(wanted) = wanted {
                best.retain(|idx, _| wanted.contains(idx));
            }
            tally(&best)
        });
        let asked = questions.as_ref().map(|file| file.questions.len());
        if self.is_at_rest() {
            self.compare(asked, in_journal, answered_in_predictions);
        }
        if let Some((answered, failed)) = in_journal.or(answered_in_predictions) {
            if self.answered > answered && !self.is_at_rest() && in_journal.is_some() {
                self.lies.push(Lie::CountsDiffer {
                    what: "answers",
                    file: "state.json",
                    says: self.answered,
                    other: "the journal",
                    holds: answered,
                });
            }
            self.answered = answered;
            self.failed_questions = failed;
        }
        if let Some(asked) = asked {
            self.total = asked;
        }
    }

    fn compare(
        &mut self,
        asked: Option<usize>,
        in_journal: Option<(usize, usize)>,
        in_predictions: Option<(usize, usize)>,
    ) {
        let mut differ = |what, file, says, other, holds| {
            if says != holds {
                self.lies.push(Lie::CountsDiffer {
                    what,
                    file,
                    says,
                    other,
                    holds,
                });
            }
        };
        if let Some(asked) = asked {
            differ(
                "questions",
                "state.json",
                self.total,
                "questions.json",
                asked,
            );
        }
        match (in_journal, in_predictions) {
            (Some((journal, _)), predictions) => {
                differ(
                    "answers",
                    "state.json",
                    self.answered,
                    "the journal",
                    journal,
                );
                if let Some((predictions, _)) = predictions {
                    let file = "predictions.json";
                    differ("answers", file, predictions, "the journal", journal);
                }
            }
            (None, Some((predictions, _))) => {
                let file = "predictions.json";
                differ("answers", "state.json", self.answered, file, predictions);
            }
            (None, None) => {}
        }
    }

    /// `None` when there is no segment, as in directories of older shapes.
    fn read_journal(&mut self) -> Option<JournalContents> {
        if !self.listing.has("journal") {
            return None;
        }
        let path = self.directory.path.join("journal");
        let contents = match journal::read(&path) {
            Ok(contents) => contents,
            Err(error) => {
                self.note("the journal", error);
                return None;
            }
        };
        if let Some(first) = contents.damaged.first() {
            self.lies.push(Lie::DamagedJournal {
                lines: contents.damaged.len(),
                first: format!(
                    "{} line {}: {}",
                    first
                        .segment
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy(),
                    first.line,
                    first.why
                ),
            });
        }
        let newest = contents.segments.last()?;
        self.last_write = fs::metadata(journal::segment_path(&path, *newest))
            .and_then(|metadata| metadata.modified())
            .ok();
        Some(contents)
    }

    fn read_predictions(&mut self) -> Option<PredictionsFile> {
        if !self.listing.has("predictions.json") {
            return None;
        }
        match self.directory.predictions() {
            Ok(file) => file,
            Err(error) => {
                self.note("predictions.json", error);
                None
            }
        }
    }

    fn check_records(&mut self, file: &PredictionsFile) {
        let distinct: BTreeSet<usize> = file.predictions.iter().map(|record| record.idx).collect();
        let records = file.predictions.len() - distinct.len();
        if records > 0 {
            self.lies.push(Lie::Duplicates { records });
        }
        if file.unreadable > 0 {
            let why = format!("{} of its entries are no records", file.unreadable);
            self.unreadable("predictions.json", why);
        }
        let scored = file
            .predictions
            .iter()
            .filter(|record| !record.is_answered() && !record.metrics.is_empty())
            .count();
        if scored > 0 {
            self.lies.push(Lie::ErrorScored { records: scored });
        }
    }

    fn check_complete(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        if state.phase != Phase::Complete {
            return;
        }
        let unscored = !state.metrics_requested.is_empty() && state.metrics_computed.is_empty();
        if self.answered < self.total || self.total == 0 {
            self.lies.push(Lie::CompleteUnanswered {
                answered: self.answered,
                total: self.total,
            });
        }
        if unscored {
            self.lies.push(Lie::CompleteUnscored);
        }
        for file in ["predictions.json", "results.json"] {
            if !self.listing.has(file) {
                self.lies.push(Lie::CompleteWithout {
                    file: file.to_owned(),
                });
            } else if let Err(why) = looks_whole(&self.directory.path.join(file))
                && !self.is_told(file)
            {
                self.unreadable(file, why);
            }
        }
    }

    fn check_metadata(&mut self) {
        if self.listing.has("results.json")
            && let Err(error) = self.directory.results()
            && !self.is_told("results.json")
        {
            self.note("results.json", error);
        }
        let identity = match self.directory.metadata() {
            Ok(metadata) => metadata.and_then(|metadata| metadata.identity()),
            Err(error) => return self.note("metadata.json", error),
        };
        let Some(identity) = identity else {
            return;
        };
        let named = identity.spec.get("name").and_then(Value::as_str);
        if let Some(experiment) = named.filter(|name| *name != self.directory.name()) {
            let experiment = experiment.to_owned();
            self.lies.push(Lie::Misplaced { experiment });
        }
        let computed = serde_json::from_value::<ExperimentSpec>(identity.spec)
            .ok()
            .map(|spec| spec.hash());
        // A spec of a newer version may not be understood, which is no lie.
        if computed.is_some_and(|computed| computed != identity.hash) {
            self.lies.push(Lie::WrongHash);
        }
    }

    /// What a run sealed is what it wrote. Whoever works on it unseals it.
    fn check_seal(&mut self) {
        if self.is_owned() {
            return;
        }
        match self.directory.check_seal() {
            Ok(Sealed::Yes { tampered, .. }) => {
                for Tampered { file, why } in tampered {
                    if !self.is_told(&file) {
                        self.lies.push(Lie::Tampered { file, why });
                    }
                }
            }
            Ok(Sealed::Not) => {}
            Err(error) => self.note("checksums.json", error),
        }
    }

    /// Whether the one file that a short look leaves out is of a version that
    /// this program knows.
    fn check_version(&mut self) {
        if let Err(error @ ArtifactError::Newer { .. }) = self.directory.metadata() {
            self.note("metadata.json", error);
        }
    }

    fn is_told(&self, file: &str) -> bool {
        self.lies.iter().any(|lie| lie.is_about(file))
    }

    fn next_step(&self) -> NextStep {
        let outstanding = self.total.saturating_sub(self.answered);
        if self.is_owned() {
            return NextStep::LeaveAlone;
        }
        if self.lies.iter().any(|lie| matches!(lie, Lie::Newer { .. })) {
            return NextStep::Refuse;
        }
        let missing = || NextStep::Score {
            metrics: self.state.as_ref().map_or_else(Vec::new, |state| {
                state
                    .metrics_requested
                    .iter()
                    .filter(|metric| !state.metrics_computed.contains(metric))
                    .cloned()
                    .collect()
            }),
        };
        match self.phase() {
            Some(Phase::Complete) if outstanding == 0 && self.total > 0 => {
                if self.lies.contains(&Lie::CompleteUnscored) {
                    missing()
                } else if self.lies.iter().any(Lie::is_mended_by_results) {
                    NextStep::Rewrite
                } else {
                    NextStep::Nothing
                }
            }
            Some(Phase::Failed) => NextStep::Retry { outstanding },
            _ if self.answered == 0 => NextStep::Start,
            _ if outstanding > 0 && self.failed_questions > 0 => NextStep::Retry { outstanding },
            _ if outstanding > 0 => NextStep::Answer { outstanding },
            Some(_) => missing(),
            None => NextStep::Rewrite,
        }
    }

    fn finish(mut self) -> Health {
        let what_resume_does = self.next_step();
        let owner = self.is_owned().then(|| {
            self.owner
                .as_ref()
                .map(|(record, _)| record.to_string())
                .unwrap_or_default()
        });
        let mut error = None;
        let mut failure_class = None;
        let mut advice = None;
        let failed = self.phase() == Some(Phase::Failed);
        if let Some(state) = &self.state {
            error = state.error.as_deref().map(first_line);
            failure_class = state.failure_class;
        }
        if failed && self.listing.has("error.log") {
            match self.directory.error_log() {
                Ok(log) => {
                    let log = log.unwrap_or_default();
                    error = error.or(log.headline);
                    failure_class = failure_class.or(log.class);
                    advice = log.advice;
                }
                Err(error) => self.note("error.log", error),
            }
        }
        let last_progress = self.last_progress();
        Health {
            name: self.directory.name(),
            path: self.directory.path.clone(),
            phase: self.phase(),
            interrupted: self.state.as_ref().is_some_and(|state| state.interrupted),
            attempt: self.state.as_ref().map_or(0, |state| state.attempt),
            answered: self.answered,
            total: self.total,
            failed_questions: self.failed_questions,
            failure_class,
            error,
            advice,
            idle_seconds: last_progress.map(|then| {
                let seconds = Timestamp::now().as_second() - then.as_second();
                u64::try_from(seconds).unwrap_or_default()
            }),
            last_progress: last_progress.map(|then| format!("{then:.3}")),
            owner,
            lies: self.lies,
            what_resume_does,
        }
    }

    fn last_progress(&self) -> Option<Timestamp> {
        let state = self
            .state
            .as_ref()
            .and_then(|state| time::parse_time(&state.updated_at));
        let journal = self
            .last_write
            .and_then(|written| Timestamp::try_from(written).ok());
        state.max(journal)
    }
}

/// Answered and failed among the records.
fn tally(best: &BTreeMap<usize, crate::domain::Prediction>) -> (usize, usize) {
    let answered = best.values().filter(|record| record.is_answered()).count();
    (answered, best.len() - answered)
}

fn first_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}
