use super::{message::Message, options::WorkerProgram, signals::SignalState};
use crate::{
    domain::{ExperimentSpec, Failure, ModelSpec, Quantization},
    worker::{Gpus, Load, Request, Role, Spawn, Worker},
};
use crossbeam_channel::Sender;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Keeps the one worker of a device, from experiment to experiment where it
/// can serve the next one too.
pub struct Supervisor {
    program: WorkerProgram,
    device: String,
    /// Directory against which the next model's relative path is resolved.
    pub base: Option<PathBuf>,
    tell: Sender<Message>,
    signals: SignalState,
    worker: Option<Worker>,
    /// Bytes in use on each GPU before the worker came.
    gpus_before: Vec<u64>,
    loaded: Option<(ModelSpec, Quantization)>,
    description: Option<Value>,
    /// Number for the next process.
    pub next_worker: u64,
    /// Epoch for the next batch.
    pub next_epoch: u64,
    /// Processes that were asked to load a model.
    pub loads: usize,
}

impl Supervisor {
    pub fn new(
        program: WorkerProgram,
        device: String,
        tell: Sender<Message>,
        signals: SignalState,
    ) -> Self {
        Self {
            program,
            device,
            base: None,
            tell,
            signals,
            worker: None,
            gpus_before: Vec::new(),
            loaded: None,
            description: None,
            next_worker: 1,
            next_epoch: 1,
            loads: 0,
        }
    }

    /// The number of a living worker that has this experiment's model, its
    /// caches freed and its output going to `log`. Any other worker ends.
    pub fn warm_worker(&mut self, spec: &ExperimentSpec, log: &Path) -> Option<u64> {
        if self.loaded.as_ref() != Some(&spec.load_key()) {
            self.end_worker();
            return None;
        }
        let worker = self.worker.as_mut()?;
        let ready = worker
            .log_to(log)
            .and_then(|()| worker.send(&Request::ReleaseCaches));
        if ready.is_err() {
            self.end_worker();
            return None;
        }
        self.worker.as_ref().map(Worker::number)
    }

    /// Ends the present worker and starts one that loads the model.
    pub fn restart(
        &mut self,
        number: u64,
        spec: &ExperimentSpec,
        log: &Path,
    ) -> Result<(), Failure> {
        self.kill_worker();
        self.next_worker = self.next_worker.max(number + 1);
        let spawn = Spawn {
            program: self.program.program.clone(),
            args: self.program.args.clone(),
            env: worker_environment(),
            log: log.to_owned(),
        };
        self.gpus_before = self.gpus_in_use();
        let mut worker = Worker::spawn(number, &spawn, self.tell.clone())?;
        self.signals.set_worker_group(Some(worker.pid()));
        self.loads += 1;
        let sent = worker.send(&Request::Load(Load {
            role: Role::Generator,
            model: spec.model.clone(),
            quantization: spec.quantization,
            device: self.device.clone(),
            base: self.base.clone(),
        }));
        self.worker = Some(worker);
        self.loaded = None;
        self.description = None;
        sent
    }

    /// The model is loaded; `description` is what the worker says of it.
    pub fn loaded(&mut self, spec: &ExperimentSpec, description: &Value) {
        self.loaded = Some(spec.load_key());
        self.description = Some(description.clone());
    }

    /// What the worker said of the model it loaded last.
    pub fn description(&self) -> Option<Value> {
        self.description.clone()
    }

    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        match &mut self.worker {
            Some(worker) => worker.send(request),
            None => Err(Failure::new(
                crate::domain::FailureClass::WorkerDied,
                "there is no worker",
            )),
        }
    }

    /// Whether this is the present worker's number.
    pub fn is_current(&self, number: u64) -> bool {
        self.worker
            .as_ref()
            .is_some_and(|worker| worker.number() == number)
    }

    /// Ends a worker that takes no requests any more, and says how it ended.
    pub fn bury(&mut self) -> Option<(u64, Failure)> {
        let number = self.worker.as_ref().map(Worker::number)?;
        Some((number, self.post_mortem(number)?))
    }

    /// How the worker of this number ended; `None` when it was replaced.
    pub fn post_mortem(&mut self, number: u64) -> Option<Failure> {
        let mut worker = self.worker.take_if(|worker| worker.number() == number)?;
        self.loaded = None;
        self.signals.set_worker_group(None);
        let failure = worker.post_mortem();
        let pid = worker.pid();
        worker.kill();
        self.wait_for_gpus(pid);
        Some(failure)
    }

    /// Kills the worker, if there is one, and waits until its memory is free.
    pub fn kill_worker(&mut self) {
        self.loaded = None;
        if let Some(mut worker) = self.worker.take() {
            worker.kill();
            self.signals.set_worker_group(None);
            self.wait_for_gpus(worker.pid());
        }
    }

    fn gpus_in_use(&self) -> Vec<u64> {
        if self.uses_gpus() {
            Gpus::of_this_machine().used()
        } else {
            Vec::new()
        }
    }

    /// The next worker finds the memory free that this one held.
    fn wait_for_gpus(&self, pid: u32) {
        if !self.uses_gpus() {
            return;
        }
        if let Err(bytes) = Gpus::of_this_machine().wait_until_released(pid, &self.gpus_before) {
            tracing::warn!(
                "the GPUs still hold {} MiB more than before worker {pid} came; another process may have taken them",
                bytes >> 20
            );
        }
    }

    fn uses_gpus(&self) -> bool {
        cfg!(feature = "cuda") && self.device != "cpu"
    }

    /// Asks the worker to end, which is the cleanup that can not fail.
    pub fn end_worker(&mut self) {
        self.loaded = None;
        if let Some(worker) = self.worker.take() {
            let pid = worker.pid();
            worker.shut_down();
            self.signals.set_worker_group(None);
            self.wait_for_gpus(pid);
        }
    }
}

/// candle's quantised products run on threads of their own that wait for each
/// other by spinning, which collapses where anything else runs; the engine
/// spreads them over rayon's instead. A user's own setting wins.
fn worker_environment() -> Vec<(String, String)> {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    match std::env::var_os(THREADS) {
        Some(_) => Vec::new(),
        None => vec![(THREADS.to_owned(), "1".to_owned())],
    }
}
