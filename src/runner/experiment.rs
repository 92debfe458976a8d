use super::{
    batches,
    generation::{Generated, Generation, failure_of},
    judge::Judge,
    lane::lock,
    lessons::Lessons,
    listener::Ears,
    message::Message,
    origin::{self, Origin, about_index, stored},
    provenance::about_dataset,
    report::ExperimentReport,
    resources::Resources,
    retrieval::Shelf,
    round::Round,
    signals::SignalState,
    supervisor::Supervisor,
};
use crate::{
    agents::AgentPlan,
    artifacts::{ArtifactError, Durability, ErrorLog, ExperimentDir, Journal, Lease, State},
    domain::{
        Event, ExperimentSpec, Failure, FailureClass, Outcome, Phase, Prediction, Question,
        RunSettings, ScoringModels,
    },
    errortrace,
    execution::Ending,
    metrics,
};
use crossbeam_channel::Receiver;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

/// One experiment of a run, from claimed directory to results.
pub struct ExperimentRun<'r, 'q> {
    pub spec: &'r ExperimentSpec,
    pub settings: &'r RunSettings,
    /// Why the program can not run this cell, if so.
    pub unavailable: Option<&'r str>,
    pub timeout: Option<Duration>,
    pub device: &'r str,
    pub dir: ExperimentDir,
    pub lease: Lease,
    pub supervisor: &'r mut Supervisor,
    pub resources: &'r mut Resources,
    pub shelf: &'r Mutex<Shelf>,
    pub lessons: &'r Mutex<Lessons>,
    pub inbox: &'r Receiver<Message>,
    pub signals: &'r SignalState,
    pub ears: &'r mut Ears<'q>,
    pub environment: &'r Value,
    /// What the answers that are there were made with.
    pub origin: Origin,
    /// The record of it can not be read any more.
    pub is_origin_lost: bool,
    /// Seconds that earlier attempts took, once they are known.
    pub worked_before: f64,
    /// The identity of the index, once it is open.
    pub index: Option<String>,
    /// The study's judge, where it has one.
    pub judge: Option<&'r mut Judge>,
    /// The models of metrics, which are asked after the study's last answer.
    pub models: &'r ScoringModels,
}

/// How an experiment ended, for the loop over them.
pub enum Verdict {
    /// Go on with the next.
    Next(ExperimentReport),
    /// A signal: stop, this one can be resumed.
    Interrupted(ExperimentReport),
    /// Another run took it over.
    TakenOver(String),
    /// Nothing can be kept any more.
    StopStudy(Failure),
}

/// What stopped an experiment outside of generation.
pub(super) enum Stop {
    /// It fails; the study goes on.
    Fail(Failure),
    /// A signal came before anything was generated.
    Interrupted,
    /// Its files can not be written or read.
    Artifact(ArtifactError),
}

