//! Whether a study's artifacts are what was written, and say what is true.
//!
//! Three looks: every byte against the checksums that the run left behind,
//! every record against the journal and the questions, every score against
//! the answers. Only a look; nothing is changed.

use super::dialogue;
use crate::{
    artifacts::{
        ArtifactError, ExperimentDir, JournalContents, Lie, Liveness, Sealed, StudyDir, examine,
    },
    domain::{ExperimentSpec, Phase, Prediction, Question},
    metrics,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Scores that need the passages' texts, which `predictions.json` leaves out.
const OF_PASSAGES: [&str; 2] = ["answer_in_context", "context_recall"];

/// Scores that need the supporting passages of a question.
const OF_RETRIEVAL: [&str; 4] = ["recall", "hit", "mrr", "ndcg"];

/// Something that is not as it was written, or not true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The experiment; `None` for a file of the study itself.
    pub experiment: Option<String>,
    /// What is wrong, naming the file.
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Experiments that were looked at.
    pub experiments: usize,
    /// Files that were compared with their checksums.
    pub files: usize,
    /// Records of the journals that were read; each has a checksum of its own.
    pub records: usize,
    /// Records of predictions that were compared with questions and journal.
    pub predictions: usize,
    /// Scores of single answers that were computed again.
    pub scores: usize,
    /// Directories without checksums: nobody can tell whether their files are
    /// what was written.
    pub unsealed: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why; nothing is wrong with it.
    pub notes: Vec<String>,
}

/// Looks at a study, or at one of its experiments.
///
/// # Errors
/// When the directory can not be listed.
pub fn verify(study: &StudyDir, only: Option<&str>) -> Result<Verification, ArtifactError> {
    let mut verification = Verification::default();
    let mut is_running = false;
    let names = study.experiments()?;
    if only.is_none() {
        for name in study.told()?.difference(&names.iter().cloned().collect()) {
            let what = "its directory is gone, and study_summary.json tells of it";
            verification.find(Some(name), what);
        }
    }
    for name in names {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let dir = study.experiment(&name);
        let owner = dir.owner(&Default::default())?;
        if let Some((owner, Liveness::Alive)) = owner {
            is_running = true;
            verification
                .notes
                .push(format!("{name}: {owner} is working on it"));
            continue;
        }
        let mut look = Look {
            name: &name,
            dir,
            verification: &mut verification,
        };
        look.run();
    }
    if only.is_none() {
        let sealed = study.check_seal()?;
        if is_running {
            verification
                .notes
                .push("the study's own files change while a run goes on".to_owned());
        } else {
            verification.compare(None, sealed);
        }
    }
    Ok(verification)
}

impl Verification {
    fn find(&mut self, experiment: Option<&str>, what: impl Into<String>) {
        self.findings.push(Finding {
            experiment: experiment.map(str::to_owned),
            what: what.into(),
        });
    }

    fn compare(&mut self, experiment: Option<&str>, sealed: Sealed) {
        match sealed {
            Sealed::Not => {
                self.unsealed += 1;
                self.notes.push(format!(
                    "{}: there are no checksums; its last run was cut off, or an older version \
                     made it",
                    experiment.unwrap_or("the study's own files")
                ));
            }
            Sealed::Yes { files, tampered } => {
                self.files += files;
                for tampered in tampered {
                    self.find(experiment, tampered.to_string());
                }
            }
        }
    }
}

/// One experiment.
struct Look<'a> {
    name: &'a str,
    dir: ExperimentDir,
    verification: &'a mut Verification,
}

