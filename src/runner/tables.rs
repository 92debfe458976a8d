use super::{lessons::Lessons, report::ExperimentReport};
use crate::{
    artifacts::{ArtifactError, ResultRow, StudyDir, SummaryEntry},
    domain::ExperimentSpec,
    study::Study,
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Renders what is derived from all experiments of a study: its summary and
/// its table of results. `reports`: what this run knows beyond the files.
///
/// # Errors
/// When they can not be written.
pub fn render_tables(
    study: &Study,
    dir: &StudyDir,
    reports: &[ExperimentReport],
) -> Result<(), ArtifactError> {
    let mut entries = Vec::new();
    let mut rows = Vec::new();
    let seen: HashMap<&str, &ExperimentReport> = reports
        .iter()
        .map(|report| (report.name.as_str(), report))
        .collect();
    // All experiments of the study, not only those of this run: others may
    // have been done before, or are being done beside it.
    for spec in &study.experiments {
        let experiment = dir.experiment(&spec.name);
        let Ok(Some(state)) = experiment.state() else {
            continue;
        };
        let results = experiment.results().ok().flatten();
        let report = seen.get(spec.name.as_str());
        let duration = results
            .as_ref()
            .map(|results| results.duration_seconds)
            .or(report.map(|report| report.seconds));
        let metrics = results
            .map(|results| results.metrics)
            .or(report.map(|report| report.metrics.clone()))
            .unwrap_or_default();
        entries.push(SummaryEntry {
            name: spec.name.clone(),
            status: state.phase,
            metrics: metrics.clone(),
            duration,
            error: state.error,
        });
        rows.push(ResultRow {
            experiment: spec.name.clone(),
            status: state.phase,
            fields: fields(spec),
            metrics,
        });
    }
    dir.write_summary(&study.name, &entries)?;
    dir.write_results_csv(&rows)
}

/// Keeps the batch sizes that were found to fit.
///
/// # Errors
/// When the manifest can not be written.
pub(super) fn keep_lessons(dir: &StudyDir, lessons: &Lessons) -> Result<(), ArtifactError> {
    let mut manifest = match dir.read_manifest() {
        Ok(Some(Value::Object(manifest))) => manifest,
        _ => Map::new(),
    };
    manifest.insert("batch_sizes".to_owned(), lessons.to_value());
    dir.write_manifest(&Value::Object(manifest))
}

fn fields(spec: &ExperimentSpec) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    [
        ("type", json!(spec.kind)),
        ("model", json!(spec.model.to_string())),
        ("quantization", json!(spec.quantization)),
        ("prompt", json!(spec.prompt.name)),
        ("dataset", json!(spec.dataset.name)),
        (
            "retriever",
            json!(spec.retriever.as_ref().map(|retriever| &retriever.name)),
        ),
        ("top_k", json!(spec.top_k)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), text(value)))
    .collect()
}
