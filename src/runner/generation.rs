use super::{
    batches::Batches, dialogue, listener::Ears, message::Message, origin::Origin, round::Round,
    supervisor::Supervisor,
};
use crate::{
    artifacts::{ArtifactError, Durability, ExperimentDir, Journal, Lease, StepRecord},
    domain::{
        BatchSize, Event, ExperimentSpec, Failure, FailureClass, Prediction, Question, RunSettings,
    },
    execution::{
        BatchPolicy, Effect, Executor, ExecutorSettings, Input, Outcome, Record, RecordKind,
    },
    worker::{Reply, Request, WorkerEvent},
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Time tells the executor about hangs and limits this often.
const TICK: Duration = Duration::from_millis(100);

/// More than this can not have passed for the worker between two looks.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// `predictions.json` is rendered at most this often while running.
const CHECKPOINT: Duration = Duration::from_secs(15);

/// `batch_size: auto` before the model is loaded, and never above.
const AUTO_CEILING: usize = 256;

/// Prompts that a worker looks at to say how large a batch may be.
const AUTO_SAMPLE: usize = 64;

/// Everything that generating one experiment's answers needs.
pub struct Generation<'a, 'q> {
    pub spec: &'a ExperimentSpec,
    pub settings: &'a RunSettings,
    pub timeout: Option<Duration>,
    /// Time that the experiment has taken already.
    pub spent: Duration,
    /// What the answers that are there were made with.
    pub origin: &'a mut Origin,
    /// The index that passages are from, as its record tells it.
    pub index: Value,
    pub dir: &'a ExperimentDir,
    pub lease: &'a mut Lease,
    pub journal: &'a mut Journal,
    pub supervisor: &'a mut Supervisor,
    pub inbox: &'a Receiver<Message>,
    pub ears: &'a mut Ears<'q>,
    pub round: Round<'a>,
    /// All questions, for checkpoints.
    pub questions: &'a [Question],
    /// The best record of every question so far.
    pub best: &'a mut BTreeMap<usize, Prediction>,
    pub attempt: u32,
    pub learned: Option<usize>,
}

/// What generating came to.
pub struct Generated {
    pub outcome: Outcome,
    /// The batch size that fits, if something was learned about it.
    pub learned: Option<usize>,
    /// The loaded model's description.
    pub model: Option<Value>,
    /// The last batch that failed, and how large it was.
    pub failed_batch: Option<usize>,
    /// Another run owns the experiment now.
    pub taken_over: Option<ArtifactError>,
    pub counts: Map<String, Value>,
}

struct Loop<'g, 'a, 'q> {
    generation: &'g mut Generation<'a, 'q>,
    executor: Executor,
    began: Instant,
    /// Time that the executor knows of.
    clock: Duration,
    looked: Instant,
    effects: VecDeque<Effect>,
    inputs: VecDeque<Input>,
    dispatched: (u64, Instant),
    load_started: Instant,
    last_checkpoint: Instant,
    dirty: bool,
    /// Written, and not yet known to be on disk.
    replies: Vec<StepRecord>,
    predictions: Vec<Prediction>,
    auto: bool,
    /// No batch was to be larger.
    ceiling: usize,
    failed_batch: Option<usize>,
    taken_over: Option<ArtifactError>,
    batches: Batches,
    tokens: (u64, u64),
}

impl Generation<'_, '_> {
    /// Questions that have an answer.
    fn answered(&self) -> usize {
        let records = self.best.values();
        records.filter(|record| record.is_answered()).count()
    }

