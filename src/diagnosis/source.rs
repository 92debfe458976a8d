//! What a path is, and what its logs say.

use super::{Bounds, DiagnosisError, growing_log::GrowingLog};
use crate::{
    artifacts::{ExperimentDir, LeaseOptions, Liveness, parse_time},
    errortrace::{
        Context, ErrorPhase, Extractor, Limits, Report, Status, explain_failure,
        explain_missing_metrics, parse_error_log,
    },
};
use serde_json::Value;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// One log or experiment, read.
#[derive(Debug, Clone)]
pub struct Source {
    /// How people call it.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// The error in one line, where the state says it.
    pub summary: Option<String>,
    /// What its log says.
    pub report: Report,
}

impl Source {
    /// Reads a log from `reader` to its end.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn of_reader(name: &str, reader: &mut dyn Read) -> io::Result<Self> {
        let mut extractor = Extractor::new(Limits::default());
        feed(reader, &mut extractor)?;
        Ok(Self::of_report(name.to_owned(), extractor.finish()))
    }

    /// A log that stands by itself: it failed when it says so.
    pub fn of_report(name: String, report: Report) -> Self {
        Self {
            name,
            status: if report.has_failed() {
                Status::Failed
            } else {
                Status::Completed
            },
            summary: None,
            report,
        }
    }

    /// `experiment.log`, which `log` reads, `error.log` and `state.json` of
    /// the experiment in `directory` together.
    ///
    /// # Errors
    /// When a file is there and can not be read.
    pub fn of_experiment(directory: &Path, log: &mut GrowingLog) -> Result<Self, DiagnosisError> {
        let bounds = log.bounds().clone();
        let text_of = |name: &str| text_of(&bounds, &directory.join(name));
        let error_text = text_of("error.log");
        let error_log = error_text.as_deref().and_then(parse_error_log);
        let state: Option<Value> =
            text_of("state.json").and_then(|text| serde_json::from_str(&text).ok());
        let field = |name: &str| state.as_ref().and_then(|state| state.get(name));
        let phase = field("phase").and_then(Value::as_str).unwrap_or("");
        let interrupted = field("interrupted").and_then(Value::as_bool) == Some(true);
        // Whom it belongs to tells how it stands: a process that died says nothing.
        let owner = ExperimentDir::new(directory)
            .owner(&LeaseOptions::default())
            .ok()
            .flatten();
        let status = match phase {
            "complete" => Status::Completed,
            "failed" => Status::Failed,
            _ if matches!(owner, Some((_, Liveness::Alive))) => Status::Running,
            _ if interrupted => Status::Cancelled,
            _ => Status::Failed,
        };
        let begun = owner.and_then(|(lease, _)| parse_time(&lease.acquired_at));
        let mut context = error_log
            .as_ref()
            .map(|log| log.context.clone())
            .unwrap_or_default();
        context.phase = Some(ErrorPhase::Evaluation);
        let path = log.path().to_owned();
        let mut report = log.report(&context).map_err(DiagnosisError::io(&path))?;
        if !report.has_failed()
            && let Some(text) = &error_text
        {
            let mut extractor = Extractor::new(Limits::default());
            extractor.set_context(context.clone());
            extractor.feed(text.as_bytes());
            report = extractor.finish();
        }
        let mut summary = field("error").and_then(Value::as_str).map(str::to_owned);
        if let Some(log) = error_log {
            if let Some(class) = log.failure_class {
                let detail = log.traceback.as_deref();
                let analysis = explain_failure(&log.message, class, detail, &context);
                report.settle_on(&log.message, analysis, begun);
            }
            summary = summary.or(Some(log.message));
        } else if status == Status::Failed
            && phase == "computing_metrics"
            && let Some(error) = &summary
        {
            let analysis = explain_missing_metrics(error, &context);
            report.settle_on(error, analysis, begun);
        }
        Ok(Source {
            name: name_of(directory),
            status,
            summary,
            report,
        })
    }
}

/// Reads what `path` is: a log, an experiment, or a directory of such; true
/// for the last, whose members are grouped.
///
/// # Errors
/// When there is nothing of the kind, or it can not be read.
pub fn load(path: &Path, sources: &mut Vec<Source>) -> Result<bool, DiagnosisError> {
    if path.is_file() {
        sources.push(load_file(path)?);
        return Ok(false);
    }
    if !path.is_dir() {
        return Err(DiagnosisError::Missing(path.to_owned()));
    }
    if is_experiment(path) {
        sources.push(load_experiment(path)?);
        return Ok(false);
    }
    let mut found = false;
    for entry in sorted(path)? {
        if entry.is_dir() && is_experiment(&entry) {
            sources.push(load_experiment(&entry)?);
            found = true;
        } else if entry
            .extension()
            .is_some_and(|extension| extension == "log")
        {
            sources.push(load_file(&entry)?);
            found = true;
        }
    }
    if !found {
        return Err(DiagnosisError::Empty(path.to_owned()));
    }
    Ok(true)
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>, DiagnosisError> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .map_err(DiagnosisError::io(directory))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    entries.sort();
    Ok(entries)
}

fn is_experiment(directory: &Path) -> bool {
    ["state.json", "error.log", "experiment.log"]
        .iter()
        .any(|name| directory.join(name).is_file())
}

fn feed(reader: &mut dyn Read, extractor: &mut Extractor) -> io::Result<()> {
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => extractor.feed(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A log, or an `error.log` of ours.
fn load_file(path: &Path) -> Result<Source, DiagnosisError> {
    if path.file_name().is_some_and(|name| name == "error.log")
        && let Some(directory) = path.parent()
        && directory.join("state.json").is_file()
    {
        return load_experiment(directory);
    }
    let report = GrowingLog::new(path)
        .report(&Context::default())
        .map_err(DiagnosisError::io(path))?;
    Ok(Source::of_report(path.display().to_string(), report))
}

fn load_experiment(directory: &Path) -> Result<Source, DiagnosisError> {
    let mut log = GrowingLog::new(directory.join("experiment.log"));
    Source::of_experiment(directory, &mut log)
}

/// The text of a file of a bounded size, `None` when there is none.
fn text_of(bounds: &Bounds, path: &Path) -> Option<String> {
    const MAX: u64 = 16 << 20;
    let mut bytes = Vec::new();
    bounds
        .open(path)
        .ok()?
        .take(MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
