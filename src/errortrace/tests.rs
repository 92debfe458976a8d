//! Tests of the room.
#![allow(clippy::unwrap_used)]

mod cascades;
mod classes;
mod lines;
mod properties;
mod real_logs;
mod streaming;
mod tracebacks;
