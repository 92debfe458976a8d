use super::{
    experiment::about, lessons::Lessons, provenance, report::ExperimentReport, resources::Resources,
};
use crate::{
    artifacts::{ExperimentDir, Result, ResultRow, StudyDir, SummaryEntry},
    study::Study,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// An experiment's line in the tables of its study.
pub struct Line {
    row: ResultRow,
    entry: SummaryEntry,
}

impl Line {
    /// What the experiment's directory tells, or else the run's report of it;
    /// `None` for one that has not begun. `about` says what it is.
    pub fn read(
        dir: &ExperimentDir,
        about: &Map<String, Value>,
        report: Option<&ExperimentReport>,
    ) -> Option<Self> {
        let state = dir.state().ok()??;
        let results = dir.results().ok().flatten();
        let duration = results
            .as_ref()
            .map(|results| results.duration_seconds)
            .or(report.map(|report| report.seconds));
        let metrics = results
            .map(|results| results.metrics)
            .or(report.map(|report| report.metrics.clone()))
            .unwrap_or_default();
        let name = dir.name();
        Some(Self {
            entry: SummaryEntry {
                name: name.clone(),
                status: state.phase,
                metrics: metrics.clone(),
                duration,
                error: state.error,
            },
            row: ResultRow {
                experiment: name,
                status: state.phase,
                fields: about
                    .iter()
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect(),
                metrics,
            },
        })
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Writes `study_summary.json` and `results.csv`.
///
/// # Errors
/// When one of them can not be written.
pub fn write_tables(dir: &StudyDir, study: &str, lines: impl Iterator<Item = Line>) -> Result<()> {
    let (rows, entries): (Vec<_>, Vec<_>) = lines.map(|line| (line.row, line.entry)).unzip();
    dir.write_summary(study, &entries)?;
    dir.write_results_csv(&rows)
}

/// Renders what is derived from all experiments of a study: its summary and
/// its table of results. `reports`: what this run knows beyond the files.
///
/// # Errors
/// When they can not be written.
pub fn render_tables(study: &Study, dir: &StudyDir, reports: &[ExperimentReport]) -> Result<()> {
    let seen: HashMap<&str, &ExperimentReport> = reports
        .iter()
        .map(|report| (report.name.as_str(), report))
        .collect();
    // All experiments of the study, not only those of this run: others may
    // have been done before, or are being done beside it.
    let lines = study.experiments.iter().filter_map(|spec| {
        let report = seen.get(spec.name.as_str()).copied();
        Line::read(&dir.experiment(&spec.name), &about(spec), report)
    });
    write_tables(dir, &study.name, lines)
}

/// Keeps what the whole study was made of and on.
///
/// # Errors
/// When the manifest can not be written.
pub fn complete_manifest(study: &Study, dir: &StudyDir) -> Result<()> {
    let Ok(Some(Value::Object(mut manifest))) = dir.read_manifest() else {
        return Ok(());
    };
    provenance::record(study, dir, &mut manifest);
    dir.write_manifest(&Value::Object(manifest))
}

/// Keeps the batch sizes that were found to fit, and where the data is from.
///
/// # Errors
/// When the manifest can not be written.
pub fn update_manifest(dir: &StudyDir, lessons: &Lessons, resources: &Resources) -> Result<()> {
    let mut manifest = match dir.read_manifest() {
        Ok(Some(Value::Object(manifest))) => manifest,
        _ => Map::new(),
    };
    manifest.insert("batch_sizes".to_owned(), lessons.to_value());
    resources.record(&mut manifest);
    dir.write_manifest(&Value::Object(manifest))
}