impl Look<'_> {
    fn run(&mut self) {
        self.verification.experiments += 1;
        match self.dir.check_seal() {
            Ok(sealed) => self.verification.compare(Some(self.name), sealed),
            Err(error) => self.find(error.to_string()),
        }
        // What health finds by comparing the files with each other.
        if let Some(health) = examine(&self.dir, true) {
            for lie in &health.lies {
                match lie {
                    // The checksums were compared above.
                    Lie::Tampered { .. } => {}
                    // A torn line is left out and its question asked again.
                    Lie::DamagedJournal { .. } => self
                        .verification
                        .notes
                        .push(format!("{}: {lie}", self.name)),
                    lie if lie.is_ordinary() => {}
                    lie => self.find(lie.to_string()),
                }
            }
        }
        if let Err(error) = self.records() {
            self.find(error.to_string());
        }
    }

    fn find(&mut self, what: impl Into<String>) {
        self.verification.find(Some(self.name), what);
    }

    fn records(&mut self) -> Result<(), ArtifactError> {
        let journal = self.dir.records()?;
        self.verification.records += journal.best.len();
        let Some(state) = self.dir.state()? else {
            return Ok(());
        };
        let (Some(questions), Some(file)) = (self.dir.questions()?, self.dir.predictions()?) else {
            return Ok(());
        };
        let questions = by_idx(&questions.questions);
        let aggregate = file.aggregate_metrics.clone();
        let predictions = file.predictions;
        self.verification.predictions += predictions.len();
        let mut seen = BTreeSet::new();
        for record in &predictions {
            let idx = record.idx;
            if !seen.insert(idx) {
                self.find(format!("predictions.json holds question {idx} twice"));
            }
            match questions.get(&idx) {
                None => self.find(format!(
                    "predictions.json answers question {idx}, which nobody asked"
                )),
                Some(question)
                    if question.question != record.question
                        || question.expected != record.expected =>
                {
                    self.find(format!(
                        "question {idx} of predictions.json is not the one in questions.json"
                    ));
                }
                Some(_) => {}
            }
        }
        if state.phase == Phase::Complete
            && let Some(idx) = questions.keys().find(|idx| !seen.contains(idx))
        {
            self.find(format!("question {idx} is not in predictions.json"));
        }
        self.against_journal(&journal, &predictions);
        if matches!(state.phase, Phase::Complete | Phase::Failed) {
            self.scores(state.phase, &questions, &predictions, &aggregate)?;
            self.results(state.phase, &aggregate)?;
        }
        Ok(())
    }

    /// Every record is the journal's best.
    fn against_journal(&mut self, journal: &JournalContents, predictions: &[Prediction]) {
        if journal.segments.is_empty() {
            return;
        }
        for record in predictions {
            let idx = record.idx;
            match journal.best.get(&idx) {
                None => self.find(format!(
                    "the answer to question {idx} in predictions.json is not in the journal"
                )),
                Some(kept) if !same(kept, record) => self.find(format!(
                    "the answer to question {idx} in predictions.json is not the journal's"
                )),
                Some(_) => {}
            }
        }
    }

    /// Every score follows from its answer.
    fn scores(
        &mut self,
        phase: Phase,
        questions: &BTreeMap<usize, &Question>,
        predictions: &[Prediction],
        aggregate: &Map<String, Value>,
    ) -> Result<(), ArtifactError> {
        let (names, left): (Vec<String>, Vec<String>) = aggregate
            .keys()
            .filter(|name| metrics::find(name).is_some())
            .cloned()
            .partition(|name| is_recomputable(name, phase == Phase::Complete));
        if !left.is_empty() {
            self.verification.notes.push(format!(
                "{}: {} can not be computed again from the files",
                self.name,
                left.join(", ")
            ));
        }
        // A failed experiment is scored by its answers alone.
        let is_complete = phase == Phase::Complete;
        let spec = self.dir.metadata()?.map_or(Value::Null, |found| found.spec);
        let is_rag = spec.get("retriever").is_some();
        let has_own = serde_json::from_value::<ExperimentSpec>(spec)
            .is_ok_and(|spec| spec.reads_own_passages());
        let evaluation = metrics::evaluate_with(&names, predictions, &|record| {
            let question = questions.get(&record.idx).filter(|_| is_complete);
            // A question's own passages were not found by anybody.
            let question = question.filter(|_| !has_own);
            metrics::Evidence {
                supporting: question.map_or(&[], |question| question.supporting.as_slice()),
                // No texts, but a search that found nothing is a search.
                passages: (is_rag && is_complete && !dialogue::went_without_search(record))
                    .then(Vec::new),
                given: None,
            }
        });
        for (record, (idx, scores)) in predictions.iter().zip(&evaluation.per_item) {
            for name in &names {
                let (kept, computed) = (record.metrics.get(name), scores.get(name));
                // A failed experiment's aggregate is there for the eye; its
                // answers carry no scores but those that were added.
                if kept.is_none() && (record.metrics.is_empty() || !is_complete) {
                    continue;
                }
                self.verification.scores += 1;
                if !agree(kept, computed) {
                    self.find(format!(
                        "{name} of question {idx} is {}, and its answer gives {}",
                        shown(kept),
                        shown(computed)
                    ));
                }
            }
        }
        for (name, computed) in &evaluation.aggregate {
            if !agree(aggregate.get(name), Some(computed)) {
                self.find(format!(
                    "{name} of predictions.json is {}, and its answers give {computed}",
                    shown(aggregate.get(name))
                ));
            }
        }
        Ok(())
    }

    fn results(
        &mut self,
        phase: Phase,
        aggregate: &Map<String, Value>,
    ) -> Result<(), ArtifactError> {
        if phase != Phase::Complete {
            return Ok(());
        }
        let Some(results) = self.dir.results()? else {
            return Ok(());
        };
        if by_key(&results.metrics) != by_key(aggregate) {
            self.find("the metrics of results.json are not those of predictions.json");
        }
        Ok(())
    }
}

