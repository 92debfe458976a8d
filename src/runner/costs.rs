use super::schedule::Cell;
use crate::{
    artifacts::StudyDir,
    domain::{ExperimentKind, ExperimentSpec, ModelSpec, Phase, Quantization},
    study::Study,
};
use std::collections::HashMap;

/// Questions of an experiment whose dataset says nothing else.
const QUESTIONS: f64 = 100.0;

/// Seconds a question is taken to need while nothing like it was run: only the
/// proportions matter, the run learns the rest.
const SECONDS: f64 = 0.5;

/// Passages make prompts several times longer.
const RAG_FACTOR: f64 = 2.0;

/// Seconds and questions of experiments that were run.
#[derive(Default)]
struct Past(f64, f64);

impl Past {
    fn add(&mut self, seconds: f64, questions: f64) {
        self.0 += seconds;
        self.1 += questions;
    }

    fn per_question(&self) -> Option<f64> {
        (self.1 > 0.0).then_some(self.0 / self.1)
    }
}

/// The experiments as the scheduler sees them: which model each needs, and
/// what it is expected to take, from what is in the study's directory.
pub fn cells(
    study: &Study,
    experiments: &[ExperimentSpec],
    dir: &StudyDir,
    force: bool,
) -> Vec<Cell> {
    let mut models: HashMap<(ModelSpec, Quantization), usize> = HashMap::new();
    let mut like_it: HashMap<(usize, ExperimentKind), Past> = HashMap::new();
    let mut of_kind: HashMap<ExperimentKind, Past> = HashMap::new();
    let mut looked = Vec::new();
    for spec in experiments {
        let next = models.len();
        let model = *models.entry(spec.load_key()).or_insert(next);
        let settings = study.settings_for(&spec.name);
        let experiment = dir.experiment(&spec.name);
        let state = experiment.state().ok().flatten();
        let redo = force || !settings.skip_existing;
        let (mut answered, mut scored) = (0, false);
        let mut total = settings.num_questions;
        if let Some(state) = &state {
            total = total.or(Some(state.total_questions).filter(|&total| total > 0));
            if !(redo && state.phase == Phase::Complete) {
                answered = state.predictions_complete;
                scored = matches!(
                    state.phase,
                    Phase::Complete | Phase::Generated | Phase::ComputingMetrics
                ) && total.is_none_or(|total| total <= state.total_questions);
            }
            if state.phase == Phase::Complete
                && let Ok(Some(results)) = experiment.results()
            {
                let took = (results.duration_seconds, results.num_examples as f64);
                like_it
                    .entry((model, spec.kind))
                    .or_default()
                    .add(took.0, took.1);
                of_kind.entry(spec.kind).or_default().add(took.0, took.1);
            }
        }
        let questions = total.map_or(QUESTIONS, |total| total.saturating_sub(answered) as f64);
        looked.push((model, spec.kind, questions, scored));
    }
    looked
        .into_iter()
        .map(|(model, kind, questions, scored)| {
            if scored {
                return Cell {
                    model: None,
                    seconds: 0.0,
                };
            }
            let guess = match kind {
                ExperimentKind::Direct => SECONDS,
                ExperimentKind::Rag => SECONDS * RAG_FACTOR,
            };
            let per_question = like_it
                .get(&(model, kind))
                .and_then(Past::per_question)
                .or_else(|| of_kind.get(&kind).and_then(Past::per_question))
                .unwrap_or(guess);
            Cell {
                model: Some(model),
                seconds: questions.max(1.0) * per_question,
            }
        })
        .collect()
}