    /// Answers the outstanding questions, or finds out why not.
    pub fn run(&mut self) -> Generated {
        let auto = self.settings.batch_size == BatchSize::Auto;
        let ceiling = match self.settings.batch_size {
            BatchSize::Fixed(size) => size,
            BatchSize::Auto => AUTO_CEILING,
        };
        let log = self.dir.experiment_log();
        let mut warm_worker = self.supervisor.warm_worker(self.spec, &log);
        if let Some(now) = self.supervisor.description()
            && self.origin.is_of_another_model(&now)
        {
            // Loaded anew it is what its files are now.
            warm_worker = None;
        }
        let batch_timeout = seconds(self.settings.batch_timeout_s);
        self.supervisor.batch_timeout = Some(batch_timeout);
        let settings = ExecutorSettings {
            experiment: self.spec.name.clone(),
            total: self.questions.len(),
            answered_before: self.answered(),
            min_batch_size: self.settings.min_batch_size,
            max_consecutive_failures: self.settings.max_consecutive_failures,
            batch_timeout,
            load_timeout: seconds(self.settings.load_timeout_s),
            experiment_timeout: self.timeout,
            spent: self.spent,
            // An automatic size is asked of a worker before it gets work, so
            // a warm one is announced like a fresh one.
            warm_worker: warm_worker.filter(|_| !auto),
            next_worker: match warm_worker {
                Some(number) if auto => number,
                _ => self.supervisor.next_worker,
            },
            next_epoch: self.supervisor.next_epoch,
        };
        if warm_worker.is_some() {
            let experiment = self.spec.name.clone();
            self.ears.hear(&Event::ModelLoaded {
                experiment,
                seconds: 0.0,
                warm: true,
            });
        }
        let executor = Executor::new(
            settings,
            BatchPolicy::new(ceiling, self.learned),
            self.round.asked.keys().copied().collect::<Vec<_>>(),
        );
        let known = self.learned;
        let now = Instant::now();
        let mut run = Loop {
            executor,
            began: now,
            clock: Duration::ZERO,
            looked: now,
            effects: VecDeque::new(),
            inputs: VecDeque::new(),
            dispatched: (0, now),
            load_started: now,
            last_checkpoint: now,
            dirty: false,
            replies: Vec::new(),
            predictions: Vec::new(),
            auto,
            ceiling,
            failed_batch: None,
            taken_over: None,
            batches: Batches::default(),
            tokens: (0, 0),
            generation: self,
        };
        if warm_worker.is_some() {
            run.record_origin();
        }
        let outcome = run.run(warm_worker.filter(|_| auto));
        let counts = run.counts();
        let mut generated = Generated {
            outcome,
            learned: match run.executor.policy().learned() {
                // A ceiling below the lesson has not disproved it.
                None if known.is_some_and(|known| known >= run.ceiling) => known,
                learned => learned,
            },
            failed_batch: run.failed_batch,
            taken_over: run.taken_over.take(),
            counts,
            model: None,
        };
        let next_epoch = run.executor.next_epoch();
        self.supervisor.next_epoch = next_epoch;
        // What stands in metadata.json is what the answers were made with.
        let is_another_model = self.origin.has_refused();
        generated.model = self.supervisor.description().filter(|_| !is_another_model);
        if !generated.outcome.worker_reusable {
            self.supervisor.kill_worker();
        }
        generated
    }
}

