use super::{questions::changed_question, resources::Resources};
use crate::{
    artifacts::{
        ArtifactError, ExperimentDir, LeaseOptions, Liveness, State, StudyDir, differences,
        is_to_be_rewritten,
    },
    datasets::Dataset,
    domain::{ExperimentSpec, FailureClass, Phase, RunSettings},
    study::Study,
};
use serde::Serialize;
use std::collections::HashSet;

/// What a run would do to an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Nothing is there yet.
    New,
    /// Unfinished: go on.
    Resume,
    /// Failed: retry what is outstanding.
    Retry {
        /// Why it failed.
        error: String,
    },
    /// Complete, and the study asks for more questions than it has.
    Extend,
    /// Every question is answered; metrics are missing.
    Score,
    /// Nothing is left to do.
    Complete,
    /// Complete or changed, and `--force` (or `skip_existing: false`) wants
    /// it anew: moved aside first.
    Redo,
    /// The directory holds another experiment of this name.
    Changed {
        /// What differs, as `generation.temperature: 0 -> 0.7`.
        differences: Vec<String>,
    },
    /// A living run owns it.
    Owned {
        /// Who.
        by: String,
    },
    /// Its directory can not be read: it will fail, and only it.
    Damaged {
        /// What is wrong there.
        reason: String,
    },
    /// This version can not run it.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// An experiment with what would happen to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedExperiment {
    /// Its name.
    pub name: String,
    /// Its model.
    pub model: String,
    /// Its quantisation.
    pub quantization: String,
    /// What would happen.
    #[serde(flatten)]
    pub action: Action,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions in all; `None` when the dataset can not be read.
    pub total: Option<usize>,
    /// Of a complete one: what its dataset says otherwise now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outdated: Option<String>,
}

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In the order of the run.
    pub experiments: Vec<PlannedExperiment>,
    /// Model loads that this order needs.
    pub model_loads: usize,
    /// Questions that are to be answered.
    pub inferences: usize,
    /// Experiments to run whose dataset is not here, so that their questions
    /// are not in the sum.
    pub uncounted: usize,
}

impl Plan {
    /// The experiments whose directory holds something else under their name.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.experiments
            .iter()
            .filter_map(|planned| match &planned.action {
                Action::Changed { differences } => {
                    Some((planned.name.as_str(), differences.as_slice()))
                }
                _ => None,
            })
    }
}

impl Action {
    /// Whether a model has to answer questions for it.
    pub fn generates(&self) -> bool {
        matches!(
            self,
            Self::New | Self::Resume | Self::Retry { .. } | Self::Extend | Self::Redo
        )
    }

    /// The word in tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resume => "resume",
            Self::Retry { .. } => "failed: retry",
            Self::Extend => "extend",
            Self::Score => "score",
            Self::Complete => "complete",
            Self::Redo => "start over",
            Self::Changed { .. } => "changed spec",
            Self::Owned { .. } => "running elsewhere",
            Self::Damaged { .. } => "damaged",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// How experiments are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Complete and changed ones are to be started over.
    pub force: bool,
    /// The lease is held by the one who asks.
    pub is_ours: bool,
    /// What complete ones say is compared with their checksums.
    pub is_deep: bool,
}

/// Looks at the study's directory and says what a run would do. Writes
/// nothing.
///
/// # Errors
/// When a directory can not be read.
pub fn plan(
    study: &Study,
    experiments: &[ExperimentSpec],
    dir: &StudyDir,
    resources: &mut Resources,
    manner: Manner,
) -> Result<Plan, ArtifactError> {
    let mut plan = Plan::default();
    let mut loaded = None;
    for spec in experiments {
        let settings = study.settings_for(&spec.name);
        let unavailable = study.unavailable.get(&spec.name);
        let dataset = resources
            .dataset(&spec.dataset, settings.num_questions)
            .ok();
        let total = dataset.as_ref().map(|dataset| dataset.questions.len());
        let (action, answered) = match look(spec, settings, unavailable, total, dir, manner) {
            // What is wrong with one directory costs its experiment.
            Err(error @ (ArtifactError::Io { .. } | ArtifactError::Malformed { .. }))
                if error.class() != FailureClass::Environment =>
            {
                let reason = error.to_string();
                (Action::Damaged { reason }, 0)
            }
            looked => looked?,
        };
        if action.generates() {
            let key = spec.load_key();
            if loaded.as_ref() != Some(&key) {
                plan.model_loads += 1;
                loaded = Some(key);
            }
            let done = if action == Action::Redo { 0 } else { answered };
            match total {
                Some(total) => plan.inferences += total.saturating_sub(done),
                None => plan.uncounted += 1,
            }
        }
        let outdated = match &dataset {
            Some(dataset) if action == Action::Complete => {
                outdated(&dir.experiment(&spec.name), dataset, settings)?
            }
            _ => None,
        };
        plan.experiments.push(PlannedExperiment {
            name: spec.name.clone(),
            model: spec.model.to_string(),
            quantization: spec.quantization.to_string(),
            action,
            answered,
            total,
            outdated,
        });
    }
    Ok(plan)
}

