use super::{app::App, experiments::status, place::Job, problem::Problem};
use crate::{
    artifacts::{ExperimentDir, examine},
    diagnosis::Source,
    errortrace::{Contract, Status},
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::Value;
use std::{path::Path as FilePath, sync::Arc};

/// `/api/training/{job}/errors`: the shape that existing consumers read.
pub async fn contract(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Contract>, Problem> {
    app.read(move |app| Ok(Json(read(app, &id)?.contract(&id))))
        .await
}

/// The same with all that is known besides: `details`.
pub async fn details(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    app.read(move |app| {
        let found = read(app, &id)?;
        let mut answer = serde_json::to_value(found.contract(&id)).map_err(Problem::internal)?;
        answer["details"] = found.source.report.details();
        Ok(Json(answer))
    })
    .await
}

struct Found {
    source: Arc<Source>,
    status: Status,
    summary: Option<String>,
}

impl Found {
    fn contract(&self, id: &str) -> Contract {
        self.source
            .report
            .contract(id, self.status, self.summary.as_deref())
    }
}

fn read(app: &App, id: &str) -> Result<Found, Problem> {
    match app.place.job(app, id)? {
        Job::Experiment(path) => experiment(app, &path),
        Job::Log(path) => {
            let source = app.diagnoses.log(&path)?;
            Ok(Found {
                status: source.status,
                summary: source.summary.clone(),
                source,
            })
        }
    }
}

fn experiment(app: &App, path: &FilePath) -> Result<Found, Problem> {
    let source = app.diagnoses.experiment(path)?;
    // Whether an owner lives is not in any log.
    let health = examine(&ExperimentDir::new(path), false)
        .ok_or_else(|| Problem::not_found("the experiment's directory is gone"))?;
    Ok(Found {
        status: status(&health),
        summary: source.summary.clone().or(health.error),
        source,
    })
}
