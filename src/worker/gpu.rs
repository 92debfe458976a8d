use nvml_wrapper::Nvml;
use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How long a dead worker's memory may take to come back.
const LIMIT: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);

/// Memory that has not fallen for this long is somebody else's: in a container
/// NVML shows neither our processes nor whose memory it is.
const SETTLED: Duration = Duration::from_secs(2);

/// What a GPU may hold above what it held before the worker came and still
/// count as free of it: the driver's own bookkeeping.
const MARGIN: u64 = 100 << 20;

/// This machine's NVIDIA GPUs as the driver's management library shows them;
/// none where the library is not there.
pub struct Gpus {
    nvml: Option<Nvml>,
}

impl Gpus {
    /// The GPUs of this machine. The library is loaded once, at run time.
    pub fn of_this_machine() -> &'static Self {
        static GPUS: OnceLock<Gpus> = OnceLock::new();
        GPUS.get_or_init(|| Self {
            nvml: Nvml::init().ok(),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let count = self.nvml.as_ref().map(|nvml| nvml.device_count());
        count.and_then(Result::ok).unwrap_or(0) as usize
    }

    /// What they are called.
    pub fn names(&self) -> Vec<String> {
        let Some(nvml) = &self.nvml else {
            return Vec::new();
        };
        (0..nvml.device_count().unwrap_or(0))
            .filter_map(|index| nvml.device_by_index(index).ok()?.name().ok())
            .collect()
    }

    /// The driver's version.
    pub fn driver(&self) -> Option<String> {
        self.nvml.as_ref()?.sys_driver_version().ok()
    }

    /// Bytes in use, per GPU; of `only` this one, where another lane's worker
    /// may be busy on the rest.
    pub fn used(&self, only: Option<&str>) -> Vec<u64> {
        let Some(nvml) = &self.nvml else {
            return Vec::new();
        };
        let memory = |device: Result<nvml_wrapper::Device<'_>, _>| {
            device
                .and_then(|device| device.memory_info())
                .map_or(0, |memory| memory.used)
        };
        if let Some(name) = only {
            return vec![memory(match name.parse() {
                Ok(index) => nvml.device_by_index(index),
                Err(_) => nvml.device_by_uuid(name),
            })];
        }
        (0..nvml.device_count().unwrap_or(0))
            .map(|index| memory(nvml.device_by_index(index)))
            .collect()
    }

    /// Total memory of a GPU in bytes; `None` without NVML.
    pub fn total(&self, index: u32) -> Option<u64> {
        let device = self.nvml.as_ref()?.device_by_index(index).ok()?;
        Some(device.memory_info().ok()?.total)
    }

    /// Waits until a dead process no longer holds memory on any GPU: the
    /// driver does not list it, and each GPU is back at what it held
    /// `before` the process came, or has stopped giving back. Returns at once
    /// on machines without NVML.
    ///
    /// # Errors
    /// The bytes in use above `before` when they do not come back in time.
    pub fn wait_until_released(
        &self,
        pid: u32,
        before: &[u64],
        only: Option<&str>,
    ) -> Result<(), u64> {
        if self.nvml.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let mut last = self.excess(before, only);
        let mut fell = began;
        loop {
            let is_listed = self.lists(pid);
            if !is_listed && (last == 0 || fell.elapsed() >= SETTLED) {
                return Ok(());
            }
            if began.elapsed() >= LIMIT {
                return Err(last);
            }
            thread::sleep(POLL);
            let now = self.excess(before, only);
            if now < last {
                fell = Instant::now();
            }
            last = now;
        }
    }

    /// Bytes in use above `before` and the margin.
    fn excess(&self, before: &[u64], only: Option<&str>) -> u64 {
        self.used(only)
            .into_iter()
            .enumerate()
            .map(|(gpu, used)| {
                let before = before.get(gpu).copied().unwrap_or(used);
                used.saturating_sub(before.saturating_add(MARGIN))
            })
            .sum()
    }

