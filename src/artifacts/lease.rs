//! Who may write in an experiment's directory.
//!
//! A lease is a file `lease/000007.json`; 7 is the fence number. Claiming is
//! creating the next number, which link(2) lets exactly one do; the highest
//! number is the owner. The files are never removed, a released one is
//! marked: so a number never comes again, and a claimant that was slow finds
//! the one it wants taken. Nothing is decided by a directory's listing, which
//! may miss a file that is being renamed: it only tells from where to look.
//! Create, link and rename are all that is needed, no lock, so network file
//! systems serve.

use super::{
    atomic::{self, Durability},
    error::{ArtifactError, Result},
    host::{Process, place, process},
    journal, lenient,
    study_dir::MANIFEST,
    time,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// An owner gives a sign of life this often.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// When an owner counts as silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    /// An owner on another host without a heartbeat for so long is gone.
    pub silence: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
        }
    }
}

/// The lease file: who owns the experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The owner's host.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// When that process started, in clock ticks since the host's boot: a
    /// process id alone may come again.
    #[serde(default)]
    pub start_time: Option<u64>,
    /// The host's boot: pids and ticks of another boot say nothing.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// The process-id namespace: in two containers of one host one pid means
    /// two processes.
    #[serde(default)]
    pub pid_namespace: Option<String>,
    /// The fence number; segments of the journal carry it.
    pub fence: u64,
    /// When the lease was taken, RFC 3339 UTC.
    #[serde(default)]
    pub acquired_at: String,
    /// When the owner last gave a sign of life, RFC 3339 UTC.
    #[serde(default)]
    pub heartbeat_at: String,
    /// When the owner gave the lease back; nobody owns it since.
    #[serde(default)]
    pub released_at: Option<String>,
    /// Tells two leases with one number apart, when the directory of the
    /// first was moved aside.
    #[serde(default)]
    pub token: String,
}

impl fmt::Display for LeaseRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        if self.acquired_at.is_empty() {
            Ok(())
        } else {
            write!(f, " since {}", self.acquired_at)
        }
    }
}

/// What can be told about an owner from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs, or gave a sign of life not long ago.
    Alive,
    /// Its process is gone.
    Dead,
    /// No sign of life for longer than it may be silent.
    Silent,
    /// It gave the lease back.
    Released,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The experiment is ours until the lease is dropped.
    Mine(Lease),
    /// Somebody else has it.
    Held(LeaseRecord),
}

/// The right to write in an experiment's directory, given back on drop.
#[derive(Debug)]
pub struct Lease {
    directory: PathBuf,
    record: LeaseRecord,
    given_back: bool,
    /// When the last sign of life was written.
    pub(super) beaten: Instant,
}

impl Lease {
    /// Takes the lease of `directory`, unless somebody alive has it.
    ///
    /// # Errors
    /// When the directory can not be read or written.
    pub(super) fn claim(directory: &Path, options: &LeaseOptions) -> Result<Claim> {
        atomic::create_directory(&leases(directory))?;
        // A number that somebody else was faster to take: it exists, whatever
        // a cache says.
        let mut taken = None;
        loop {
            // Looked at before the leases: a segment is younger than its lease,
            // so whoever has one of these is seen below, and a segment that
            // comes later can not lead past an owner who was never looked at.
            let used = journal::segments(&directory.join("journal"))?;
            let latest = latest(directory)?.max(taken);
            if let Some(fence) = latest {
                let Some(found) = read(directory, fence)? else {
                    // The directory was moved aside in this moment.
                    taken = None;
                    atomic::create_directory(&leases(directory))?;
                    continue;
                };
                if found.liveness(options, || clock_of(directory))? == Liveness::Alive {
                    return Ok(Claim::Held(found.record));
                }
            }
            let fence = latest.max(used.last().copied()).unwrap_or(0) + 1;
            let record = myself(fence);
            let path = lease_path(directory, fence);
            let bytes = lenient::pretty(&path, &record)?;
            // Leases mean nothing after a power cut, so they are never fsynced.
            if atomic::create_new(&path, "lease::write", Durability::Derivable, &bytes)? {
                return Ok(Claim::Mine(Self {
                    directory: directory.to_owned(),
                    record,
                    given_back: false,
                    beaten: Instant::now(),
                }));
            }
            taken = Some(fence);
        }
    }

    /// The fence number: higher than that of every owner before.
    pub fn fence(&self) -> u64 {
        self.record.fence
    }

    /// What the lease file says.
    pub fn record(&self) -> &LeaseRecord {
        &self.record
    }

