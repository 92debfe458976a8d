//! The program from outside: what it prints, what it exits with, and what it
//! leaves on disk. Every test has a directory of its own, and no network.
#![allow(clippy::unwrap_used)]

mod doctor;
mod generate;
mod gguf;
mod help;
mod index;
mod looking;
mod mistakes;
mod output;
mod place;
mod planning;
mod resuming;
mod running;
mod shipped;
