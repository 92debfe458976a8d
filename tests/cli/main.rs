//! The program from outside: what it prints, what it exits with, and what it
//! leaves on disk. Every test has a directory of its own, and no network.
#![allow(clippy::unwrap_used)]

mod comparing;
mod damage;
mod doctor;
mod evaluating;
mod generate;
mod gguf;
mod guards;
mod help;
mod index;
mod looking;
mod mistakes;
mod output;
mod parts;
mod place;
mod planning;
mod resuming;
mod running;
mod scored;
mod searching;
mod shipped;
mod verifying;