    /// Gives a sign of life. To be called several times within the silence
    /// that others allow.
    ///
    /// # Errors
    /// [`ArtifactError::LeaseLost`] when somebody has taken over: this owner
    /// must not write any more. An I/O error when the sign can not be
    /// written; the lease may still be ours then.
    pub fn beat(&mut self) -> Result<()> {
        self.beaten = Instant::now();
        self.check()?;
        self.record.heartbeat_at = time::now();
        self.write()
    }

    /// As [`Lease::beat`] when the last sign of life is ten seconds ago: to
    /// be called often by whatever may take long.
    ///
    /// # Errors
    /// As [`Lease::beat`].
    pub fn keep_alive(&mut self) -> Result<()> {
        match self.beaten.elapsed() >= HEARTBEAT {
            true => self.beat(),
            false => Ok(()),
        }
    }

    /// To be asked before anything outside the journal is replaced.
    ///
    /// # Errors
    /// [`ArtifactError::LeaseLost`] when somebody has taken over, or the
    /// directory was moved aside. An I/O error when it can not be listed.
    pub fn check(&self) -> Result<()> {
        if self.still_mine()? {
            return Ok(());
        }
        // Nobody took it over where nothing is left of the whole study.
        let study = self.directory.parent();
        if !self.directory.exists() && study.is_none_or(|study| !study.join(MANIFEST).exists()) {
            let gone = io::Error::from(io::ErrorKind::NotFound);
            return Err(ArtifactError::io("looking at", &self.directory, gone));
        }
        Err(ArtifactError::LeaseLost {
            path: self.directory.clone(),
            holder: owner(&self.directory, &LeaseOptions::default())?
                .map(|(record, _)| Box::new(record)),
        })
    }

    /// What is behind an error of reading or writing: who takes over removes
    /// what the one before has not finished.
    pub fn loss_behind(&self, error: ArtifactError) -> ArtifactError {
        match self.check() {
            Err(lost @ ArtifactError::LeaseLost { .. }) => lost,
            _ => error,
        }
    }

    /// Whether nobody has taken over yet. The next owner's number is the next
    /// one, because its journal and its lease are the only higher ones.
    ///
    /// # Errors
    /// When the lease file can not be read.
    pub fn still_mine(&self) -> Result<bool> {
        if lease_path(&self.directory, self.record.fence + 1).exists() {
            return Ok(false);
        }
        let mine = read(&self.directory, self.record.fence)?;
        Ok(mine.is_some_and(|found| found.record.token == self.record.token))
    }

    /// Gives the experiment back, so that the next owner need not wait.
    ///
    /// # Errors
    /// When that can not be written. The next owner then finds the process
    /// gone, or silent.
    pub fn release(mut self) -> Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<()> {
        if self.given_back {
            return Ok(());
        }
        self.given_back = true;
        // Overtaken, or the directory was moved aside: nothing to give back.
        if !self.still_mine()? {
            return Ok(());
        }
        self.record.released_at = Some(time::now());
        self.write()
    }

    fn write(&self) -> Result<()> {
        let path = lease_path(&self.directory, self.record.fence);
        let bytes = lenient::pretty(&path, &self.record)?;
        atomic::write(&path, "lease::write", Durability::Derivable, &bytes)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Nobody is left to be told: the next owner finds out by itself.
        let _ = self.give_back();
    }
}

/// The current or last owner of `directory`, and whether it lives.
///
/// # Errors
/// When the directory can not be read.
pub(super) fn owner(
    directory: &Path,
    options: &LeaseOptions,
) -> Result<Option<(LeaseRecord, Liveness)>> {
    let Some(fence) = latest(directory)? else {
        return Ok(None);
    };
    let Some(found) = read(directory, fence)? else {
        return Ok(None);
    };
    let liveness = found.liveness(options, || Ok(SystemTime::now()))?;
    Ok(Some((found.record, liveness)))
}

/// Where the leases of an experiment's directory are.
pub(super) fn leases(directory: &Path) -> PathBuf {
    directory.join("lease")
}

/// Where the lease `fence` is.
pub(super) fn lease_path(directory: &Path, fence: u64) -> PathBuf {
    leases(directory).join(format!("{fence:06}.json"))
}

