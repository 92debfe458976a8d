use super::{
    encoders::EncoderSettings,
    gpu::Gpus,
    parent::{Worker, WorkerEvent, WorkerMessage},
    protocol::{Load, Reply, Request, Role},
};
use crate::domain::{Failure, FailureClass, ModelSpec, Quantization, Recovery};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use serde_json::Value;
use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// Texts per request at most.
const MOST: usize = 1024;

/// Bytes of text per request at most, as long as it is more than one text.
const MOST_BYTES: usize = 2 << 20;

/// A batch that failed is cut by this.
const CUT: usize = 4;

/// Failures in a row, at the smallest batch, after which there is no more try.
const LAST_TRIES: usize = 2;

/// Failures to load in a row that may pass by themselves.
const LOAD_TRIES: usize = 3;

/// Below this many tokens at once, less does not help against a full memory.
const LEAST_TOKENS: usize = 64;

/// A batch of texts or pairs, from which requests are made.
pub trait Batch {
    /// Texts or pairs.
    fn len(&self) -> usize;
    /// Bytes of one of them.
    fn bytes(&self, index: usize) -> usize;
    /// Its beginning, for messages.
    fn beginning(&self, index: usize) -> &str;
    /// The request for some of them.
    fn request(&self, epoch: u64, indices: &[usize], budget: Option<usize>) -> Request;
}

/// One encoder in a worker of its own. What fails is tried again in smaller
/// pieces, in a new worker where the old one is gone.
pub struct EncoderClient {
    settings: EncoderSettings,
    role: Role,
    model: ModelSpec,
    running: Option<Running>,
    description: Value,
    /// Tokens at once, after a memory was too small for more.
    budget: Option<usize>,
    /// Texts per request, likewise.
    most: usize,
    next_worker: u64,
    next_epoch: u64,
}

struct Running {
    worker: Worker,
    messages: Receiver<WorkerMessage>,
    /// Bytes in use on each GPU before the worker came.
    gpus_before: Vec<u64>,
}

impl EncoderClient {
    /// Starts a worker and loads a model.
    pub fn start(
        settings: &EncoderSettings,
        role: Role,
        model: ModelSpec,
    ) -> Result<Self, Failure> {
        let mut client = Self {
            settings: settings.clone(),
            role,
            model,
            running: None,
            description: Value::Null,
            budget: None,
            most: MOST,
            next_worker: 1,
            next_epoch: 1,
        };
        client.ensure_running()?;
        Ok(client)
    }

    /// What the worker said of the model.
    pub const fn description(&self) -> &Value {
        &self.description
    }

