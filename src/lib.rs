//! A resilient experiment study runner for question answering, with and
//! without retrieval.
//!
//! This page follows one question from the YAML to `results.json`.
//!
//! 1. [`cli`] reads the command line. `ragicamp run study.yaml` hands the text
//!    to [`study`], which checks every key and value, builds the grid, and
//!    gives each cell a readable name and the hash of its canonical spec.
//! 2. [`runner`] plans: a cell that is complete is left alone, one that is
//!    unfinished or failed goes on where it stopped. It claims the cell's
//!    directory with a lease ([`artifacts`]), so that two runs never share one.
//! 3. [`datasets`] gives the question its `idx`; [`agents`] say what is to be
//!    done for it, step by step; [`index`] finds passages; [`prompts`] renders
//!    question and passages. Both data and corpora are read from [`records`].
//! 4. [`execution`] decides what happens next, as a pure state machine: which
//!    questions go out together, how a batch that failed is halved, when a
//!    worker is replaced, when to give up. The runner performs its effects.
//! 5. The prompt goes to a [`worker`], a child process that holds the model
//!    and the device. In it, [`inference`] decodes the whole batch with candle
//!    and sends each finished answer back at once; a model on a server is
//!    asked by [`remote`].
//! 6. The answer is appended to the journal ([`artifacts`]) and fsynced. From
//!    this moment it is never lost and never asked for again.
//! 7. [`metrics`] scores what was answered, and only that; `predictions.json`
//!    and `results.json` are rendered; the state becomes `complete`.
//! 8. [`analysis`] sets experiments side by side, and [`statistics`] says which of
//!    them really differ.
//! 9. When something failed, `error.log` says what, and [`errortrace`] what it
//!    means and what to change; [`diagnosis`] reads the experiment's logs for
//!    it and groups the failures of a study.
//!
//! Where a cluster is to do this, [`cluster`] hands the same work to Slurm in
//! tasks that share the study's directory.
//!
//! Whoever would rather look in a browser or from a script asks `server`, which
//! tells the same over HTTP.
//!
//! [`domain`] has the words that all rooms share. Imports point down only;
//! `tests/architecture.rs` holds the table.

pub mod agents;
pub mod analysis;
pub mod artifacts;
pub mod cli;
pub mod cluster;
pub mod datasets;
pub mod diagnosis;
pub mod domain;
pub mod errortrace;
pub mod execution;
pub mod hub;
pub mod index;
#[cfg(feature = "inference")]
pub mod inference;
pub mod metrics;
pub mod prompts;
pub mod records;
pub mod remote;
pub mod retrieval;
pub mod runner;
#[cfg(feature = "serve")]
pub mod server;
pub mod statistics;
pub mod study;
pub mod worker;
