//! What a path on the command line is, and what its logs say.

use crate::errortrace::{
    ErrorPhase, Extractor, Limits, Report, Status, explain_failure, parse_error_log,
};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// One log or experiment, read.
pub(super) struct Source {
    /// How people call it.
    pub(super) name: String,
    /// How it stands.
    pub(super) status: Status,
    /// The error in one line, where the state says it.
    pub(super) summary: Option<String>,
    /// What its log says.
    pub(super) report: Report,
}

/// Reads what `path` is; true for a study, whose experiments are grouped.
pub(super) fn load(path: &Path, sources: &mut Vec<Source>) -> anyhow::Result<bool> {
    if path == Path::new("-") {
        let mut extractor = Extractor::new(Limits::default());
        feed(&mut io::stdin().lock(), &mut extractor).context("reading stdin")?;
        sources.push(from_log("stdin".to_owned(), extractor.finish()));
        return Ok(false);
    }
    let shown = path.display();
    if path.is_file() {
        sources.push(load_file(path)?);
        return Ok(false);
    }
    if !path.is_dir() {
        bail!("{shown} does not exist; give a log, an experiment's or a study's directory, or -");
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
        bail!("{shown} holds neither experiments (state.json, error.log) nor *.log files");
    }
    Ok(true)
}

fn sorted(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
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

/// Reads all of `reader`; the bytes read.
pub(super) fn feed(reader: &mut dyn Read, extractor: &mut Extractor) -> io::Result<u64> {
    let mut buffer = vec![0u8; 1 << 20];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return Ok(total);
        }
        total += read as u64;
        extractor.feed(&buffer[..read]);
    }
}

fn feed_file(path: &Path, extractor: &mut Extractor) -> anyhow::Result<()> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    feed(&mut file, extractor).with_context(|| format!("reading {}", path.display()))?;
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn from_log(name: String, report: Report) -> Source {
    Source {
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

/// A log, or an `error.log` of ours.
fn load_file(path: &Path) -> anyhow::Result<Source> {
    if path.file_name().is_some_and(|name| name == "error.log")
        && let Some(directory) = path.parent()
        && directory.join("state.json").is_file()
    {
        return load_experiment(directory);
    }
    let mut extractor = Extractor::new(Limits::default());
    feed_file(path, &mut extractor)?;
    Ok(from_log(path.display().to_string(), extractor.finish()))
}

/// The text of a file of a bounded size, `None` when there is none.
fn text_of(path: &Path) -> Option<String> {
    const MAX: u64 = 16 << 20;
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `experiment.log`, `error.log` and `state.json` together.
fn load_experiment(directory: &Path) -> anyhow::Result<Source> {
    let error_text = text_of(&directory.join("error.log"));
    let error_log = error_text.as_deref().and_then(parse_error_log);
    let state: Option<Value> =
        text_of(&directory.join("state.json")).and_then(|text| serde_json::from_str(&text).ok());
    let field = |name: &str| state.as_ref().and_then(|state| state.get(name));
    let phase = field("phase").and_then(Value::as_str).unwrap_or("");
    let interrupted = field("interrupted").and_then(Value::as_bool) == Some(true);
    let status = match phase {
        "complete" => Status::Completed,
        "failed" => Status::Failed,
        _ if interrupted => Status::Cancelled,
        "" if error_log.is_some() => Status::Failed,
        _ => Status::Running,
    };
    let mut context = error_log
        .as_ref()
        .map(|log| log.context.clone())
        .unwrap_or_default();
    context.phase = Some(ErrorPhase::Evaluation);
    let mut extractor = Extractor::new(Limits::default());
    extractor.set_context(context.clone());
    let log = directory.join("experiment.log");
    if log.is_file() {
        feed_file(&log, &mut extractor)?;
    }
    let mut report = extractor.finish();
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
            report.analysis = Some(explain_failure(
                &log.message,
                class,
                log.traceback.as_deref(),
                &context,
            ));
        }
        summary = summary.or(Some(log.message));
    }
    Ok(Source {
        name: name_of(directory),
        status,
        summary,
        report,
    })
}
