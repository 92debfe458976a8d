//! What only a machine with an NVIDIA GPU can show: every family computes what
//! the processor computes, real faults of the GPU lose nothing, and how fast
//! it is. `make gpu-check` runs this program; it needs the fixtures, a driver
//! and CUDA's libraries, but no network and no toolchain.

#![allow(clippy::unwrap_used)]

mod drills;
mod parity;
mod search;
mod speed;

use std::path::{Path, PathBuf};

/// The repository, as it lies on this machine.
fn repository() -> PathBuf {
    let here = std::env::current_dir().unwrap();
    assert!(
        here.join("tests/fixtures/families").is_dir(),
        "run this in the repository: {} has no tests/fixtures",
        here.display()
    );
    here
}

/// The program, built with CUDA and failpoints.
fn program() -> PathBuf {
    let path = std::env::var_os("RAGICAMP").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_ragicamp")).to_owned(),
        PathBuf::from,
    );
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
