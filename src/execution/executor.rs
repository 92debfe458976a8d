mod keeping;
mod recovery;

use super::{
    batch_policy::BatchPolicy,
    message::{Effect, Ending, Input, Outcome, Record, RecordKind},
};
use crate::domain::{Event, Failure, FailureClass, Threshold};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Answers wait at most this long in memory while their batch goes on.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// What an executor needs to know of its experiment.
#[derive(Debug, Clone)]
pub struct ExecutorSettings {
    /// The experiment's name, for events.
    pub experiment: String,
    /// Questions in all, for events.
    pub total: usize,
    /// Questions answered by earlier attempts, for events.
    pub answered_before: usize,
    /// Batches are halved down to this.
    pub min_batch_size: usize,
    /// When to give up.
    pub max_consecutive_failures: Threshold,
    /// Without a token or an item for this long, a batch counts as hung.
    pub batch_timeout: Duration,
    /// A model may take this long to load.
    pub load_timeout: Duration,
    /// The experiment may take this long.
    pub experiment_timeout: Option<Duration>,
    /// What it has taken of it already.
    pub spent: Duration,
    /// The number of a worker that has this model loaded already.
    pub warm_worker: Option<u64>,
    /// Number for the next worker process; larger than any before.
    pub next_worker: u64,
    /// Epoch for the next batch; larger than any the warm worker has seen.
    pub next_epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    Absent,
    Loading { since: Duration },
    Ready,
}

/// Questions that go out together next.
#[derive(Debug, Clone)]
struct Piece {
    items: Vec<usize>,
    last_chance: bool,
}

#[derive(Debug, Clone)]
struct InFlight {
    epoch: u64,
    remaining: Vec<usize>,
    size: usize,
    answered: usize,
    last_chance: bool,
    last_progress: Duration,
}

/// A batch of the smallest size that failed; its questions are being tried
/// one by one. If none of them is saved, that is one consecutive failure.
#[derive(Debug, Clone)]
struct SmallestBatch {
    waiting: usize,
    saved: bool,
    lost: Vec<(usize, usize, Failure)>,
}

/// The state machine. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Executor {
    settings: ExecutorSettings,
    policy: BatchPolicy,
    now: Duration,
    fresh: VecDeque<usize>,
    retries: VecDeque<Piece>,
    smallest: Option<SmallestBatch>,
    worker: Worker,
    worker_number: u64,
    next_worker: u64,
    next_epoch: u64,
    load_failures: u32,
    deaths_at_smallest: u32,
    model_has_answered: bool,
    in_flight: Option<InFlight>,
    streak: u32,
    /// Questions lost in the open streak: `failed` if it closes, `aborted`
    /// if it does not, so they are not written down before that is known.
    held: Vec<(usize, usize, Failure)>,
    last_failure: Option<Failure>,
    unflushed: Vec<Record>,
    unflushed_since: Duration,
    /// Answered, unanswered and tokens of what was handed over since the last
    /// [`Effect::Sync`].
    unsynced: (usize, usize, usize),
    next_ticket: u64,
    tickets: BTreeMap<u64, (usize, usize, usize)>,
    durable: (usize, usize, usize),
    answered: usize,
    unanswered: usize,
    ending: Option<Ending>,
    worker_abandoned: bool,
    finished: bool,
    effects: Vec<Effect>,
}