impl From<ArtifactError> for Stop {
    fn from(error: ArtifactError) -> Self {
        Self::Artifact(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

impl ExperimentRun<'_, '_> {
    /// Runs it. Whatever happens in here costs this experiment at most,
    /// unless nothing can be kept any more.
    pub fn run(&mut self) -> Verdict {
        let start = Instant::now();
        let mut state = match self.begin() {
            Ok(state) => state,
            // What its state says stays: nothing was begun.
            Err(error) => return self.artifact_failed(error, None, start),
        };
        let verdict = self.phases(&mut state, start);
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(Stop::Artifact(error)) => self.artifact_failed(error, Some(&mut state), start),
            Err(Stop::Interrupted) => {
                state.interrupted = true;
                match self
                    .lease
                    .check()
                    .and_then(|()| self.dir.write_state(&state))
                {
                    Ok(()) => Verdict::Interrupted(self.report(&state, None, start)),
                    Err(error) => self.artifact_failed(error, Some(&mut state), start),
                }
            }
            Err(Stop::Fail(failure)) if failure.class == FailureClass::Environment => {
                Verdict::StopStudy(failure)
            }
            Err(Stop::Fail(failure)) => match self.fail(&mut state, &failure, None) {
                Ok(()) => Verdict::Next(self.report(&state, Some(failure), start)),
                Err(error) => self.artifact_failed(error, Some(&mut state), start),
            },
        };
        if let Verdict::Next(report) | Verdict::Interrupted(report) = &verdict {
            // Whoever waits for the scores of a model is not finished.
            if report.later.is_empty() {
                self.ears.hear(&report.finished());
            }
            // Whoever took it over meanwhile seals it himself.
            if self.lease.check().is_ok()
                && let Err(error) = self.dir.seal()
            {
                self.ears.remark(&format!("{}: {error}", self.spec.name));
            }
        }
        verdict
    }

    fn begin(&mut self) -> Result<State, ArtifactError> {
        let fresh = || State::new(0, self.settings.metrics.clone());
        // A state that can not be read is a lie that this attempt ends: the
        // journal knows better.
        let mut state = match self.dir.state() {
            Ok(state) => state.unwrap_or_else(fresh),
            Err(ArtifactError::Malformed { .. }) => fresh(),
            Err(error) => return Err(error),
        };
        if state.started_at.is_empty() {
            state.started_at = fresh().started_at;
        }
        self.is_origin_lost = origin::is_lost(&self.dir, &state)?;
        state.phase = Phase::Init;
        state.attempt = state.attempt.saturating_add(1);
        state.error = None;
        state.failure_class = None;
        state.needs_force = false;
        state.interrupted = false;
        // What `ragicamp metrics` has added stays.
        let mut requested = self.settings.metrics.clone();
        let added = state.metrics_computed.iter();
        requested.extend(
            added
                .filter(|name| !self.settings.metrics.contains(name))
                .cloned(),
        );
        state.metrics_requested = requested;
        self.dir.unseal()?;
        self.worked_before = self.worked();
        if !self.is_origin_lost {
            self.write_metadata(None, &Map::new())?;
            state.spec_hash = self.spec.hash();
        }
        self.dir.write_state(&state)?;
        Ok(state)
    }

    fn phases(&mut self, state: &mut State, start: Instant) -> Result<Verdict, Stop> {
        if let Some(reason) = self.unavailable {
            return Err(Failure::new(FailureClass::Permanent, reason).into());
        }
        let questions = self.questions(state)?;
        let contents = self.dir.records()?;
        for damaged in &contents.damaged {
            self.ears.remark(&format!("{}: {damaged}", self.spec.name));
        }
        let mut best = contents.best;
        let outstanding: Vec<&Question> = questions
            .iter()
            .filter(|question| !best.get(&question.idx).is_some_and(Prediction::is_answered))
            .collect();
        state.total_questions = questions.len();
        state.predictions_complete = questions.len() - outstanding.len();
        if self.is_origin_lost && !outstanding.is_empty() {
            self.replace_origin(state)?;
        }
        // Scores need no model.
        if !outstanding.is_empty() {
            self.model()?;
        }
        if outstanding.len() < questions.len() && !self.is_origin_lost {
            self.origin = Origin::of(self.dir.metadata()?);
        }
        self.ears.hear(&Event::ExperimentStarted {
            experiment: self.spec.name.clone(),
            total: questions.len(),
            answered: questions.len() - outstanding.len(),
            attempt: state.attempt,
            device: Some(self.device.to_owned()),
        });

        if !outstanding.is_empty() {
            let mut journal = self.dir.open_journal(&self.lease)?;
            self.enter(state, Phase::Generating)?;
            let generated = if AgentPlan::of(self.spec).is_single_step() {
                let round = Round {
                    asked: self.ask(&outstanding)?,
                    decoding: self.spec.generation.clone(),
                    inner: None,
                };
                self.generate(state, round, &questions, &mut best, &mut journal, start)
            } else {
                let (best, journal) = (&mut best, &mut journal);
                self.converse(state, &outstanding, &questions, best, journal, start)?
            };
            if let Some(error) = generated.taken_over {
                return Ok(Verdict::TakenOver(error.to_string()));
            }
            self.write_metadata(generated.model.as_ref(), &generated.counts)?;
            self.count(state, &questions, &best);
            if let Some(verdict) = self.settle(state, &generated, &questions, &best, start)? {
                return Ok(verdict);
            }
            if AgentPlan::of(self.spec).is_single_step() {
                self.remark_on_silence(&best);
            }
        }
        self.enter(state, Phase::Generated)?;
        self.score(state, &questions, &mut best, start)
    }

    /// An answer that was cut off before its first word is one, and no failure;
    /// but a model that thinks first may need a higher limit.
    fn remark_on_silence(&mut self, best: &BTreeMap<usize, Prediction>) {
        let limit = self.spec.generation.max_new_tokens;
        let is_silent = |record: &&Prediction| {
            record.is_answered()
                && record.prediction.trim().is_empty()
                && record.tokens_out >= limit
        };
        let silent = best.values().filter(is_silent).count();
        if silent > 0 {
            self.ears.remark(&format!(
                "{}: {silent} of {} answers are empty, and took all {limit} tokens of \
                 max_new_tokens: a model that thinks first needs more",
                self.spec.name,
                best.len()
            ));
        }
    }

    /// Begins a new record in place of one that is lost, where no answer was of
    /// it.
    fn replace_origin(&mut self, state: &mut State) -> Result<(), Stop> {
        let answers = state.predictions_complete;
        if answers > 0 {
            let message = format!(
                "{} can not be read, and only it says which model and spec the {answers} answers \
                 that are there are of: restore the file, or start over with --force",
                self.dir.path.join("metadata.json").display()
            );
            return Err(self.origin.refuse(message).into());
        }
        self.is_origin_lost = false;
        state.spec_hash = self.spec.hash();
        Ok(self.write_metadata(None, &Map::new())?)
    }

    /// Seconds of all attempts so far: those up to the last results, or what
    /// was generated since, if that is more.
    fn worked(&self) -> f64 {
        let results = self.dir.results().ok().flatten();
        let metadata = self.dir.metadata().ok().flatten();
        let generated = metadata
            .and_then(|metadata| metadata.counts.get("generation_ms")?.as_f64())
            .unwrap_or(0.0)
            / 1e3;
        results
            .map_or(0.0, |results| results.duration_seconds)
            .max(generated)
    }

    /// What the end of generation means; `None`: every question is answered.
    fn settle(
        &mut self,
        state: &mut State,
        generated: &Generated,
        questions: &[Question],
        best: &BTreeMap<usize, Prediction>,
        start: Instant,
    ) -> Result<Option<Verdict>, Stop> {
        let failure = match &generated.outcome.ending {
            Ending::StopStudy(failure) => return Ok(Some(Verdict::StopStudy(failure.clone()))),
            Ending::Interrupted => {
                self.lease.check()?;
                self.render(questions, best, &Map::new())?;
                state.interrupted = true;
                self.dir.write_state(state)?;
                return Ok(Some(Verdict::Interrupted(self.report(state, None, start))));
            }
            Ending::Failed(failure) | Ending::Aborted { failure, .. } => failure.clone(),
            Ending::Exhausted { last_failure } => {
                if state.predictions_complete == questions.len() {
                    return Ok(None);
                }
                last_failure.clone().unwrap_or_else(|| {
                    Failure::new(FailureClass::Transient, "questions have no answer")
                })
            }
        };
        self.lease.check()?;
        // What was answered is scored for the eye, with its coverage; an
        // experiment with an unanswered question stays failed all the same.
        let evaluation = metrics::evaluate(&self.settings.metrics, &records(questions, best));
        self.render(questions, best, &evaluation.aggregate)?;
        self.fail(state, &failure, generated.failed_batch)?;
        let mut report = self.report(state, Some(failure), start);
        report.metrics = evaluation.aggregate;
        Ok(Some(Verdict::Next(report)))
    }

    /// Puts prompts to the model.
    pub(super) fn generate<'a>(
        &mut self,
        state: &State,
        round: Round<'a>,
        questions: &'a [Question],
        best: &mut BTreeMap<usize, Prediction>,
        journal: &mut Journal,
        start: Instant,
    ) -> Generated {
        let longest = round
            .asked
            .values()
            .map(|asked| asked.request.prompt.len())
            .max()
            .unwrap_or(0);
        // In a statement of its own: the other lanes wait for the lock.
        let learned = lock(self.lessons).recall(self.spec, self.device, longest);
        let generated = Generation {
            spec: self.spec,
            settings: self.settings,
            timeout: self.timeout,
            spent: start.elapsed(),
            origin: &mut self.origin,
            index: about_index(self.spec, self.index.as_deref()),
            dir: &self.dir,
            lease: &mut self.lease,
            journal,
            supervisor: self.supervisor,
            inbox: self.inbox,
            ears: self.ears,
            round,
            questions,
            best,
            attempt: state.attempt,
            learned,
        }
        .run();
        lock(self.lessons).learn(self.spec, self.device, longest, generated.learned);
        generated
    }

    pub(super) fn render(
        &self,
        questions: &[Question],
        best: &BTreeMap<usize, Prediction>,
        aggregate: &Map<String, Value>,
    ) -> Result<(), ArtifactError> {
        self.dir
            // Results or a state follow in this directory and are durable.
            .write_predictions(questions, best, aggregate, Durability::Ordered)
    }

    pub(super) fn enter(&mut self, state: &mut State, phase: Phase) -> Result<(), ArtifactError> {
        state.phase = phase;
        self.lease.check()?;
        self.dir.write_state(state)?;
        self.ears.hear(&Event::PhaseChanged {
            experiment: self.spec.name.clone(),
            phase,
        });
        Ok(())
    }

    fn fail(
        &mut self,
        state: &mut State,
        failure: &Failure,
        batch_size: Option<usize>,
    ) -> Result<(), ArtifactError> {
        self.lease.check()?;
        let mut log = ErrorLog::new(self.spec, failure);
        if let Some(size) = batch_size {
            log = log.batch_size(size);
        }
        if let Some(advice) = self.advice(failure, batch_size) {
            log = log.advice(&advice);
        }
        self.dir.write_error_log(&log)?;
        state.error = Some(failure.first_line().to_owned());
        state.failure_class = Some(failure.class);
        state.needs_force = self.origin.has_refused();
        self.enter(state, Phase::Failed)
    }

    /// What to change in this study, the most promising first.
    fn advice(&self, failure: &Failure, batch_size: Option<usize>) -> Option<String> {
        let spec = self.spec;
        let explanation = errortrace::explain_failure(
            &failure.message,
            failure.class,
            failure.detail.as_deref(),
            &errortrace::Context {
                experiment: Some(spec.name.clone()),
                model: Some(spec.model.to_string()),
                quantization: Some(spec.quantization.to_string()),
                batch_size,
                dataset: Some(spec.dataset.name.clone()),
                retriever: spec
                    .retriever
                    .as_ref()
                    .map(|retriever| retriever.name.clone()),
                top_k: spec.top_k,
                phase: None,
            },
        );
        (!explanation.suggestions.is_empty()).then(|| explanation.suggestions.join(" "))
    }

    pub(super) fn count(
        &self,
        state: &mut State,
        questions: &[Question],
        best: &BTreeMap<usize, Prediction>,
    ) {
        let records = questions
            .iter()
            .filter_map(|question| best.get(&question.idx));
        state.predictions_complete = records
            .clone()
            .filter(|record| record.is_answered())
            .count();
        state.unanswered = records
            .filter(|record| record.outcome() != Outcome::Answered)
            .count();
    }

    fn write_metadata(
        &self,
        model: Option<&Value>,
        counts: &Map<String, Value>,
    ) -> Result<(), ArtifactError> {
        let mut metadata = stored(self.spec, &self.dir)?;
        metadata.environment = self.environment.clone();
        if let Some(model) = model {
            metadata.model = model.clone();
        }
        batches::add(&mut metadata.counts, counts);
        let questions = self.settings.num_questions;
        if let Some(dataset) = self.resources.known_dataset(&self.spec.dataset, questions) {
            metadata.dataset = about_dataset(&dataset);
        }
        if self.index.is_some() {
            metadata.index = about_index(self.spec, self.index.as_deref());
        }
        // Whatever else is written here becomes durable later.
        self.dir.write_metadata(&metadata, Durability::Ordered)
    }

    /// What is wrong with one directory costs its experiment; what is wrong
    /// with the disk ends the study.
    fn artifact_failed(
        &mut self,
        error: ArtifactError,
        state: Option<&mut State>,
        start: Instant,
    ) -> Verdict {
        let error = self.lease.loss_behind(error);
        if matches!(error, ArtifactError::LeaseLost { .. }) {
            return Verdict::TakenOver(error.to_string());
        }
        let failure = failure_of(&error);
        if failure.class == FailureClass::Environment {
            return Verdict::StopStudy(failure);
        }
        let mut unbegun = State::new(0, self.settings.metrics.clone());
        // What a newer version wrote stays.
        let is_ours = state.is_some() && !matches!(error, ArtifactError::Newer { .. });
        let state = state.unwrap_or(&mut unbegun);
        if is_ours && let Err(error) = self.fail(state, &failure, None) {
            if error.class() == FailureClass::Environment {
                return Verdict::StopStudy(failure_of(&error));
            }
            // Its state can not be told there either.
            self.ears.remark(&format!("{}: {error}", self.spec.name));
        }
        state.phase = Phase::Failed;
        Verdict::Next(self.report(state, Some(failure), start))
    }

    pub(super) fn report(
        &self,
        state: &State,
        failure: Option<Failure>,
        start: Instant,
    ) -> ExperimentReport {
        ExperimentReport {
            name: self.spec.name.clone(),
            phase: state.phase,
            answered: state.predictions_complete,
            total: state.total_questions,
            failure,
            metrics: Map::new(),
            interrupted: state.interrupted,
            skipped: None,
            later: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

/// What `results.json` says an experiment is.
pub fn about(spec: &ExperimentSpec) -> Map<String, Value> {
    Map::from_iter([
        ("type".to_owned(), json!(spec.kind)),
        ("model".to_owned(), json!(spec.model.to_string())),
        ("quantization".to_owned(), json!(spec.quantization)),
        ("prompt".to_owned(), json!(spec.prompt.name)),
        ("dataset".to_owned(), json!(spec.dataset.name)),
        (
            "retriever".to_owned(),
            json!(spec.retriever.as_ref().map(|retriever| &retriever.name)),
        ),
        ("top_k".to_owned(), json!(spec.top_k)),
    ])
}

pub(super) fn records(
    questions: &[Question],
    best: &BTreeMap<usize, Prediction>,
) -> Vec<Prediction> {
    questions
        .iter()
        .filter_map(|question| best.get(&question.idx))
        .cloned()
        .collect()
}