    /// The worker's process id; `None` while there is none.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.worker.pid())
    }

    /// Encodes a batch: one row per text or pair, in order.
    pub fn encode(&mut self, batch: &dyn Batch) -> Result<Vec<Vec<f32>>, Failure> {
        let mut results: Vec<Vec<f32>> = vec![Vec::new(); batch.len()];
        let mut waiting: VecDeque<usize> = (0..batch.len()).collect();
        let (mut size, mut last_tries) = (self.most, 0);
        while !waiting.is_empty() {
            let indices = next_request(&waiting, size, batch);
            self.ensure_running()?;
            let outcome = self.exchange(batch, &indices, &mut results);
            let before = waiting.len();
            waiting.retain(|index| results[*index].is_empty());
            let has_moved = waiting.len() < before;
            if has_moved {
                last_tries = 0;
            }
            let Err(failure) = outcome else {
                if !has_moved {
                    return Err(Failure::new(
                        FailureClass::Permanent,
                        format!("the worker of {} ended a batch without results", self.model),
                    ));
                }
                size = (size * CUT).min(self.most);
                continue;
            };
            tracing::warn!(
                "{} failed on {} texts ({}): {failure}",
                self.model,
                indices.len(),
                failure.class
            );
            match failure.class.recovery() {
                Recovery::Shrink if self.shrink_budget() => continue,
                Recovery::Shrink | Recovery::Retry | Recovery::RestartThenRetry => {}
                Recovery::IsolateItem | Recovery::FailExperiment | Recovery::StopStudy => {
                    return Err(failure);
                }
            }
            if size > 1 {
                size = (size.min(indices.len()) / CUT).max(1);
                if failure.class.recovery() == Recovery::Shrink {
                    self.most = size;
                }
                continue;
            }
            last_tries += 1;
            if last_tries >= LAST_TRIES {
                let text = waiting.front().map_or("", |index| batch.beginning(*index));
                return Err(self.given_up(&failure, text));
            }
        }
        Ok(results)
    }

    /// Ends the worker, and waits until its memory on GPUs is free.
    pub fn end(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let pid = running.worker.pid();
        running.worker.shut_down();
        if self.uses_gpus()
            && let Err(bytes) = Gpus::of_this_machine().wait_until_released(
                pid,
                &running.gpus_before,
                self.settings.visible.as_deref(),
            )
        {
            tracing::warn!(
                "the GPUs still hold {} MiB more than before {} came; another process may have taken them",
                bytes >> 20,
                self.model
            );
        }
    }

    fn uses_gpus(&self) -> bool {
        cfg!(feature = "cuda") && self.settings.device != "cpu"
    }

    /// Less at once, as long as that may help.
    fn shrink_budget(&mut self) -> bool {
        let told = self.description.get("budget").and_then(Value::as_u64);
        let told = told.and_then(|tokens| usize::try_from(tokens).ok());
        match self.budget.or(told) {
            Some(tokens) if tokens > LEAST_TOKENS => {
                self.budget = Some(tokens / 2);
                true
            }
            _ => false,
        }
    }

    fn given_up(&self, failure: &Failure, text: &str) -> Failure {
        let beginning: String = text.chars().take(60).collect();
        let message = format!(
            "{} failed again and again, at last on the text \"{beginning}\" alone: {}",
            self.model,
            failure.first_line()
        );
        Failure {
            class: failure.class,
            message,
            detail: failure.detail.clone(),
        }
    }

    /// Sees to it that a worker has the model.
    fn ensure_running(&mut self) -> Result<(), Failure> {
        let mut tries = 0;
        while self.running.is_none() {
            tries += 1;
            match self.load() {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    self.end();
                    let may_pass = matches!(
                        failure.class.recovery(),
                        Recovery::Retry | Recovery::RestartThenRetry
                    );
                    if !may_pass || tries >= LOAD_TRIES {
                        return Err(failure);
                    }
                    tracing::warn!("{} was not loaded, once more: {failure}", self.model);
                }
            }
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), Failure> {
        let gpus_before = match self.uses_gpus() {
            true => Gpus::of_this_machine().used(self.settings.visible.as_deref()),
            false => Vec::new(),
        };
        let (tell, messages) = unbounded();
        let worker = Worker::spawn(self.next_worker, &self.settings.spawn, tell)?;
        self.next_worker += 1;
        let running = self.running.insert(Running {
            worker,
            messages,
            gpus_before,
        });
        running.worker.send(&Request::Load(Load {
            role: self.role.clone(),
            model: self.model.clone(),
            quantization: Quantization::None,
            device: self.settings.device.clone(),
            sharers: NonZeroUsize::MIN,
            base: self.settings.base.clone(),
            cache: None,
            batch_timeout: None,
        }))?;
        let limit = self.settings.load_timeout;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let reply = match running.messages.recv_timeout(left) {
                Ok(message) => message.event,
                Err(RecvTimeoutError::Disconnected) => WorkerEvent::Closed,
                Err(RecvTimeoutError::Timeout) => {
                    let message = format!(
                        "{} was not loaded within {} s (load_timeout)",
                        self.model,
                        limit.as_secs_f64()
                    );
                    // It hears nothing: no time is given to it.
                    running.worker.kill_now();
                    return Err(Failure::new(FailureClass::Timeout, message));
                }
            };
            match reply {
                WorkerEvent::Reply(Reply::Ready { description, .. }) => {
                    self.description = description;
                    return Ok(());
                }
                WorkerEvent::Reply(Reply::LoadFailed { failure }) => return Err(failure),
                WorkerEvent::Closed => return Err(running.worker.post_mortem()),
                WorkerEvent::Reply(_) | WorkerEvent::Garbage(_) => {}
            }
        }
    }

    /// One request and its replies, which are put where they belong. A worker
    /// that is gone or silent is ended.
    fn exchange(
        &mut self,
        batch: &dyn Batch,
        indices: &[usize],
        results: &mut [Vec<f32>],
    ) -> Result<(), Failure> {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let request = batch.request(epoch, indices, self.budget);
        let limit = self.settings.batch_timeout;
        let Some(running) = &mut self.running else {
            return Err(Failure::new(FailureClass::WorkerDied, "there is no worker"));
        };
        let outcome = running
            .worker
            .send(&request)
            .and_then(|()| replies(running, epoch, limit, batch, indices, results));
        if let Err(failure) = &outcome
            && failure.class.recovery() == Recovery::RestartThenRetry
        {
            self.end();
        }
        outcome
    }
}

