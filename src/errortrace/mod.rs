//! From any log to a cause, a class and advice.
//!
//! Bytes in, report out: nothing here opens a file or asks a clock. A log goes
//! through [`Extractor::feed`] in pieces of any size; [`Extractor::finish`]
//! gives a [`Report`] with deduplicated errors, the traceback that ended the
//! run, its root cause, and an [`Explanation`] in words. [`read`] does it in
//! one call. [`explain_failure`] does the same for a failure that never was a
//! log line.
//!
//! The way of a line: `extractor` finds lines that may matter (one vectorised
//! search over the block), `line` takes off what carriers put in front (ANSI
//! colours, ranks, Ray, Slurm), `header` reads the logger's part, `assembler`
//! puts lines of one stream together to an `Incident`, `group` counts equal
//! ones, `cause` says which incident started it, and `classify` looks it up
//! in the table of `rules`. `server` knows what is different about a model
//! behind somebody else's server.

mod advice;
mod assembler;
mod cause;
mod classify;
mod closing;
mod elastic;
mod exception;
mod explain;
mod extractor;
mod frame;
mod group;
mod header;
mod incident;
mod json;
mod key;
mod line;
mod logfmt;
mod native;
mod normalize;
mod own;
mod phase;
mod progress;
mod python;
mod report;
mod rules;
mod search;
mod secrets;
mod server;
mod timestamp;

#[cfg(test)]
mod tests;

pub use classify::{Confidence, ErrorClass};
pub use exception::{Link, Raised, Traceback};
pub use explain::{Context, Explanation, explain_failure, explain_missing_metrics};
pub use extractor::{Extractor, Limits};
pub use frame::Frame;
pub use group::Group;
pub use key::dedupe_key;
pub use own::{ErrorLog, parse_error_log};
pub use phase::ErrorPhase;
pub use report::{
    Contract, ContractError, ContractFrame, ContractTraceback, Report, RootCause, Status, Summary,
};
pub use secrets::mask_secrets;

/// Reads a whole log at once.
pub fn read(bytes: &[u8]) -> Report {
    let mut extractor = Extractor::new(Limits::default());
    extractor.feed(bytes);
    extractor.finish()
}