impl Executor {
    /// An executor for the outstanding questions, in the order in which they
    /// are to be tried.
    pub fn new(
        settings: ExecutorSettings,
        policy: BatchPolicy,
        outstanding: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self {
            policy,
            now: Duration::ZERO,
            fresh: outstanding.into_iter().collect(),
            retries: VecDeque::new(),
            smallest: None,
            worker: if settings.warm_worker.is_some() {
                Worker::Ready
            } else {
                Worker::Absent
            },
            worker_number: settings.warm_worker.unwrap_or(0),
            next_worker: settings.next_worker,
            next_epoch: settings.next_epoch,
            load_failures: 0,
            deaths_at_smallest: 0,
            model_has_answered: settings.warm_worker.is_some(),
            in_flight: None,
            streak: 0,
            held: Vec::new(),
            last_failure: None,
            unflushed: Vec::new(),
            unflushed_since: Duration::ZERO,
            unsynced: (0, 0, 0),
            next_ticket: 1,
            tickets: BTreeMap::new(),
            durable: (0, 0, 0),
            answered: 0,
            unanswered: 0,
            ending: None,
            worker_abandoned: false,
            finished: false,
            effects: Vec::new(),
            settings,
        }
    }

    /// The first effects.
    pub fn start(&mut self) -> Vec<Effect> {
        self.advance();
        std::mem::take(&mut self.effects)
    }

