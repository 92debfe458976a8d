use nvml_wrapper::Nvml;
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long a dead worker's memory may take to come back.
const LIMIT: Duration = Duration::from_secs(20);

fn nvml() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// Waits until the driver no longer lists a process on any GPU: only then is
/// its memory free. Returns at once on machines without NVML.
///
/// Says whether the process is gone.
pub fn wait_until_released(pid: u32) -> bool {
    let Some(nvml) = nvml() else {
        return true;
    };
    let deadline = Instant::now() + LIMIT;
    while holds_memory(nvml, pid) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn holds_memory(nvml: &Nvml, pid: u32) -> bool {
    let count = nvml.device_count().unwrap_or(0);
    (0..count).any(|index| {
        nvml.device_by_index(index)
            .and_then(|device| device.running_compute_processes())
            .is_ok_and(|processes| processes.iter().any(|process| process.pid == pid))
    })
}

/// Total memory of a GPU in bytes; `None` without NVML.
pub fn total_memory(index: u32) -> Option<u64> {
    let device = nvml()?.device_by_index(index).ok()?;
    Some(device.memory_info().ok()?.total)
}
