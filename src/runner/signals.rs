use super::message::Message;
use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

/// What the signal thread shares with the run.
#[derive(Debug, Clone, Default)]
pub struct SignalState {
    /// The first signal; 0 while there was none.
    received: Arc<AtomicI32>,
    /// The worker's process group; 0 while there is none.
    worker_group: Arc<AtomicI32>,
}

impl SignalState {
    /// The first signal, if one came.
    pub fn received(&self) -> Option<i32> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Tells which group a second signal has to kill.
    pub fn set_worker_group(&self, pid: Option<u32>) {
        let group = pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self.worker_group.store(group, Ordering::SeqCst);
    }
}

/// Listens for signals until the program ends. The first goes through the
/// channel and the run ends in good order; the second ends the program at
/// once, which loses nothing that was acknowledged.
pub fn listen(tell: Sender<Message>) -> io::Result<SignalState> {
    let state = SignalState::default();
    let shared = state.clone();
    // A run under nohup outlives its terminal. SIGINT is heeded even where a
    // script that started this in the background had it ignored: schedulers
    // ask with it.
    let heeded = [SIGINT, SIGTERM, SIGHUP]
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
                    // The run may be over already; then nobody needs it.
                    let _ = tell.send(Message::Signal);
                    continue;
                }
                if let Some(group) = Pid::from_raw(shared.worker_group.load(Ordering::SeqCst)) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                std::process::exit(128 + signal);
            }
        })?;
    Ok(state)
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
