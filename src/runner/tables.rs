use super::{
    experiment::about, lessons::Lessons, provenance, report::ExperimentReport, resources::Resources,
};
use crate::{
    artifacts::{ExperimentDir, Result, StudyDir, TableRow, Tables},
    domain::{ExperimentSpec, Phase},
    study::Study,
};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What the tables say of an experiment: what its directory tells, or else the
/// run's report of it; `None` for one that has not begun. `about` says what it
/// is.
pub fn table_row(
    dir: &ExperimentDir,
    about: &Map<String, Value>,
    report: Option<&ExperimentReport>,
) -> Option<TableRow> {
    let state = dir.state().ok()??;
    let results = dir.results().ok().flatten();
    Some(TableRow {
        experiment: dir.name(),
        status: state.phase,
        fields: about
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        duration: results
            .as_ref()
            .map(|results| results.duration_seconds)
            .or(report.map(|report| report.seconds)),
        metrics: match state.phase {
            // Results that are there are of the time before it was extended.
            Phase::Failed => of_partial_answers(dir, report),
            _ => results
                .map(|results| results.metrics)
                .or(report.map(|report| report.metrics.clone()))
                .unwrap_or_default(),
        },
        error: state.error,
    })
}

/// What the answers of a failed experiment came to.
fn of_partial_answers(
    dir: &ExperimentDir,
    report: Option<&ExperimentReport>,
) -> Map<String, Value> {
    match report.filter(|report| !report.metrics.is_empty()) {
        Some(report) => report.metrics.clone(),
        None => {
            let file = dir.predictions().ok().flatten();
            file.map(|file| file.aggregate_metrics).unwrap_or_default()
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Renders what is derived from all experiments of a study: its summary and
/// its table of results. `specs` are those of its grid, in order; what else has
/// a directory follows, told by its own files: others may have been done
/// before, or are being done beside this run. `reports`: what this run knows
/// beyond the files.
///
/// # Errors
/// When the directory can not be listed, or a table not be written.
pub fn render_tables(
    dir: &StudyDir,
    study: &str,
    specs: &[ExperimentSpec],
    reports: &[ExperimentReport],
) -> Result<()> {
    let seen: HashMap<&str, &ExperimentReport> = reports
        .iter()
        .map(|report| (report.name.as_str(), report))
        .collect();
    let mut tables = Tables::new(study);
    for spec in specs {
        let report = seen.get(spec.name.as_str()).copied();
        let row = table_row(&dir.experiment(&spec.name), &about(spec), report);
        row.into_iter().for_each(|row| tables.add(row));
    }
    let of_grid: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for name in dir.experiments()? {
        if of_grid.contains(name.as_str()) {
            continue;
        }
        let experiment = dir.experiment(&name);
        let results = experiment.results().ok().flatten();
        let about = results.map(|results| results.metadata).unwrap_or_default();
        let row = table_row(&experiment, &about, None);
        row.into_iter().for_each(|row| tables.add(row));
    }
    dir.write_tables(&tables)
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
    // Another run may have learned beside this one.
    let mut known = Lessons::from_value(manifest.get("batch_sizes"));
    known.learn_from(lessons);
    manifest.insert("batch_sizes".to_owned(), known.to_value());
    resources.record(&mut manifest);
    dir.write_manifest(&Value::Object(manifest))
}