/// A record of the journal and its rendering; scores are added later.
fn same(kept: &Prediction, rendered: &Prediction) -> bool {
    let mut kept = kept.clone();
    kept.metrics.clone_from(&rendered.metrics);
    // The question list tells these.
    kept.question.clone_from(&rendered.question);
    kept.expected.clone_from(&rendered.expected);
    let mut rendered = rendered.clone();
    for record in [&mut kept, &mut rendered] {
        record.extra.shift_remove("sum");
        record.extra.sort_keys();
    }
    kept == rendered
}

fn is_recomputable(name: &str, is_complete: bool) -> bool {
    let stem = name.split('@').next().unwrap_or(name);
    // A failed experiment may have been scored by its answers alone, or later
    // with all that is known of its questions.
    let is_known = is_complete || !OF_RETRIEVAL.contains(&stem);
    is_known
        && !OF_PASSAGES.contains(&stem)
        && !metrics::is_given(name)
        && metrics::find(name)
            .is_some_and(|metric| metric.availability == metrics::Availability::Available)
}

/// Whether two scores are the same. The last digit of a number does not count:
/// reading JSON may round it.
fn agree(left: Option<&Value>, right: Option<&Value>) -> bool {
    match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => {
            let (left, right) = (left.as_f64(), right.as_f64());
            left.zip(right).is_some_and(|(left, right)| {
                (left - right).abs() <= 1e-12 * left.abs().max(right.abs())
            })
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| agree(Some(left), Some(right)))
        }
        (left, right) => left == right,
    }
}

fn by_idx(questions: &[Question]) -> BTreeMap<usize, &Question> {
    questions
        .iter()
        .map(|question| (question.idx, question))
        .collect()
}

fn by_key(map: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    map.iter().collect()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scores_agree_but_for_their_last_digit() {
        let same = |left: Value, right: Value| agree(Some(&left), Some(&right));
        assert!(same(json!(0.9166666666666664), json!(0.9166666666666665)));
        assert!(same(
            json!([0.969875, 1.0]),
            json!([0.9698749999999999, 1.0])
        ));
        assert!(!same(json!(0.9166), json!(0.9167)));
        assert!(!same(json!([0.5]), json!([0.5, 0.5])));
        assert!(!same(json!(null), json!(0.0)));
        assert!(!agree(None, Some(&json!(0.0))) && agree(None, None));
    }
}
