use super::{devices::LaneDevice, message::Message, options::WorkerProgram, signals::SignalState};
use crate::{
    domain::{ExperimentSpec, Failure, ModelSpec, Quantization},
    worker::{Gpus, Load, Request, Role, Spawn, Worker},
};
use crossbeam_channel::Sender;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Keeps the one worker of a device, from experiment to experiment where it
/// can serve the next one too.
pub struct Supervisor {
    program: WorkerProgram,
    lane: LaneDevice,
    /// Directory against which the next model's relative path is resolved.
    pub base: Option<PathBuf>,
    /// How long a batch of the next model may go on without a sign of progress.
    pub batch_timeout: Option<Duration>,
    /// Where quantised weights are kept.
    cache: PathBuf,
    tell: Sender<Message>,
    signals: SignalState,
    worker: Option<Worker>,
    /// Bytes in use on each GPU before the worker came.
    gpus_before: Vec<u64>,
    model: Option<(ModelSpec, Quantization)>,
    description: Option<Value>,
    /// Number for the next process.
    pub next_worker: u64,
    /// Epoch for the next batch.
    pub next_epoch: u64,
    /// Processes that were asked to load a model.
    pub loads: usize,
    /// Of them those that did, and the seconds the last one took.
    pub loaded: (usize, f64),
    /// Why the device itself can not be used, when a worker found out.
    pub device_failure: Option<Failure>,
}

impl Supervisor {
    pub fn new(
        program: WorkerProgram,
        lane: LaneDevice,
        cache: PathBuf,
        tell: Sender<Message>,
        signals: SignalState,
    ) -> Self {
        Self {
            program,
            lane,
            base: None,
            batch_timeout: None,
            cache,
            tell,
            signals,
            worker: None,
            gpus_before: Vec::new(),
            model: None,
            description: None,
            next_worker: 1,
            next_epoch: 1,
            loads: 0,
            loaded: (0, 0.0),
            device_failure: None,
        }
    }

    /// The number of a living worker that has this experiment's model, its
    /// caches freed and its output going to `log`. Any other worker ends.
    pub fn warm_worker(&mut self, spec: &ExperimentSpec, log: &Path) -> Option<u64> {
        if self.model.as_ref() != Some(&spec.load_key()) {
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
            env: worker_environment(&self.lane),
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
            device: self.lane.device.clone(),
            sharers: self.lane.sharers,
            base: self.base.clone(),
            cache: Some(self.cache.clone()),
            batch_timeout: self.batch_timeout,
        }));
        self.worker = Some(worker);
        self.model = None;
        self.description = None;
        sent
    }

    /// The model is loaded; `description` is what the worker says of it.
    pub fn loaded(&mut self, spec: &ExperimentSpec, description: &Value, seconds: f64) {
        self.loaded = (self.loaded.0 + 1, seconds);
        self.model = Some(spec.load_key());
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
        self.model = None;
        self.signals.set_worker_group(None);
        let failure = worker.post_mortem();
        let pid = worker.pid();
        worker.kill();
        self.wait_for_gpus(pid);
        Some(failure)
    }

    /// Kills the worker, if there is one, and waits until its memory is free.
    pub fn kill_worker(&mut self) {
        self.model = None;
        if let Some(mut worker) = self.worker.take() {
            worker.kill();
            self.signals.set_worker_group(None);
            self.wait_for_gpus(worker.pid());
        }
    }

    fn gpus_in_use(&self) -> Vec<u64> {
        if self.uses_gpus() {
            Gpus::of_this_machine().used(self.lane.visible.as_deref())
        } else {
            Vec::new()
        }
    }

    /// The next worker finds the memory free that this one held.
    fn wait_for_gpus(&self, pid: u32) {
        if !self.uses_gpus() {
            return;
        }
        if let Err(bytes) = Gpus::of_this_machine().wait_until_released(
            pid,
            &self.gpus_before,
            self.lane.visible.as_deref(),
        ) {
            tracing::warn!(
                "the GPUs still hold {} MiB more than before worker {pid} came; another process may have taken them",
                bytes >> 20
            );
        }
    }

    fn uses_gpus(&self) -> bool {
        cfg!(feature = "cuda") && self.lane.device != "cpu"
    }

    /// Asks the worker to end, which is the cleanup that can not fail.
    pub fn end_worker(&mut self) {
        self.model = None;
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
/// spreads them over rayon's instead. A user's own settings win, but for the
/// device, which is this lane's.
pub(super) fn worker_environment(lane: &LaneDevice) -> Vec<(String, String)> {
    let unless_set = |name: &str, value: String| {
        std::env::var_os(name)
            .is_none()
            .then(|| (name.to_owned(), value))
    };
    let mut environment = vec![("RAGICAMP_LANE".to_owned(), lane.name.clone())];
    environment.extend(unless_set("CANDLE_NUM_THREADS", "1".to_owned()));
    if let Some(threads) = lane.threads {
        environment.extend(unless_set("RAYON_NUM_THREADS", threads.to_string()));
    }
    if let Some(visible) = &lane.visible {
        environment.push(("CUDA_VISIBLE_DEVICES".to_owned(), visible.clone()));
    }
    environment
}
