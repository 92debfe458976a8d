//! This host, and what can be told about its processes.

use std::{fs, io, path::Path, sync::OnceLock};

/// Where this process runs.
pub(super) struct Place {
    /// The host's name.
    pub(super) host: String,
    /// Changes with every boot.
    pub(super) boot_id: Option<String>,
    /// Differs between containers.
    pub(super) pid_namespace: Option<String>,
}

/// Where this process runs; asked once.
pub(super) fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| Place {
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .map(|text| text.trim().to_owned()),
        pid_namespace: fs::read_link("/proc/self/ns/pid")
            .ok()
            .map(|target| target.to_string_lossy().into_owned()),
    })
}

/// What can be told about a process of this host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// There is none, or only its exit code is left.
    Gone,
    /// It runs.
    Runs {
        /// Clock ticks since boot.
        start_time: u64,
    },
    /// Nothing can be told.
    Unknown,
}

/// Looks at the process `pid`.
pub(super) fn process(pid: u32) -> Process {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // Without /proc nothing can be told about anybody.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if Path::new("/proc/self/stat").exists() {
                Process::Gone
            } else {
                Process::Unknown
            };
        }
        Err(_) => return Process::Unknown,
    };
    parse_stat(&stat)
}

/// Reads `PID (name) state ... start_time ...`; the name may hold anything,
/// parentheses and blanks too.
pub(super) fn parse_stat(stat: &str) -> Process {
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return Process::Unknown;
    };
    let mut fields = rest.split_ascii_whitespace();
    // Nobody has collected its exit code yet, but it does nothing any more.
    if matches!(fields.next(), Some("Z" | "X")) {
        return Process::Gone;
    }
    // The state is field 3 of proc(5), the start time field 22.
    match fields.nth(22 - 4).and_then(|field| field.parse().ok()) {
        Some(start_time) => Process::Runs { start_time },
        None => Process::Unknown,
    }
}