impl Drop for EncoderClient {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes the replies to a request until it is answered.
fn replies(
    running: &mut Running,
    epoch: u64,
    limit: Duration,
    batch: &dyn Batch,
    indices: &[usize],
    results: &mut [Vec<f32>],
) -> Result<(), Failure> {
    let mut failed = None;
    loop {
        let event = match running.messages.recv_timeout(limit) {
            Ok(message) => message.event,
            Err(RecvTimeoutError::Disconnected) => WorkerEvent::Closed,
            Err(RecvTimeoutError::Timeout) => {
                running.worker.kill_now();
                return Err(Failure::new(
                    FailureClass::Hang,
                    format!("the worker made no progress for {} s", limit.as_secs_f64()),
                ));
            }
        };
        match event {
            WorkerEvent::Reply(Reply::Encoded {
                epoch: of,
                indices: places,
                values,
            }) if of == epoch => {
                let width = values.0.len() / places.len().max(1);
                for (place, row) in places.iter().zip(values.0.chunks_exact(width.max(1))) {
                    if let Some(index) = indices.get(*place) {
                        results[*index] = row.to_vec();
                    }
                }
            }
            WorkerEvent::Reply(Reply::ItemFailed {
                epoch: of,
                idx,
                failure,
            }) if of == epoch => {
                let text = indices.get(idx).map_or("", |index| batch.beginning(*index));
                failed.get_or_insert(of_text(failure, text));
            }
            WorkerEvent::Reply(Reply::BatchDone { epoch: of }) if of == epoch => {
                return match failed {
                    Some(failure) => Err(failure),
                    None => Ok(()),
                };
            }
            WorkerEvent::Reply(Reply::BatchFailed { epoch: of, failure }) if of == epoch => {
                return Err(failure);
            }
            WorkerEvent::Closed => return Err(running.worker.post_mortem()),
            // Older epochs, and what is only there for the deadline.
            WorkerEvent::Reply(_) | WorkerEvent::Garbage(_) => {}
        }
    }
}

fn of_text(failure: Failure, text: &str) -> Failure {
    let beginning: String = text.chars().take(60).collect();
    Failure {
        message: format!("{} (\"{beginning}\")", failure.message),
        ..failure
    }
}

/// The texts that go out together: the first `size` of those that wait, as
/// long as they are not too many bytes.
fn next_request(waiting: &VecDeque<usize>, size: usize, batch: &dyn Batch) -> Vec<usize> {
    let mut bytes = 0;
    waiting
        .iter()
        .take(size)
        .take_while(|index| {
            let is_first = bytes == 0;
            bytes += batch.bytes(**index).max(1);
            is_first || bytes <= MOST_BYTES
        })
        .copied()
        .collect()
}
