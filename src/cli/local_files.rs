//! Whether what a study names on this machine is there.

use super::{CliError, words::count};
use crate::{
    runner::Resources,
    study::{Diagnostic, LocalKind, LocalPath, Severity, Study},
};
use anyhow::anyhow;
use std::path::{Path, PathBuf};

/// Refuses a study that names files which are not here, all of them at once.
/// Models and datasets of the hub are not looked up.
///
/// # Errors
/// One line per file, exit code 2.
pub fn check(study: &Study, bases: &[PathBuf]) -> Result<(), CliError> {
    let missing = missing(&study.local_paths, bases, Severity::Error);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Err(CliError::usage(anyhow!(
        "{}\n{}; nothing was run",
        lines.join("\n"),
        count(lines.len(), "problem")
    )))
}

/// Says which files are not here; a run goes on without what needs them.
pub fn warn(study: &Study, bases: &[PathBuf]) {
    for missing in missing(&study.local_paths, bases, Severity::Warning) {
        eprintln!("{missing}");
    }
}

/// What is to be said of the paths that are not here, in the order of the file.
pub fn missing(paths: &[LocalPath], bases: &[PathBuf], severity: Severity) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = paths
        .iter()
        .filter_map(|path| {
            let (message, fix) = trouble(path, bases)?;
            Some(path.diagnostic(message, fix.map(str::to_owned), severity))
        })
        .collect();
    found.sort_by_key(|one| (one.line, one.column));
    // An anchor is named once, however many lists refer to it.
    found.dedup_by_key(|one| (one.line, one.column, one.message.clone()));
    found
}

/// What is wrong with a path, and what to do about it.
fn trouble(local: &LocalPath, bases: &[PathBuf]) -> Option<(String, Option<&'static str>)> {
    let places = places(&local.path, bases);
    match &local.kind {
        LocalKind::Dataset if places.iter().any(|place| place.is_file()) => None,
        LocalKind::Dataset => Some(match places.iter().find(|place| place.is_dir()) {
            Some(place) => (
                format!("'{}' is a directory", place.display()),
                Some("name a file in it"),
            ),
            None => (
                format!("there is no file {}", listed(&places)),
                Some("correct the path"),
            ),
        }),
        LocalKind::Corpus if places.iter().any(|place| place.exists()) => None,
        LocalKind::Corpus => Some((
            format!("there is no file or directory {}", listed(&places)),
            Some("correct the path"),
        )),
        // The sentence says what to do.
        LocalKind::Model(model) | LocalKind::Encoder(model) => Resources::new(bases.to_vec())
            .why_missing(model)
            .map(|sentence| (sentence, None)),
    }
}

/// Where a path is looked for; an absolute path is its own place.
fn places(path: &str, bases: &[PathBuf]) -> Vec<PathBuf> {
    let path = Path::new(path);
    if path.is_absolute() || bases.is_empty() {
        return vec![path.to_owned()];
    }
    bases.iter().map(|base| base.join(path)).collect()
}

/// The first two places: they are where people expect it.
fn listed(places: &[PathBuf]) -> String {
    let shown: Vec<String> = places
        .iter()
        .take(2)
        .map(|place| format!("'{}'", place.display()))
        .collect();
    shown.join(" or ")
}
