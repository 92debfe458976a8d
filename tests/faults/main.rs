//! Faults on purpose: the real binary, the embedded model, real signals.
//!
//! Whatever goes wrong, the study finishes or stops as the README says,
//! nothing acknowledged is lost, nothing is answered twice, and the final
//! metrics equal those of a clean run. `RAGICAMP_SEED` repeats the choices of
//! a run. Kills of the supervisor are in `tests/campaign`.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used)]

mod agents;
mod bench;
mod devices;
mod disk;
mod honesty;
mod hosts;
mod origins;
mod panics;
mod signals;
mod stories;
mod workers;
