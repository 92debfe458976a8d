//! Tests of the room.
#![allow(clippy::unwrap_used)]

mod bounds;
mod cascades;
mod classes;
mod frames;
mod headers;
mod lines;
mod phases;
mod properties;
mod real_logs;
mod reports;
mod streaming;
mod times;
mod tracebacks;
