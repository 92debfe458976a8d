//! What a run ran on, for the record.

use super::devices::LaneDevice;
use crate::worker::Gpus;
use serde_json::{Value, json};

/// The program, the machine and the device of a lane.
pub fn of(device: &LaneDevice) -> Value {
    let mut found = json!({
        "ragicamp": env!("CARGO_PKG_VERSION"),
        "git_revision": option_env!("RAGICAMP_GIT_REVISION"),
        "features": features(),
        "device": device.name,
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "cpu": cpu(),
        "threads": std::thread::available_parallelism().map_or(0, usize::from),
        "cuda": cfg!(feature = "cuda"),
    });
    if cfg!(feature = "cuda") && device.name != "cpu" {
        let gpus = Gpus::of_this_machine();
        found["gpus"] = json!(gpus.names());
        found["driver"] = json!(gpus.driver());
    }
    found
}

/// The optional features that this program was built with.
fn features() -> Vec<&'static str> {
    [
        ("cuda", cfg!(feature = "cuda")),
        ("flash-attn", cfg!(feature = "flash-attn")),
        ("failpoints", cfg!(feature = "failpoints")),
        ("index", cfg!(feature = "index")),
        ("inference", cfg!(feature = "inference")),
        ("postgres", cfg!(feature = "postgres")),
        ("serve", cfg!(feature = "serve")),
    ]
    .into_iter()
    .filter_map(|(name, is_on)| is_on.then_some(name))
    .collect()
}

/// The processor's name as the kernel has it.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