/// What the dataset of a complete experiment says otherwise than when it was
/// asked; the questions are compared only where the file is another one.
fn outdated(
    experiment: &ExperimentDir,
    dataset: &Dataset,
    settings: &RunSettings,
) -> Result<Option<String>, ArtifactError> {
    let asked = match experiment.metadata() {
        Ok(Some(metadata)) => metadata.dataset,
        Ok(None) | Err(ArtifactError::Malformed { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match asked["sha256"].as_str() {
        Some(sum) if sum != dataset.checksum => {
            changed_question(experiment, dataset, settings.num_questions)
        }
        _ => Ok(None),
    }
}

/// The study's experiments besides `selected` whose directory holds answers of
/// another experiment under their name, each with what differs: they would not
/// belong to the study any more that the directory then says it is of.
///
/// # Errors
/// When a directory can not be read.
pub fn changed_besides(
    study: &Study,
    selected: &[ExperimentSpec],
    dir: &StudyDir,
) -> Result<Vec<(String, Vec<String>)>, ArtifactError> {
    let selected: HashSet<&str> = selected.iter().map(|spec| spec.name.as_str()).collect();
    let mut changed = Vec::new();
    for spec in &study.experiments {
        let experiment = dir.experiment(&spec.name);
        if selected.contains(spec.name.as_str()) || !experiment.exists() {
            continue;
        }
        let stored = match experiment.identity() {
            Err(ArtifactError::Malformed { .. }) => None,
            stored => stored?,
        };
        if let Some(stored) = stored.filter(|stored| stored.hash != spec.hash())
            && !experiment.answered()?.is_empty()
        {
            let new = serde_json::to_value(spec).unwrap_or_default();
            changed.push((spec.name.clone(), differences(&stored.spec, &new)));
        }
    }
    Ok(changed)
}

/// What would happen to one experiment, and how many questions it has
/// answered.
pub(super) fn look(
    spec: &ExperimentSpec,
    settings: &RunSettings,
    unavailable: Option<&String>,
    total: Option<usize>,
    dir: &StudyDir,
    manner: Manner,
) -> Result<(Action, usize), ArtifactError> {
    let Manner {
        force,
        is_ours,
        is_deep,
    } = manner;
    let experiment = dir.experiment(&spec.name);
    if !experiment.exists() {
        let action = match unavailable {
            Some(reason) => Action::Unavailable {
                reason: reason.clone(),
            },
            None => Action::New,
        };
        return Ok((action, 0));
    }
    let state = match experiment.state() {
        Ok(state) => state,
        // The journal is the truth; a state that can not be read is none.
        Err(ArtifactError::Malformed { .. }) => None,
        Err(error) => return Err(error),
    };
    let answered = state.as_ref().map_or(0, |state| state.predictions_complete);
    let owner = match is_ours {
        true => None,
        false => experiment.owner(&LeaseOptions::default())?,
    };
    let stored = match experiment.identity() {
        Ok(stored) => stored,
        Err(ArtifactError::Malformed { .. }) => None,
        Err(error) => return Err(error),
    };
    let redo = force || !settings.skip_existing;
    let changed = stored.filter(|stored| stored.hash != spec.hash());
    // A living run's experiment is left alone, but another study's is another
    // study's.
    if let Some((owner, Liveness::Alive)) = owner
        && (force || changed.is_none())
    {
        let by = owner.to_string();
        return Ok((Action::Owned { by }, answered));
    }
    if let Some(stored) = changed {
        // Where nothing was answered yet, nothing is lost: the study was
        // corrected.
        let is_empty = answered == 0 && experiment.answered()?.is_empty();
        let action = if force || is_empty {
            Action::Redo
        } else {
            let new = serde_json::to_value(spec).unwrap_or_default();
            let differences = differences(&stored.spec, &new);
            Action::Changed { differences }
        };
        return Ok((action, answered));
    }
    if let Some(reason) = unavailable {
        // What another program completed is complete all the same.
        let action = match &state {
            Some(state)
                if state.phase == Phase::Complete
                    && !redo
                    && holds_what_it_claims(&experiment, state, is_deep)? =>
            {
                Action::Complete
            }
            _ => Action::Unavailable {
                reason: reason.clone(),
            },
        };
        return Ok((action, answered));
    }
    let Some(state) = state else {
        return Ok((Action::Resume, answered));
    };
    let grown = total.is_some_and(|total| total > state.total_questions);
    let action = match state.phase {
        Phase::Complete if redo => Action::Redo,
        _ if force && state.needs_force => Action::Redo,
        // A state may claim what its files do not show.
        Phase::Complete if !holds_what_it_claims(&experiment, &state, is_deep)? => Action::Resume,
        Phase::Complete if grown => Action::Extend,
        Phase::Complete if !lacks_metrics(&state, settings) => Action::Complete,
        Phase::Complete | Phase::Generated | Phase::ComputingMetrics => Action::Score,
        Phase::Failed => Action::Retry {
            error: state.error.unwrap_or_default(),
        },
        Phase::Init | Phase::Generating => Action::Resume,
    };
    Ok((action, answered))
}

/// Whether a complete experiment has its files, and an answer to every
/// question. Directories of other versions are counted; ours are believed,
/// where their files look whole or, in depth, are those that were sealed.
fn holds_what_it_claims(
    experiment: &ExperimentDir,
    state: &State,
    is_deep: bool,
) -> Result<bool, ArtifactError> {
    if state.predictions_complete < state.total_questions
        || !experiment.path.join("predictions.json").exists()
    {
        return Ok(false);
    }
    if state.schema_version > 0 {
        return Ok(!is_to_be_rewritten(experiment, is_deep));
    }
    Ok(experiment.answered()?.len() >= state.total_questions)
}

fn lacks_metrics(state: &State, settings: &RunSettings) -> bool {
    settings
        .metrics
        .iter()
        .any(|metric| !state.metrics_computed.contains(metric))
}
