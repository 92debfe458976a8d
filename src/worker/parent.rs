use super::{
    exit::describe_exit,
    protocol::{Reply, Request},
};
use crate::domain::{Failure, FailureClass};
use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The program that runs, by a path that stays good when its file is replaced
/// or removed, and then means the same version.
pub const ITSELF: &str = "/proc/self/exe";

/// A killed worker that is still there after so long is left to itself.
const STUBBORN: Duration = Duration::from_secs(30);

/// How long a worker may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A worker takes requests off its socket at once, also in the middle of a
/// batch; one that does not is frozen, and must not freeze the supervisor.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Lines of the worker's log that go with the error of its death.
const LOG_TAIL_LINES: usize = 40;

/// A step's answers of a large batch arrive in one read.
const READ_BYTES: usize = 64 << 10;

/// How to start a worker.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The program: normally this one.
    pub program: PathBuf,
    /// Arguments that make it a worker.
    pub args: Vec<String>,
    /// Further environment.
    pub env: Vec<(String, String)>,
    /// Where its standard output and error go; appended to.
    pub log: PathBuf,
}

/// Something a worker said or did.
#[derive(Debug)]
pub struct WorkerMessage {
    /// Whose.
    pub worker: u64,
    /// When it arrived.
    pub at: Instant,
    /// What.
    pub event: WorkerEvent,
}

/// What a worker said or did.
#[derive(Debug)]
pub enum WorkerEvent {
    /// A reply.
    Reply(Reply),
    /// A line that is no reply.
    Garbage(String),
    /// Its end of the socket is closed: it is gone or going.
    Closed,
}

/// A running worker process, in a process group of its own.
///
/// Dropping it kills the group.
#[derive(Debug)]
pub struct Worker {
    number: u64,
    child: Child,
    socket: UnixStream,
    reader: Option<JoinHandle<()>>,
    log: PathBuf,
    log_start: u64,
    status: Option<ExitStatus>,
}

impl Worker {
    /// Starts a worker. Its messages come through `tell`, which may be any
    /// message type that a [`WorkerMessage`] turns into.
    ///
    /// Call it from a thread that lives as long as the worker: on Linux the
    /// child asks to be killed when the thread that started it ends.
    ///
    /// # Errors
    /// When the log can not be opened (`environment`) or the process can not
    /// be started (`transient`).
    pub fn spawn<M>(number: u64, spawn: &Spawn, tell: Sender<M>) -> Result<Self, Failure>
    where
        M: From<WorkerMessage> + Send + 'static,
    {
        fail::fail_point!("worker::spawn", |_| Err(Failure::new(
            FailureClass::Transient,
            "cannot start the worker: Resource temporarily unavailable"
        )));
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let log = open(&spawn.log).map_err(|error| {
            let message = format!("cannot open {}: {error}", spawn.log.display());
            Failure::new(FailureClass::Environment, message)
        })?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let failed = |error: std::io::Error| {
            let message = format!("cannot start the worker: {error}");
            Failure::new(FailureClass::Transient, message)
        };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        socket.set_write_timeout(Some(SEND_LIMIT)).map_err(failed)?;
        let reading = socket.try_clone().map_err(failed)?;
        let mut command = Command::new(&spawn.program);
        if spawn.program == Path::new(ITSELF) {
            command.arg0(env!("CARGO_PKG_NAME"));
        }
        let mut child = command
            .args(&spawn.args)
            .arg("--parent")
            .arg(std::process::id().to_string())
            .envs(spawn.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let reader = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || read_replies(number, reading, &tell))
            .map_err(|error| {
                // Nobody else would ever wait for it.
                let _ = child.kill().and_then(|()| child.wait());
                failed(error)
            })?;
        Ok(Self {
            number,
            child,
            socket,
            reader: Some(reader),
            log: spawn.log.clone(),
            log_start,
            status: None,
        })
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// `worker_died` when nobody reads any more.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| Failure::new(FailureClass::Permanent, error.to_string()))?;
        line.push(b'\n');
        self.socket
            .write_all(&line)
            .map_err(|_| self.death("stopped listening"))
    }

    /// From now on its output goes to this file.
    ///
    /// # Errors
    /// As [`Worker::send`].
    pub fn log_to(&mut self, path: &Path) -> Result<(), Failure> {
        self.log = path.to_owned();
        self.log_start = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.send(&Request::Log {
            path: path.to_owned(),
        })
    }

    /// How it ended, with the tail of its log. Waits for it, and kills it
    /// when it does not go.
    pub fn post_mortem(&mut self) -> Failure {
        let status = match self.wait(GRACE) {
            Some(status) => describe_exit(status),
            None => {
                self.kill();
                "closed its connection and had to be killed".to_owned()
            }
        };
        self.death(&status)
    }

    /// Asks it to end, and kills what is left of its group.
    pub fn shut_down(mut self) {
        let asked = self.send(&Request::Shutdown).is_ok();
        if asked {
            self.wait(GRACE);
        }
        self.kill();
    }

    /// SIGTERM to the group, a grace, SIGKILL.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            self.signal(Signal::TERM);
            self.wait(GRACE);
        }
        // Children of the worker may outlive it: the group gets the signal
        // in any case.
        self.signal(Signal::KILL);
        // A process that hangs in a driver does not even go then. The run goes
        // on without it; the kernel ends it when the driver answers.
        let is_gone = self.wait(STUBBORN).is_some();
        if let Some(reader) = self.reader.take()
            && is_gone
        {
            // The socket is closed on the other side, so the thread ends.
            let _ = reader.join();
        }
    }

    /// SIGKILL to the group at once, as a second Ctrl-C asks for.
    pub fn kill_now(&mut self) {
        self.signal(Signal::KILL);
        self.wait(GRACE);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already: that is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while self.status.is_none() {
            match self.child.try_wait() {
                Ok(Some(status)) => self.status = Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => break,
            }
        }
        self.status
    }

    fn death(&self, how: &str) -> Failure {
        let failure = Failure::new(FailureClass::WorkerDied, format!("the worker {how}"));
        match self.log_tail() {
            Some(tail) => failure.with_detail(format!("Last lines of the worker's log:\n{tail}")),
            None => failure,
        }
    }

    fn log_tail(&self) -> Option<String> {
        const TAIL_BYTES: u64 = 16 * 1024;
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        let from = self.log_start.max(length.saturating_sub(TAIL_BYTES));
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        (!tail.trim().is_empty()).then_some(tail)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
        }
    }
}

fn read_replies<M: From<WorkerMessage>>(worker: u64, socket: UnixStream, tell: &Sender<M>) {
    let mut lines = BufReader::with_capacity(READ_BYTES, socket);
    let mut line = Vec::new();
    loop {
        line.clear();
        let event = match lines.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => WorkerEvent::Closed,
            // A last line without its end was cut off by death.
            Ok(_) if !line.ends_with(b"\n") => WorkerEvent::Closed,
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(reply) => WorkerEvent::Reply(reply),
                Err(_) => WorkerEvent::Garbage(String::from_utf8_lossy(&line).into_owned()),
            },
        };
        let closed = matches!(event, WorkerEvent::Closed);
        let message = WorkerMessage {
            worker,
            at: Instant::now(),
            event,
        };
        if tell.send(M::from(message)).is_err() || closed {
            return;
        }
    }
}