    /// Takes what happened and says what to do, in this order.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        if self.finished {
            return Vec::new();
        }
        self.take(input);
        self.advance();
        std::mem::take(&mut self.effects)
    }

    /// What was learned about the batch size.
    pub fn policy(&self) -> &BatchPolicy {
        &self.policy
    }

    /// Replaces it: an automatic size is known only once a model is loaded.
    pub fn set_policy(&mut self, policy: BatchPolicy) {
        self.policy = policy;
    }

    /// Epoch that no dispatch of this executor has used.
    pub fn next_epoch(&self) -> u64 {
        self.next_epoch
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Persisted { ticket } => self.persisted(ticket),
            Input::PersistFailed { failure } => {
                // What could not be kept must not be counted, and nothing
                // more can be kept: the run stops here.
                self.tickets.clear();
                self.unflushed.clear();
                self.unsynced = (0, 0, 0);
                self.held.clear();
                self.abandon_batch();
                self.ending = Some(Ending::StopStudy(failure));
            }
            _ if self.ending.is_some() => {}
            Input::WorkerReady { worker } => {
                if worker == self.worker_number && matches!(self.worker, Worker::Loading { .. }) {
                    self.worker = Worker::Ready;
                    self.load_failures = 0;
                }
            }
            Input::LoadFailed { worker, failure } => self.load_failed(worker, failure),
            Input::WorkerExited { worker, failure } => self.worker_exited(worker, failure),
            Input::Progress { epoch } => {
                let now = self.now;
                if let Some(batch) = self.batch_of(epoch) {
                    batch.last_progress = now;
                }
            }
            Input::ItemDone {
                epoch,
                idx,
                generated,
                latency,
            } => self.item_done(epoch, idx, |size| Record {
                idx,
                batch_size: size,
                kind: RecordKind::Answered { generated, latency },
            }),
            Input::ItemFailed {
                epoch,
                idx,
                failure,
            } => self.item_failed(epoch, idx, failure),
            Input::BatchDone { epoch } => self.batch_done(epoch),
            Input::BatchFailed { epoch, failure } => {
                if self.batch_of(epoch).is_some() {
                    self.batch_failed(failure);
                }
            }
            Input::Tick(now) => self.tick(now),
            Input::Stop { failure } => {
                self.abandon_batch();
                self.end(Ending::StopStudy(failure));
            }
            Input::Cancel => {
                self.abandon_batch();
                self.end(Ending::Interrupted);
            }
        }
    }

    /// Whatever can be done now. Answers are handed over before the next batch
    /// goes out, so that the end of this process costs one batch at most, and
    /// made durable after it, so that the model never waits for the disk.
    fn advance(&mut self) {
        if self
            .in_flight
            .as_ref()
            .is_none_or(|batch| batch.answered == 0)
        {
            // A batch has just ended, with all that it gave.
            self.flush();
        }
        if self.ending.is_none() && self.in_flight.is_none() {
            if self.retries.is_empty() && self.fresh.is_empty() {
                let last_failure = self.last_failure.clone();
                self.end(Ending::Exhausted {
                    last_failure: (self.unanswered > 0 || !self.held.is_empty())
                        .then_some(last_failure)
                        .flatten(),
                });
            } else {
                match self.worker {
                    Worker::Absent => self.start_worker(),
                    Worker::Loading { .. } => {}
                    Worker::Ready => self.dispatch(),
                }
            }
        }
        if let Some(ending) = self.ending.take() {
            self.flush();
            self.sync();
            if self.tickets.is_empty() {
                self.finished = true;
                self.effects.push(Effect::Finish(Outcome {
                    ending,
                    answered: self.answered,
                    unanswered: self.unanswered,
                    worker_reusable: self.worker == Worker::Ready && !self.worker_abandoned,
                }));
            } else {
                self.ending = Some(ending);
            }
        } else {
            self.sync();
        }
    }

    fn start_worker(&mut self) {
        self.worker_number = self.next_worker;
        self.next_worker += 1;
        self.worker = Worker::Loading { since: self.now };
        self.effects.push(Effect::RestartWorker {
            worker: self.worker_number,
        });
    }

    fn dispatch(&mut self) {
        let mut cap = self.policy.size();
        // While a streak is open the batch stays at the minimum. One lost
        // question does not yet cut up the rest of its own batch: that would
        // make a lone poison question dearer than the halving.
        if self.streak > 1 || (self.streak == 1 && self.retries.is_empty()) {
            cap = cap.min(self.settings.min_batch_size.max(1));
        }
        let piece = match self.retries.pop_front() {
            Some(mut piece) if piece.items.len() > cap => {
                let rest = piece.items.split_off(cap);
                self.retries.push_front(Piece {
                    items: rest,
                    last_chance: piece.last_chance,
                });
                piece
            }
            Some(piece) => piece,
            None => Piece {
                items: self.fresh.drain(..cap.min(self.fresh.len())).collect(),
                last_chance: false,
            },
        };
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.in_flight = Some(InFlight {
            epoch,
            size: piece.items.len(),
            remaining: piece.items.clone(),
            answered: 0,
            last_chance: piece.last_chance,
            last_progress: self.now,
        });
        self.emit(|experiment| Event::BatchDispatched {
            experiment,
            epoch,
            size: piece.items.len(),
        });
        self.effects.push(Effect::Dispatch {
            epoch,
            items: piece.items,
        });
    }

    fn batch_of(&mut self, epoch: u64) -> Option<&mut InFlight> {
        self.in_flight.as_mut().filter(|batch| batch.epoch == epoch)
    }

    /// Removes an item from the batch of this epoch; `None` when the reply
    /// is late, repeated, or about a question that was not asked.
    fn settle(&mut self, epoch: u64, idx: usize) -> Option<&mut InFlight> {
        let now = self.now;
        let batch = self.batch_of(epoch)?;
        let at = batch.remaining.iter().position(|&item| item == idx)?;
        batch.remaining.remove(at);
        batch.last_progress = now;
        Some(batch)
    }

    fn item_done(&mut self, epoch: u64, idx: usize, record: impl FnOnce(usize) -> Record) {
        let Some(batch) = self.settle(epoch, idx) else {
            return;
        };
        batch.answered += 1;
        let (size, last_chance) = (batch.size, batch.last_chance);
        self.model_has_answered = true;
        self.answered += 1;
        self.streak = 0;
        for (idx, batch_size, failure) in std::mem::take(&mut self.held) {
            self.give_up_on(idx, batch_size, failure);
        }
        self.keep(record(size));
        if last_chance && let Some(smallest) = &mut self.smallest {
            smallest.saved = true;
            smallest.waiting = smallest.waiting.saturating_sub(1);
        }
        self.close_smallest();
    }

    fn item_failed(&mut self, epoch: u64, idx: usize, failure: Failure) {
        let Some(batch) = self.settle(epoch, idx) else {
            return;
        };
        let (size, last_chance) = (batch.size, batch.last_chance);
        self.tell_question_failed(idx, &failure);
        self.last_failure = Some(failure.clone());
        self.give_up_on(idx, size, failure);
        if last_chance && let Some(smallest) = &mut self.smallest {
            smallest.waiting = smallest.waiting.saturating_sub(1);
        }
        self.close_smallest();
    }

    fn batch_done(&mut self, epoch: u64) {
        let Some(batch) = self.batch_of(epoch) else {
            return;
        };
        if !batch.remaining.is_empty() {
            let message = format!(
                "the worker ended a batch of {} without a word on {} of its questions",
                batch.size,
                batch.remaining.len()
            );
            self.batch_failed(Failure::new(FailureClass::Transient, message));
            return;
        }
        let (size, answered) = (batch.size, batch.answered);
        self.in_flight = None;
        if answered > 0 {
            let from = self.policy.size();
            if let Some(to) = self.policy.succeeded(size) {
                self.tell_size(from, to, "many batches fitted; trying a larger one");
            }
        }
    }

    fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if let Some(limit) = self.settings.experiment_timeout
            && self.now.saturating_add(self.settings.spent) >= limit
        {
            let message = format!(
                "experiment_timeout: not done after {} s",
                limit.as_secs_f64()
            );
            self.abandon_batch();
            return self.end(Ending::Failed(Failure::new(FailureClass::Timeout, message)));
        }
        if let Worker::Loading { since } = self.worker
            && self.now.saturating_sub(since) > self.settings.load_timeout
        {
            let message = format!(
                "load_timeout: the model was not loaded after {} s",
                self.settings.load_timeout.as_secs_f64()
            );
            self.abandon_batch();
            return self.end(Ending::Failed(Failure::new(FailureClass::Timeout, message)));
        }
        if let Some(batch) = &self.in_flight
            && self.now.saturating_sub(batch.last_progress) > self.settings.batch_timeout
        {
            let message = format!(
                "batch_timeout: no token from a batch of {} in {} s",
                batch.size,
                self.settings.batch_timeout.as_secs_f64()
            );
            self.batch_failed(Failure::new(FailureClass::Hang, message));
        }
        if !self.unflushed.is_empty()
            && self.now.saturating_sub(self.unflushed_since) >= FLUSH_EVERY
        {
            self.flush();
        }
    }

    /// Sets the ending; questions of a streak that is still open become
    /// failed ones.
    fn end(&mut self, ending: Ending) {
        for (idx, batch_size, failure) in std::mem::take(&mut self.held) {
            self.give_up_on(idx, batch_size, failure);
        }
        if let Some(smallest) = self.smallest.take() {
            for (idx, batch_size, failure) in smallest.lost {
                self.give_up_on(idx, batch_size, failure);
            }
        }
        self.ending = Some(ending);
    }

    fn abandon_batch(&mut self) {
        if self.in_flight.take().is_some() || matches!(self.worker, Worker::Loading { .. }) {
            self.worker_abandoned = true;
        }
    }

    fn discard_worker(&mut self, failure: &Failure) {
        self.worker = Worker::Absent;
        self.tell_restart(failure);
    }

    fn emit(&mut self, event: impl FnOnce(String) -> Event) {
        let event = event(self.settings.experiment.clone());
        self.effects.push(Effect::Emit(event));
    }

    fn tell_restart(&mut self, failure: &Failure) {
        let worker = self.next_worker;
        self.emit(|experiment| Event::WorkerRestarted {
            experiment,
            worker,
            reason: failure.to_string(),
        });
    }

    fn tell_size(&mut self, from: usize, to: usize, reason: &str) {
        self.emit(|experiment| Event::BatchSizeChanged {
            experiment,
            from,
            to,
            reason: reason.to_owned(),
        });
    }

    fn tell_question_failed(&mut self, idx: usize, failure: &Failure) {
        self.emit(|experiment| Event::QuestionFailed {
            experiment,
            idx,
            class: failure.class,
            message: failure.first_line().to_owned(),
        });
    }
}
