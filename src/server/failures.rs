use super::{
    app::App,
    asked::Named,
    experiments::status,
    jobs::{JobLog, JobRow},
    place::Job,
    problem::Problem,
};
use crate::{
    artifacts::{ExperimentDir, examine},
    diagnosis::{Source, markdown},
    errortrace::{self, Contract, ErrorClass, Status},
};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use std::{path::Path as FilePath, sync::Arc};
use utoipa::ToSchema;

/// The contract, with all that is known besides.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    #[serde(flatten)]
    contract: Contract,
    /// Subtype, root cause, the chain of exceptions with their frames, and per
    /// error its lines, times, ranks and class.
    details: Value,
}

/// What went wrong in an experiment or in a training job, in the shape that
/// existing consumers read.
#[utoipa::path(
    get, path = "/api/training/{job}/errors", tag = "training",
    params(("job" = String, Path, description = "`study/experiment` percent-encoded, an experiment's name where only one study has it, or a training job's id.")),
    responses((status = 200, body = Contract), Problem)
)]
pub async fn contract(
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Json<Contract>, Problem> {
    app.read(move |app| Ok(Json(Found::of(app, &id)?.contract(&id))))
        .await
}

/// The same under the path of local jobs.
#[utoipa::path(
    get, path = "/api/training/local/{job}/errors", tag = "training",
    params(("job" = String, Path, description = "As above.")),
    responses((status = 200, body = Contract), Problem)
)]
pub async fn local_contract(app: State<Arc<App>>, job: Named) -> Result<Json<Contract>, Problem> {
    contract(app, job).await
}

/// What went wrong in an experiment, in full.
#[utoipa::path(
    get, path = "/api/experiments/{id}/errors", tag = "experiments",
    params(("id" = String, Path, description = "As above; a training job's id too.")),
    responses((status = 200, body = Failure), Problem)
)]
pub async fn details(
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Json<Failure>, Problem> {
    app.read(move |app| {
        let found = Found::of(app, &id)?;
        Ok(Json(Failure {
            contract: found.contract(&id),
            details: found
                .source
                .as_ref()
                .map(|source| source.report.details())
                .unwrap_or_default(),
        }))
    })
    .await
}

/// A report of it to paste, as Markdown, with secrets masked.
#[utoipa::path(
    get, path = "/api/experiments/{id}/report", tag = "experiments",
    params(("id" = String, Path, description = "As above; a training job's id too.")),
    responses((status = 200, content_type = "text/markdown", body = String), Problem)
)]
pub async fn report(State(app): State<Arc<App>>, Named(id): Named) -> Result<Response, Problem> {
    let text = app
        .read(move |app| {
            Found::of(app, &id)?
                .source
                .map(|source| markdown(&source))
                .ok_or_else(|| Problem::not_found(format!("'{id}' has no log")))
        })
        .await?;
    Ok((
        [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")],
        text,
    )
        .into_response())
}

struct Found {
    /// None where there is no log.
    source: Option<Arc<Source>>,
    status: Status,
    summary: Option<String>,
}

impl Found {
    fn of(app: &Arc<App>, id: &str) -> Result<Self, Problem> {
        match app.place.job(app, id)? {
            Job::Experiment(path) => Self::experiment(app, &path),
            Job::Training(log, row) => Self::training(app, log, row),
        }
    }

    fn experiment(app: &Arc<App>, path: &FilePath) -> Result<Self, Problem> {
        let source = app.diagnoses.experiment(path)?;
        // Whether an owner lives is not in any log.
        let health = examine(&ExperimentDir::new(path), false)
            .ok_or_else(|| Problem::not_found("the experiment's directory is gone"))?;
        Ok(Self {
            status: status(&health),
            summary: source.summary.clone().or(health.error),
            source: Some(source),
        })
    }

    /// The database knows how a job stands; the log says why.
    fn training(app: &Arc<App>, log: Option<JobLog>, row: Option<JobRow>) -> Result<Self, Problem> {
        let source = log.map(|log| app.diagnoses.log(&log.0)).transpose()?;
        let said = source
            .as_ref()
            .map_or(Status::Running, |source| source.status);
        Ok(Self {
            status: row.as_ref().map_or(said, |row| row.status),
            summary: row
                .and_then(|row| row.error_message)
                .or_else(|| source.as_ref()?.summary.clone()),
            source,
        })
    }

    fn contract(&self, id: &str) -> Contract {
        let summary = self.summary.as_deref();
        if let Some(source) = &self.source {
            return source.report.contract(id, self.status, summary);
        }
        // Without a log the summary alone may tell what it was.
        let said = errortrace::read(summary.unwrap_or_default().as_bytes());
        let mut contract = said.contract(id, self.status, summary);
        contract.errors.clear();
        contract.traceback = None;
        contract.analysis = contract
            .analysis
            .filter(|analysis| analysis.error_type != ErrorClass::Unknown.as_str());
        contract
    }
}
