use super::{
    encoder_model::{EncoderBatch, EncoderModel},
    floats::Floats,
    model::Model,
    outbox::Outbox,
    protocol::{Load, Reply, Request, Role},
};
use crate::{
    domain::{
        Failure, FailureClass, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
    },
    inference::EncoderEvent,
};
use crossbeam_channel::{Receiver, unbounded};
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
};
use serde_json::Value;
use std::{
    any::Any,
    fs::OpenOptions,
    io::{self, BufRead, BufReader},
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

#[cfg(feature = "failpoints")]
type Served = super::fault::Faulty<Model>;
#[cfg(not(feature = "failpoints"))]
type Served = Model;

/// Serves requests from standard input, which is a socket, until it closes
/// or a shutdown is asked for. `parent` is the supervisor's process id.
///
/// # Errors
/// When standard input is no socket.
pub fn serve(parent: u32) -> io::Result<()> {
    // No orphan, ever: the kernel kills this process when its parent ends;
    // if that happened before the line above took effect, the parent is
    // another one by now; and the closed socket says it a third time.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let supervisor = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if getppid() != supervisor {
        return Ok(());
    }
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let requests = read_requests(socket.try_clone()?)?;
    let mut server = Server {
        socket,
        served: None,
        encoder: None,
    };
    for request in requests {
        if matches!(request, Request::Shutdown) {
            tracing::info!("asked to end");
            break;
        }
        server.take(request)?;
    }
    Ok(())
}

/// Requests are read on a thread of their own, so that the end of the
/// supervisor is seen in the middle of a batch too.
fn read_requests(socket: UnixStream) -> io::Result<Receiver<Request>> {
    let (tell, requests) = unbounded();
    std::thread::Builder::new()
        .name("requests".to_owned())
        .spawn(move || {
            for line in BufReader::new(socket).lines() {
                let Ok(line) = line else { break };
                match serde_json::from_str(&line) {
                    Ok(request) => {
                        let last = matches!(request, Request::Shutdown);
                        if tell.send(request).is_err() || last {
                            return;
                        }
                    }
                    Err(error) => tracing::error!("not a request: {error}"),
                }
            }
            // There is nothing to save here and a kernel may be running.
            let _ = kill_process(getpid(), Signal::KILL);
        })?;
    Ok(requests)
}

struct Server {
    socket: UnixStream,
    served: Option<Served>,
    encoder: Option<EncoderModel>,
}

impl Server {
    fn take(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Log { path } => {
                let log = OpenOptions::new().create(true).append(true).open(&path)?;
                rustix::stdio::dup2_stdout(&log)?;
                rustix::stdio::dup2_stderr(&log)?;
                Ok(())
            }
            Request::Load(load) => {
                let reply = self.load(&load);
                self.reply(&reply)
            }
            Request::Generate {
                epoch,
                requests,
                settings,
            } => self.generate(epoch, &requests, &settings),
            Request::Embed {
                epoch,
                texts,
                role,
                budget,
            } => self.encode(epoch, &EncoderBatch::Texts(texts, role), budget),
            Request::Score {
                epoch,
                pairs,
                budget,
            } => self.encode(epoch, &EncoderBatch::Pairs(pairs), budget),
            Request::Nearest {
                epoch,
                count,
                queries,
                limit,
            } => self.encode(epoch, &EncoderBatch::Queries(queries.0, count, limit), None),
            Request::BatchSize { requests, settings } => {
                let size = self.batch_size(&requests, &settings);
                self.reply(&Reply::BatchSize { size })
            }
            Request::ReleaseCaches => {
                if let Some(served) = &mut self.served
                    && let Err(failure) = served.release_caches()
                {
                    tracing::warn!("caches not released: {failure}");
                }
                self.reply(&Reply::Released)
            }
            Request::Shutdown => Ok(()),
        }
    }

    fn load(&mut self, load: &Load) -> Reply {
        // The old model goes first: two do not fit.
        self.served = None;
        self.encoder = None;
        let start = Instant::now();
        tracing::info!(
            "loading {} ({}) on {}",
            load.model,
            load.quantization,
            load.device
        );
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load_role(load)))
            .unwrap_or_else(|panic| Err(panicked(&*panic, &load.device)));
        match loaded {
            Ok(description) => {
                let seconds = start.elapsed().as_secs_f64();
                tracing::info!("loaded in {seconds:.2} s");
                Reply::Ready {
                    seconds,
                    description,
                }
            }
            Err(failure) => {
                tracing::error!("not loaded: {}", failure.message);
                Reply::LoadFailed { failure }
            }
        }
    }

    /// Loads a model for its role and says what it is.
    fn load_role(&mut self, load: &Load) -> Result<Value, Failure> {
        if let Some(failure) = load_fault() {
            return Err(failure);
        }
        if load.role != Role::Generator {
            let encoder = EncoderModel::load(load)?;
            let description = encoder.describe();
            self.encoder = Some(encoder);
            return Ok(description);
        }
        let model = Model::load(load)?;
        let description = model.describe();
        #[cfg(feature = "failpoints")]
        let model = super::fault::Faulty(model);
        self.served = Some(model);
        Ok(description)
    }

    fn batch_size(&self, requests: &[GenerationRequest], settings: &GenerationSettings) -> usize {
        #[cfg(feature = "failpoints")]
        let model = self.served.as_ref().map(|faulty| &faulty.0);
        #[cfg(not(feature = "failpoints"))]
        let model = self.served.as_ref();
        model.map_or(1, |model| model.batch_size(requests, settings))
    }

    fn generate(
        &mut self,
        epoch: u64,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
    ) -> io::Result<()> {
        let Some(served) = &mut self.served else {
            let failure = Failure::new(FailureClass::Permanent, "no model is loaded");
            return self.reply(&Reply::BatchFailed { epoch, failure });
        };
        let mut outbox = Outbox::new(&self.socket, requests.len());
        let mut broken = Ok(());
        let mut tell = |event| {
            let told = match event {
                GenerationEvent::Progress { tokens } => outbox.step(epoch, tokens),
                GenerationEvent::Done { idx, generated } => outbox.add(&Reply::Item {
                    epoch,
                    idx,
                    generated,
                }),
                GenerationEvent::Failed { idx, failure } => outbox.add(&Reply::ItemFailed {
                    epoch,
                    idx,
                    failure,
                }),
            };
            if broken.is_ok() {
                broken = told;
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            served.generate(requests, settings, &mut tell)
        }))
        .unwrap_or_else(|panic| Err(panicked(&*panic, "")));
        broken?;
        end_batch(outbox, epoch, requests.len(), result)
    }

    fn encode(
        &mut self,
        epoch: u64,
        batch: &EncoderBatch,
        budget: Option<usize>,
    ) -> io::Result<()> {
        let Some(encoder) = &mut self.encoder else {
            let failure = Failure::new(FailureClass::Permanent, "no encoder is loaded");
            return self.reply(&Reply::BatchFailed { epoch, failure });
        };
        let mut outbox = Outbox::new(&self.socket, batch.len());
        let mut broken = Ok(());
        let mut tell = |event| {
            let added = match event {
                EncoderEvent::Progress => Ok(()),
                EncoderEvent::Rows { indices, values } => outbox.add(&Reply::Encoded {
                    epoch,
                    indices,
                    values: Floats(values),
                }),
                EncoderEvent::Failed { index, failure } => outbox.add(&Reply::ItemFailed {
                    epoch,
                    idx: index,
                    failure,
                }),
            };
            if broken.is_ok() {
                broken = added.and_then(|()| outbox.step(epoch, 0));
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            encode_batch(encoder, batch, budget, &mut tell)
        }))
        .unwrap_or_else(|panic| Err(panicked(&*panic, "")));
        broken?;
        end_batch(outbox, epoch, batch.len(), result)
    }

    fn reply(&self, reply: &Reply) -> io::Result<()> {
        let mut outbox = Outbox::new(&self.socket, 0);
        outbox.add(reply)?;
        outbox.flush()
    }
}