impl Loop<'_, '_, '_> {
    fn run(&mut self, warm: Option<u64>) -> Outcome {
        let effects = self.executor.start();
        self.effects.extend(effects);
        let mut warm = warm;
        loop {
            while let Some(effect) = self.effects.pop_front() {
                match effect {
                    // A warm worker stands in for the one that is asked for.
                    Effect::RestartWorker { worker } if warm.is_some() => {
                        warm = None;
                        self.ask_batch_size(worker);
                    }
                    Effect::Finish(outcome) => return outcome,
                    effect => self.perform(effect),
                }
            }
            if let Some(input) = self.inputs.pop_front() {
                self.feed(input);
                continue;
            }
            match self.generation.inbox.recv_timeout(TICK) {
                Ok(message) => {
                    self.receive(message);
                    // What else has arrived costs no further wait.
                    while let Ok(message) = self.generation.inbox.try_recv() {
                        self.receive(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.inputs.push_back(Input::Cancel),
            }
            self.pass_time();
        }
    }

    fn feed(&mut self, input: Input) {
        let effects = self.executor.step(input);
        self.effects.extend(effects);
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        // While this loop itself stood still (a slow disk, a reader that does
        // not read, Ctrl-Z) nobody's silence counted.
        self.clock += (now - self.looked).min(LONGEST_LOOK);
        self.looked = now;
        self.inputs.push_back(Input::Tick(self.clock));
        if self.taken_over.is_some() {
            return;
        }
        if let Err(error) = self.generation.lease.keep_alive() {
            return self.stop(error);
        }
        if self.dirty
            && self.generation.settings.save_intermediate
            && now - self.last_checkpoint >= CHECKPOINT
        {
            self.last_checkpoint = now;
            self.dirty = false;
            let generation = &mut *self.generation;
            let written = generation.lease.check().and_then(|()| {
                generation.dir.write_predictions(
                    generation.questions,
                    generation.best,
                    &Map::new(),
                    Durability::Derivable,
                )
            });
            if let Err(error) = written {
                self.stop(error);
            }
        }
    }

    /// Puts on record what the answers of the loaded model are made with,
    /// before there is one.
    fn record_origin(&mut self) {
        let generation = &mut *self.generation;
        let Some(model) = generation.supervisor.description() else {
            return;
        };
        let recorded = generation.origin.record(
            generation.spec,
            generation.dir,
            generation.lease,
            &model,
            &generation.index,
        );
        if let Err(error) = recorded {
            self.stop(error);
        }
    }

    fn stop(&mut self, error: ArtifactError) {
        let error = self.generation.lease.loss_behind(error);
        if matches!(error, ArtifactError::LeaseLost { .. }) {
            // Somebody thought this run dead. What it would still write, the
            // new owner writes: stop at once, before what has arrived counts.
            self.taken_over = Some(error);
            self.inputs.push_front(Input::Cancel);
        } else {
            self.inputs.push_back(Input::Stop {
                failure: failure_of(&error),
            });
        }
    }

    /// Records could not be written, or not be made safe.
    fn lose(&mut self, error: ArtifactError) {
        let error = self.generation.lease.loss_behind(error);
        self.inputs.push_back(Input::PersistFailed {
            failure: failure_of(&error),
        });
        if matches!(error, ArtifactError::LeaseLost { .. }) {
            self.taken_over = Some(error);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Dispatch { epoch, items } => self.dispatch(epoch, &items),
            Effect::RestartWorker { worker } => self.restart(worker),
            Effect::ClearGpu => {
                // A worker that can not hear it says so by its silence.
                let _ = self.generation.supervisor.send(&Request::ReleaseCaches);
            }
            Effect::Append { records } => self.append(records),
            Effect::Sync { ticket } => self.sync(ticket),
            Effect::Emit(mut event) => {
                self.batches.hear(&event);
                if let Event::BatchFailed { size, .. } = &event {
                    self.failed_batch = Some(*size);
                }
                // A reply on the way to an answer is progress, and no answer.
                if let Event::Progress { answered, .. } = &mut event
                    && self.generation.round.inner.is_some()
                {
                    *answered = self.generation.answered();
                }
                self.generation.ears.hear(&event);
            }
            Effect::Finish(_) => {}
        }
    }

    fn restart(&mut self, worker: u64) {
        let generation = &mut *self.generation;
        self.load_started = Instant::now();
        generation.ears.hear(&Event::ModelLoading {
            experiment: generation.spec.name.clone(),
            model: generation.spec.model.to_string(),
            quantization: generation.spec.quantization.to_string(),
        });
        let log = generation.dir.experiment_log();
        if let Err(failure) = generation.supervisor.restart(worker, generation.spec, &log) {
            self.inputs.push_back(Input::LoadFailed { worker, failure });
        }
    }

    fn dispatch(&mut self, epoch: u64, items: &[usize]) {
        fail::fail_point!("runner::dispatch");
        self.dispatched = (epoch, Instant::now());
        let generation = &mut *self.generation;
        let requests = items
            .iter()
            .filter_map(|idx| generation.round.asked.get(idx))
            .map(|asked| asked.request.clone())
            .collect();
        let request = Request::Generate {
            epoch,
            requests,
            settings: generation.round.decoding.clone(),
        };
        if generation.supervisor.send(&request).is_err()
            && let Some((worker, failure)) = generation.supervisor.bury()
        {
            self.inputs
                .push_back(Input::WorkerExited { worker, failure });
        }
    }

    fn ask_batch_size(&mut self, worker: u64) {
        let generation = &mut *self.generation;
        let mut requests: Vec<_> = generation
            .round
            .asked
            .values()
            .map(|asked| asked.request.clone())
            .collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.prompt.len()));
        requests.truncate(AUTO_SAMPLE);
        let request = Request::BatchSize {
            requests,
            settings: generation.round.decoding.clone(),
        };
        if generation.supervisor.send(&request).is_err() {
            self.inputs.push_back(Input::WorkerReady { worker });
        }
    }

    fn append(&mut self, records: Vec<Record>) {
        fail::fail_point!("runner::persist");
        if self.taken_over.is_some() {
            return;
        }
        let mut replies = Vec::new();
        let mut predictions = Vec::new();
        for record in records {
            match self.reply(&record) {
                Some(reply) => replies.push(reply),
                None => predictions.extend(self.prediction(record)),
            }
        }
        let kept = match &mut self.generation.round.inner {
            Some(inner) => inner.journal.write(&replies),
            None => Ok(()),
        };
        match kept.and_then(|()| self.generation.journal.write(&predictions)) {
            Ok(()) => {
                self.replies.extend(replies);
                self.predictions.extend(predictions);
            }
            Err(error) => self.lose(error),
        }
    }

    fn sync(&mut self, ticket: u64) {
        let kept = match &mut self.generation.round.inner {
            Some(inner) => inner.journal.sync().map(|()| {
                let keyed = self.replies.drain(..);
                inner
                    .kept
                    .extend(keyed.map(|reply| ((reply.idx, reply.step), reply)));
            }),
            None => Ok(()),
        };
        match kept.and_then(|()| self.generation.journal.sync()) {
            Ok(()) => {
                for prediction in self.predictions.drain(..) {
                    let known = self.generation.best.get(&prediction.idx);
                    // An answer over a failure, then the first.
                    if known.is_none_or(|known| !known.is_answered() && prediction.is_answered()) {
                        self.generation.best.insert(prediction.idx, prediction);
                    }
                }
                self.dirty = true;
                self.inputs.push_back(Input::Persisted { ticket });
            }
            Err(error) => self.lose(error),
        }
        fail::fail_point!("runner::persisted");
    }

    /// A reply that is no answer yet, to be kept by itself; `None` for what
    /// the journal keeps.
    fn reply(&mut self, record: &Record) -> Option<StepRecord> {
        self.generation.round.inner.as_ref()?;
        let RecordKind::Answered { generated, latency } = &record.kind else {
            return None;
        };
        let asked = self.generation.round.asked.get(&record.idx)?;
        self.tokens.0 += generated.tokens_in as u64;
        self.tokens.1 += generated.tokens_out as u64;
        Some(StepRecord {
            idx: record.idx,
            step: asked.step,
            kind: asked.role.as_str().to_owned(),
            prompt: asked.digest.clone(),
            text: generated.text.clone(),
            passages_cut: generated.passages_cut,
            tokens_in: generated.tokens_in,
            tokens_out: generated.tokens_out,
            latency_ms: millis(*latency),
            batch_size: record.batch_size,
            attempt: self.generation.attempt,
        })
    }

    fn prediction(&mut self, record: Record) -> Option<Prediction> {
        let asked = self.generation.round.asked.get(&record.idx)?;
        let mut trace = asked.trace.clone();
        let mut prediction = Prediction {
            prompt: Some(asked.request.prompt.clone()),
            retrieved: asked.retrieved.clone(),
            batch_size: record.batch_size,
            ..dialogue::blank(asked.question, self.generation.attempt)
        };
        match record.kind {
            RecordKind::Answered { generated, latency } => {
                self.tokens.0 += generated.tokens_in as u64;
                self.tokens.1 += generated.tokens_out as u64;
                // Models begin an answer with a blank and end it with a line.
                prediction.prediction = generated.text.trim().to_owned();
                prediction.tokens_in = generated.tokens_in;
                prediction.tokens_out = generated.tokens_out;
                prediction.latency_ms = millis(latency);
                if generated.passages_cut > 0 {
                    let sent = asked.request.without_last(generated.passages_cut);
                    prediction.prompt = Some(sent.prompt);
                    let cut = generated.passages_cut.into();
                    prediction.extra.insert("passages_cut".to_owned(), cut);
                }
                if let Some(trace) = &mut trace {
                    let ids = asked.retrieved.iter().map(|hit| hit.id.clone());
                    trace.generated(&dialogue::Generation {
                        kind: asked.role.as_str(),
                        passages: &ids.collect::<Vec<_>>(),
                        output: &generated.text,
                        tokens_in: generated.tokens_in,
                        tokens_out: generated.tokens_out,
                        latency_ms: millis(latency),
                        batch_size: record.batch_size,
                        passages_cut: generated.passages_cut,
                    });
                    prediction.tokens_in = trace.tokens_in;
                    prediction.tokens_out = trace.tokens_out;
                    prediction.latency_ms = trace.latency_ms;
                }
            }
            RecordKind::Failed(failure) => {
                prediction.prediction = Prediction::error_marker(&failure);
                prediction.failure_class = Some(failure.class);
                prediction.error = Some(failure.message);
            }
            RecordKind::Aborted {
                failure,
                consecutive_failures,
            } => {
                prediction.prediction = Prediction::aborted_marker(consecutive_failures);
                prediction.failure_class = Some(failure.class);
                prediction.error = Some(failure.message);
                prediction.aborted = true;
            }
        }
        if let Some(trace) = trace {
            let steps = Value::Array(trace.steps);
            prediction.extra.insert("steps".to_owned(), steps);
        }
        Some(prediction)
    }

    fn receive(&mut self, message: Message) {
        let message = match message {
            Message::Stop => return self.inputs.push_back(Input::Cancel),
            Message::Worker(message) => message,
        };
        let worker = message.worker;
        if !self.generation.supervisor.is_current(worker) {
            return;
        }
        let input = match message.event {
            WorkerEvent::Closed => {
                let Some(failure) = self.generation.supervisor.post_mortem(worker) else {
                    return;
                };
                Input::WorkerExited { worker, failure }
            }
            WorkerEvent::Garbage(line) => {
                let line: String = line.chars().take(200).collect();
                self.generation.ears.remark(&format!(
                    "the worker said something that is no reply: {line}"
                ));
                return;
            }
            WorkerEvent::Reply(reply) => match self.understand(worker, reply, message.at) {
                Some(input) => input,
                None => return,
            },
        };
        self.inputs.push_back(input);
    }

    fn understand(&mut self, worker: u64, reply: Reply, at: Instant) -> Option<Input> {
        Some(match reply {
            Reply::Ready {
                seconds,
                description,
            } => {
                let generation = &mut *self.generation;
                generation
                    .supervisor
                    .loaded(generation.spec, &description, seconds);
                if let Some(failure) = generation.origin.refuse_model(&description) {
                    return Some(Input::LoadFailed { worker, failure });
                }
                generation.ears.hear(&Event::ModelLoaded {
                    experiment: generation.spec.name.clone(),
                    seconds,
                    warm: false,
                });
                self.record_origin();
                if self.auto {
                    self.ask_batch_size(worker);
                    return None;
                }
                Input::WorkerReady { worker }
            }
            Reply::BatchSize { size } => {
                let size = size.clamp(1, AUTO_CEILING);
                self.ceiling = size;
                self.executor
                    .set_policy(BatchPolicy::new(size, self.generation.learned));
                self.auto = false;
                Input::WorkerReady { worker }
            }
            Reply::LoadFailed { failure } => {
                if failure.class == FailureClass::Environment {
                    self.generation.supervisor.device_failure = Some(failure.clone());
                }
                Input::LoadFailed { worker, failure }
            }
            Reply::Progress { epoch, .. } => Input::Progress { epoch },
            Reply::Item {
                epoch,
                idx,
                generated,
            } => Input::ItemDone {
                epoch,
                idx,
                generated,
                latency: if epoch == self.dispatched.0 {
                    at.saturating_duration_since(self.dispatched.1)
                } else {
                    Duration::ZERO
                },
            },
            Reply::ItemFailed {
                epoch,
                idx,
                failure,
            } => Input::ItemFailed {
                epoch,
                idx,
                failure,
            },
            Reply::BatchDone { epoch } => Input::BatchDone { epoch },
            Reply::BatchFailed { epoch, failure } => Input::BatchFailed { epoch, failure },
            // Encoders have workers and clients of their own.
            Reply::Released | Reply::Encoded { .. } => return None,
        })
    }

    fn counts(&self) -> Map<String, Value> {
        let mut counts = self.batches.to_counts();
        counts.insert("tokens_in".to_owned(), self.tokens.0.into());
        counts.insert("tokens_out".to_owned(), self.tokens.1.into());
        counts.insert(
            "generation_ms".to_owned(),
            millis(self.began.elapsed()).into(),
        );
        counts
    }
}

/// An artifact's error as a failure of the run.
pub fn failure_of(error: &ArtifactError) -> Failure {
    let failure = Failure::new(error.class(), error.to_string());
    match error.advice() {
        Some(advice) => failure.with_detail(advice),
        None => failure,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