/// The highest number that exists; `None` when nobody ever claimed.
fn latest(directory: &Path) -> Result<Option<u64>> {
    let path = leases(directory);
    let failed = |source| ArtifactError::io("listing", &path, source);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut latest = None;
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        latest = latest.max(number);
    }
    // A listing may miss what is renamed or created while it is read, and a
    // name always tells the truth.
    let mut next = latest.map_or(1, |number| number + 1);
    while lease_path(directory, next).exists() {
        latest = Some(next);
        next += 1;
    }
    Ok(latest)
}

/// A lease file with the file system's own note of when it was written.
struct Found {
    record: LeaseRecord,
    modified: SystemTime,
}

impl Found {
    /// `clock` is asked only when the owner can not be looked at.
    fn liveness(
        &self,
        options: &LeaseOptions,
        clock: impl FnOnce() -> Result<SystemTime>,
    ) -> Result<Liveness> {
        if self.record.released_at.is_some() {
            return Ok(Liveness::Released);
        }
        if self.record.is_known_dead() {
            return Ok(Liveness::Dead);
        }
        // A time in the future is a clock that was set back: not silent yet.
        let age = clock()?
            .duration_since(self.modified)
            .unwrap_or(Duration::ZERO);
        // A process that can be seen to run may be in a long download or index
        // build; it is only given up when it must be hung.
        let patience = if self.record.is_known_alive() {
            SEEN_ALIVE * options.silence
        } else {
            options.silence
        };
        Ok(if age > patience {
            Liveness::Silent
        } else {
            Liveness::Alive
        })
    }
}

/// `None` when the file is gone.
fn read(directory: &Path, fence: u64) -> Result<Option<Found>> {
    let path = lease_path(directory, fence);
    let Some(bytes) = atomic::read(&path)? else {
        return Ok(None);
    };
    // Asked for after the content, so that a heartbeat in between only makes
    // its owner look more alive.
    let modified = match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
        Ok(modified) => modified,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ArtifactError::io("reading", &path, source)),
    };
    // A file that a power cut emptied names nobody: its owner can only be
    // silent or not.
    let record = serde_json::from_slice(&bytes).unwrap_or_else(|_| LeaseRecord {
        host: "an unknown host".to_owned(),
        pid: 0,
        start_time: None,
        boot_id: None,
        pid_namespace: None,
        fence,
        acquired_at: String::new(),
        heartbeat_at: String::new(),
        released_at: None,
        token: String::new(),
    });
    Ok(Some(Found { record, modified }))
}

/// The time by the file system's clock: hosts that share a directory need
/// not agree about the time, their leases are all dated by the server.
fn clock_of(directory: &Path) -> Result<SystemTime> {
    atomic::temporary_beside(&leases(directory).join("clock"))
        .and_then(|file| file.as_file().metadata())
        .and_then(|metadata| metadata.modified())
        .map_err(|source| ArtifactError::io("writing in", directory, source))
}

/// How many times longer an owner may be silent whose process is seen to run.
const SEEN_ALIVE: u32 = 60;

impl LeaseRecord {
    /// Whether its process is one that this one could see.
    fn is_visible(&self) -> bool {
        let here = place();
        self.pid != 0
            && self.host == here.host
            && agree(&self.boot_id, &here.boot_id)
            && agree(&self.pid_namespace, &here.pid_namespace)
    }

    /// The very process that took the lease runs here.
    fn is_known_alive(&self) -> bool {
        self.is_visible()
            && matches!(
                (process(self.pid), self.start_time),
                (Process::Runs { start_time }, Some(recorded)) if recorded == start_time
            )
    }

    /// Only a process that this one could see can be known to be gone.
    fn is_known_dead(&self) -> bool {
        if !self.is_visible() {
            return false;
        }
        match process(self.pid) {
            Process::Gone => true,
            Process::Runs { start_time } => self
                .start_time
                .is_some_and(|recorded| recorded != start_time),
            Process::Unknown => false,
        }
    }
}

fn agree(recorded: &Option<String>, here: &Option<String>) -> bool {
    match (recorded, here) {
        (Some(recorded), Some(here)) => recorded == here,
        _ => true,
    }
}

fn myself(fence: u64) -> LeaseRecord {
    let here = place();
    let pid = std::process::id();
    let now = time::now();
    LeaseRecord {
        host: here.host.clone(),
        pid,
        start_time: match process(pid) {
            Process::Runs { start_time } => Some(start_time),
            Process::Gone | Process::Unknown => None,
        },
        boot_id: here.boot_id.clone(),
        pid_namespace: here.pid_namespace.clone(),
        fence,
        acquired_at: now.clone(),
        heartbeat_at: now,
        released_at: None,
        token: format!("{:016x}", RandomState::new().hash_one(pid)),
    }
}