/// Encodes a batch, or fails on purpose.
fn encode_batch(
    encoder: &mut EncoderModel,
    batch: &EncoderBatch,
    budget: Option<usize>,
    tell: &mut dyn FnMut(EncoderEvent),
) -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    if let Some(done) = super::fault::encode(encoder, batch, budget, tell) {
        return done;
    }
    encoder.encode(batch, budget, tell)
}

/// Says how a batch of `size` ended.
fn end_batch(
    mut outbox: Outbox<'_>,
    epoch: u64,
    size: usize,
    result: Result<(), Failure>,
) -> io::Result<()> {
    outbox.add(&match result {
        Ok(()) => Reply::BatchDone { epoch },
        Err(failure) => {
            tracing::error!(
                "a batch of {size} failed ({}): {}",
                failure.class,
                failure.message
            );
            Reply::BatchFailed { epoch, failure }
        }
    })?;
    outbox.flush()
}

/// What goes wrong on purpose, as `oom`, or `oom@LANE` on one device only.
fn load_fault() -> Option<Failure> {
    fail::fail_point!("worker::load", |argument| {
        let argument = argument.unwrap_or_default();
        let (fault, lane) = argument.split_once('@').unwrap_or((&argument, ""));
        let here = std::env::var("RAGICAMP_LANE").unwrap_or_default();
        (lane.is_empty() || lane == here).then(|| load_failure(fault))
    });
    None
}

#[cfg(feature = "failpoints")]
fn load_failure(fault: &str) -> Failure {
    match fault {
        "sigkill" => {
            let _ = kill_process(getpid(), Signal::KILL);
            Failure::new(FailureClass::WorkerDied, "killed")
        }
        "oom" => Failure::new(FailureClass::Oom, "out of memory while loading"),
        "device" => Failure::new(
            FailureClass::Environment,
            "the device can not be opened: no such device",
        ),
        "hang" => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        "panic" => panic!("a panic on purpose while loading"),
        _ => Failure::new(
            FailureClass::Permanent,
            "cannot find tensor model.norm.weight",
        ),
    }
}

/// A panic on a GPU leaves the context in an unknown state; on a CPU it costs
/// what it was doing.
fn panicked(panic: &(dyn Any + Send), device: &str) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let class = if device.starts_with("cuda") || cfg!(feature = "cuda") {
        FailureClass::DeviceLost
    } else {
        FailureClass::Transient
    };
    Failure::new(class, format!("the model's code panicked: {message}"))
}
