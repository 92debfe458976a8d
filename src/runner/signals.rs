use super::message::Message;
use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

/// What the signal thread shares with the run.
#[derive(Debug, Clone, Default)]
pub struct SignalHub {
    /// The first signal; 0 while there was none.
    received: Arc<AtomicI32>,
    /// Set when all lanes are to end, by a signal or by one of them.
    stopping: Arc<AtomicBool>,
    lanes: Arc<Mutex<Vec<Attached>>>,
}

#[derive(Debug)]
struct Attached {
    tell: Sender<Message>,
    worker_group: Arc<AtomicI32>,
}

/// One lane's part of it.
#[derive(Debug, Clone)]
pub struct SignalState {
    received: Arc<AtomicI32>,
    stopping: Arc<AtomicBool>,
    /// The worker's process group; 0 while there is none.
    worker_group: Arc<AtomicI32>,
}

impl SignalHub {
    /// The part of a lane that hears of signals through `tell`.
    pub fn attach(&self, tell: Sender<Message>) -> SignalState {
        let worker_group = Arc::new(AtomicI32::new(0));
        let attached = Attached {
            tell,
            worker_group: Arc::clone(&worker_group),
        };
        self.lanes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(attached);
        SignalState {
            received: Arc::clone(&self.received),
            stopping: Arc::clone(&self.stopping),
            worker_group,
        }
    }

    /// Ends all lanes in good order, as a first signal does.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter() {
            // The lane may be over already; then nobody needs it.
            let _ = lane.tell.send(Message::Stop);
        }
    }

    /// Kills every worker: the program is about to end.
    fn kill_workers(&self) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter() {
            if let Some(group) = Pid::from_raw(lane.worker_group.load(Ordering::SeqCst)) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
    }
}

impl SignalState {
    /// The first signal, if one came.
    pub fn received(&self) -> Option<i32> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Whether the run is to end in good order.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst) || self.received().is_some()
    }

    /// Tells which group a second signal has to kill.
    pub fn set_worker_group(&self, pid: Option<u32>) {
        let group = pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self.worker_group.store(group, Ordering::SeqCst);
    }
}

/// Listens for signals until the program ends. The first goes through the
/// lanes' channels and the run ends in good order; the second ends the program
/// at once, which loses nothing that was acknowledged.
pub fn listen() -> io::Result<SignalHub> {
    let hub = SignalHub::default();
    let shared = hub.clone();
    // A run under nohup outlives its terminal. SIGINT is heeded even where a
    // script that started this in the background had it ignored: schedulers
    // ask with it. SIGUSR1 is how a cluster says that the time is nearly up.
    let heeded = [SIGINT, SIGTERM, SIGHUP, SIGUSR1]
        .into_iter()
        .filter(|&signal| signal != SIGHUP || !is_ignored(signal));
    let mut signals = Signals::new(heeded)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let first = shared
                    .received
                    .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
                if first {
                    shared.stop();
                    continue;
                }
                shared.kill_workers();
                std::process::exit(128 + signal);
            }
        })?;
    Ok(hub)
}

/// Whether this program was started with the signal ignored, as `nohup` does
/// with SIGHUP: then it stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
