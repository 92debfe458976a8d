//! The shim of `shim.c`: compiled here, and put between a run and its files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What happens at a call that changes a file.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// Nothing: calls are counted.
    Count,
    /// It says this error; `sticky`: and so do all after it.
    Fail { errno: i32, sticky: bool },
    /// It writes half of what it was given.
    Short { sticky: bool },
    /// The process is killed before the call.
    Kill,
    /// The process is killed after the call.
    KillAfter,
}

/// The compiled shim; `None`, said aloud, where it can not be had.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(compile).as_deref()
}

fn compile() -> Option<PathBuf> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("SKIPPED: the shim is written for Linux on x86-64");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/campaign/shim.c");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
    // Another run of the tests may be using the one that is there.
    let fresh = target.with_extension(std::process::id().to_string());
    let output = Command::new("cc")
        .args([
            "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ])
        .args([&fresh, &source])
        .output()
        .expect("a C compiler, which building the program needs too");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&fresh, &target).unwrap();
    // Where the kernel forbids filters nothing of this can be done.
    let tried = Command::new("true")
        .env("LD_PRELOAD", &target)
        .env("SHIM_UNDER", "/nowhere")
        .env("SHIM_STATE", fresh.with_extension("state"))
        .env("SHIM_MODE", "count")
        .status();
    let _ = fs::remove_file(fresh.with_extension("state"));
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this machine lets nobody filter system calls");
        return None;
    }
    Some(target)
}

/// Puts the shim into `command`: from call `at` on, among those that change
/// files below `under`. `state` is a file for its notes.
pub fn load(command: &mut Command, mode: Mode, at: u64, under: &Path, state: &Path) {
    let _ = fs::remove_file(state);
    let (name, errno, sticky) = match mode {
        Mode::Count => ("count", 0, false),
        Mode::Fail { errno, sticky } => ("fail", errno, sticky),
        Mode::Short { sticky } => ("short", 0, sticky),
        Mode::Kill => ("kill", 0, false),
        Mode::KillAfter => ("killafter", 0, false),
    };
    command
        .env("LD_PRELOAD", library().expect("asked before"))
        .env("SHIM_UNDER", under)
        .env("SHIM_STATE", state)
        .env("SHIM_MODE", name)
        .env("SHIM_AT", at.to_string())
        .env("SHIM_ERRNO", errno.to_string())
        .env("SHIM_STICKY", if sticky { "1" } else { "0" });
}

/// How many calls were counted.
pub fn calls(state: &Path) -> u64 {
    let bytes = fs::read(state).unwrap();
    u64::from_ne_bytes(bytes[..8].try_into().unwrap())
}

/// Whether the fault was seen by anybody.
pub fn tripped(state: &Path) -> bool {
    fs::read(state).unwrap()[8] != 0
}

/// A call that succeeded, as the shim recorded it.
#[derive(Debug, Clone)]
pub struct Call {
    pub op: String,
    pub path: PathBuf,
    /// The new name, of renames and links.
    pub other: PathBuf,
    /// Where a write begins; the length after a truncation; flags of opening.
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// Reads a record of calls.
pub fn trace(path: &Path) -> Vec<Call> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let fields: Vec<&str> = line.split('\t').collect();
        let [op, path, other, number, length] = fields[..] else {
            panic!("no record: {line}");
        };
        let (data, left) = rest.split_at(length.parse().unwrap());
        rest = left;
        calls.push(Call {
            op: op.to_owned(),
            path: path.into(),
            other: other.into(),
            number: number.parse().unwrap(),
            bytes: data.to_owned(),
        });
    }
    calls
}