    fn lists(&self, pid: u32) -> bool {
        let Some(nvml) = &self.nvml else {
            return false;
        };
        (0..nvml.device_count().unwrap_or(0)).any(|index| {
            nvml.device_by_index(index)
                .and_then(|device| device.running_compute_processes())
                .is_ok_and(|processes| processes.iter().any(|process| process.pid == pid))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::{fs, path::Path, process::Command};

    /// A management library in C whose one GPU says what a file says: bytes in
    /// use, and the process that holds them.
    const LIBRARY: &str = r#"
#include <stdio.h>
typedef struct { unsigned version; unsigned long long total, reserved, freed, used; } memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;
static void read_state(unsigned long long *used, unsigned *pid) {
    *used = 0; *pid = 0;
    FILE *file = fopen(STATE, "r");
    if (file) { if (fscanf(file, "%llu %u", used, pid) < 1) *used = 0; fclose(file); }
}
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)8; return index; }
int nvmlDeviceGetMemoryInfo_v2(void *device, memory *info) {
    unsigned pid; (void)device;
    read_state(&info->used, &pid);
    info->total = 1ull << 34; info->reserved = 0; info->freed = info->total - info->used;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process *found) {
    unsigned long long used; unsigned pid; (void)device;
    read_state(&used, &pid);
    unsigned room = *count, there = pid != 0;
    *count = there;
    if (room < there) return 7;
    if (there) { found[0].pid = pid; found[0].used = used; found[0].gi = found[0].ci = 0; }
    return 0;
}
"#;

    const GIB: u64 = 1 << 30;
    const WORKER: u32 = 4711;

    struct Driver {
        dir: tempfile::TempDir,
        gpus: Gpus,
    }

    impl Driver {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("state");
            let source = dir.path().join("nvml.c");
            let library = dir.path().join("libnvidia-ml.so.1");
            fs::write(&source, LIBRARY).unwrap();
            let built = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1"])
                .arg(format!("-DSTATE=\"{}\"", state.display()))
                .arg("-o")
                .arg(&library)
                .arg(&source)
                .status()
                .unwrap();
            assert!(built.success());
            let gpus = Gpus {
                nvml: Some(
                    Nvml::builder()
                        .lib_path(library.as_os_str())
                        .init()
                        .unwrap(),
                ),
            };
            Self { dir, gpus }
        }

        fn says(&self, used: u64, pid: u32) {
            says(self.dir.path(), used, pid);
        }
    }

    /// In one step, so that nobody reads half of it.
    fn says(dir: &Path, used: u64, pid: u32) {
        let new = dir.join("state.new");
        fs::write(&new, format!("{used} {pid}\n")).unwrap();
        fs::rename(new, dir.join("state")).unwrap();
    }

    #[test]
    fn the_next_worker_waits_until_the_driver_has_all_memory_back() {
        let driver = Driver::new();
        driver.says(GIB, 0);
        let before = driver.gpus.used(None);
        assert_eq!(before, [GIB]);
        assert_eq!(driver.gpus.total(0), Some(16 * GIB));
        driver.says(9 * GIB, WORKER);
        let dir = driver.dir.path().to_owned();
        let teardown = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            // The process is gone from the list first, its memory later.
            says(&dir, 5 * GIB, 0);
            thread::sleep(Duration::from_millis(300));
            let freed = Instant::now();
            says(&dir, GIB + MARGIN / 2, 0);
            freed
        });
        assert_eq!(
            driver.gpus.wait_until_released(WORKER, &before, None),
            Ok(())
        );
        let returned = Instant::now();
        assert!(returned >= teardown.join().unwrap());
    }

    #[test]
    fn memory_that_others_took_meanwhile_is_not_waited_for_without_end() {
        let driver = Driver::new();
        driver.says(GIB, 0);
        let before = driver.gpus.used(None);
        driver.says(9 * GIB, 99);
        let began = Instant::now();
        assert_eq!(
            driver.gpus.wait_until_released(WORKER, &before, None),
            Ok(())
        );
        assert!(began.elapsed() >= SETTLED);
        assert!(began.elapsed() < LIMIT);
    }

    #[test]
    fn without_the_library_nothing_is_waited_for() {
        let gpus = Gpus { nvml: None };
        assert_eq!(gpus.used(None), Vec::<u64>::new());
        assert_eq!(gpus.wait_until_released(WORKER, &[], None), Ok(()));
    }
}
