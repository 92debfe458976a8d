use super::{app::App, problem::Problem};
use crate::{
    artifacts::{Health, StudyDir, StudyHealth},
    diagnosis::{Cause, causes},
    domain::Phase,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{path::Path as FilePath, sync::Arc};

/// Names of experiments told per cause.
const NAMES_PER_CAUSE: usize = 50;

/// Experiments by how they stand.
#[derive(Debug, Default, Serialize)]
struct Counts {
    complete: usize,
    failed: usize,
    running: usize,
    interrupted: usize,
    waiting: usize,
    computing_metrics: usize,
}

pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let studies = app
        .read(|app| {
            app.place
                .studies()?
                .into_iter()
                .map(|(id, path)| Ok(study(&id, &path, &*app.look(&path)?)))
                .collect::<Result<Vec<_>, Problem>>()
        })
        .await?;
    Ok(Json(json!({ "studies": studies })))
}

pub async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    app.read(move |app| {
        let path = app.place.study(&id)?;
        let health = app.look(&path)?;
        let mut answer = study(&id, &path, &health);
        // Only what failed is read: its logs say why.
        let failed: Vec<_> = health
            .experiments
            .iter()
            .filter(|health| health.phase == Some(Phase::Failed) && app.place.holds(&health.path))
            .filter_map(|health| app.diagnoses.experiment(&health.path).ok())
            .collect();
        let causes: Vec<Value> = causes(failed.iter().map(|source| &**source))
            .into_iter()
            .map(cause)
            .collect();
        answer["causes"] = causes.into();
        Ok(Json(answer))
    })
    .await
}

fn cause(mut cause: Cause) -> Value {
    let experiments = cause.names.len();
    cause.names.truncate(NAMES_PER_CAUSE);
    let mut value = serde_json::to_value(cause).unwrap_or_default();
    value["experiment_count"] = experiments.into();
    value
}

fn study(id: &str, path: &FilePath, health: &StudyHealth) -> Value {
    let mut counts = Counts {
        waiting: health.not_started.len(),
        ..Counts::default()
    };
    for experiment in &health.experiments {
        *counts.of(experiment) += 1;
    }
    let sum = |of: fn(&Health) -> usize| -> usize { health.experiments.iter().map(of).sum() };
    let description = StudyDir::at(path)
        .read_manifest()
        .ok()
        .flatten()
        .and_then(|manifest| manifest.get("description")?.as_str().map(str::to_owned));
    json!({
        "id": id,
        "name": health.study,
        "description": description,
        "path": path,
        "experiments": health.experiments.len() + health.not_started.len(),
        "counts": counts,
        "answered": sum(|experiment| experiment.answered),
        "total": sum(|experiment| experiment.total),
        "failed_questions": sum(|experiment| experiment.failed_questions),
        "last_progress": health
            .experiments
            .iter()
            .filter_map(|experiment| experiment.last_progress.as_deref())
            .max(),
        "live": health.experiments.iter().any(|experiment| experiment.owner.is_some()),
    })
}

impl Counts {
    fn of(&mut self, health: &Health) -> &mut usize {
        match health.phase {
            Some(Phase::Complete) => &mut self.complete,
            Some(Phase::Failed) => &mut self.failed,
            _ if health.owner.is_some() => &mut self.running,
            _ if health.interrupted => &mut self.interrupted,
            Some(Phase::ComputingMetrics) => &mut self.computing_metrics,
            _ => &mut self.waiting,
        }
    }
}
