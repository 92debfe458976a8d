use super::{
    app::App,
    page::{Page, Paging},
    problem::Problem,
};
use crate::{
    artifacts::{ExperimentDir, Health},
    domain::{Phase, Prediction},
    errortrace::Status,
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{cmp::Ordering, fs, path::Path as FilePath, sync::Arc};

/// What of a study's experiments is asked for.
#[derive(Debug, Deserialize)]
pub struct Selection {
    phase: Option<String>,
    /// Part of the name or of the error.
    q: Option<String>,
    sort: Option<String>,
    order: Option<String>,
    page: Option<usize>,
    per_page: Option<usize>,
}

pub async fn list(
    State(app): State<Arc<App>>,
    Path(study): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Page<Value>>, Problem> {
    app.read(move |app| {
        let path = app.place.study(&study)?;
        let health = app.look(&path)?;
        let mut found: Vec<&Health> = health
            .experiments
            .iter()
            .filter(|experiment| selection.wants(experiment))
            .collect();
        selection.sort(&mut found)?;
        let paging: Paging = selection.paging();
        let page = paging.of(found.into_iter())?;
        Ok(Json(Page {
            items: page
                .items
                .into_iter()
                .map(|health| row(&study, health))
                .collect(),
            page: page.page,
            per_page: page.per_page,
            total: page.total,
        }))
    })
    .await
}

impl Selection {
    fn paging(&self) -> Paging {
        Paging::new(self.page, self.per_page)
    }

    fn wants(&self, health: &Health) -> bool {
        let phase = match (&self.phase, health.phase) {
            (None, _) => true,
            (Some(wanted), _) if wanted == "interrupted" => health.interrupted,
            (Some(wanted), _) if wanted == "running" => health.owner.is_some(),
            (Some(wanted), Some(phase)) => wanted == phase.as_str(),
            (Some(_), None) => false,
        };
        let text = self.q.as_deref().unwrap_or_default().to_lowercase();
        let error = health.error.as_deref().unwrap_or_default();
        phase
            && (health.name.to_lowercase().contains(&text) || error.to_lowercase().contains(&text))
    }

    fn sort(&self, found: &mut [&Health]) -> Result<(), Problem> {
        let by: fn(&Health, &Health) -> Ordering = match self.sort.as_deref() {
            // As they come.
            None | Some("name") => |a, b| a.name.cmp(&b.name),
            Some("phase") => |a, b| a.phase.map(Phase::as_str).cmp(&b.phase.map(Phase::as_str)),
            Some("progress") => |a, b| {
                let share = |health: &Health| health.answered as f64 / health.total.max(1) as f64;
                share(a).total_cmp(&share(b))
            },
            Some("errors") => |a, b| a.failed_questions.cmp(&b.failed_questions),
            Some("updated") => |a, b| a.last_progress.cmp(&b.last_progress),
            Some(other) => {
                return Err(Problem::bad_request(format!(
                    "sort '{other}' is not known; use name, phase, progress, errors or updated"
                )));
            }
        };
        let descending = match self.order.as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(Problem::bad_request(format!(
                    "order '{other}' is not known; use asc or desc"
                )));
            }
        };
        // Stable, so that equals stay in the order of their names.
        found.sort_by(|a, b| if descending { by(b, a) } else { by(a, b) });
        Ok(())
    }
}

pub async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    app.read(move |app| {
        let (study, path) = app.place.experiment(app, &id)?;
        let health = crate::artifacts::examine(&ExperimentDir::new(&path), false)
            .ok_or_else(|| Problem::not_found(format!("there is no experiment '{id}'")))?;
        let mut answer = row(&study, &health);
        let lies: Vec<String> = health.lies.iter().map(ToString::to_string).collect();
        let size = |name: &str| fs::metadata(path.join(name)).ok().map(|file| file.len());
        answer["metadata"] = json_of(&path.join("metadata.json"));
        answer["state"] = json_of(&path.join("state.json"));
        answer["lies"] = lies.into();
        answer["next_step"] = health.what_resume_does.to_string().into();
        answer["advice"] = health.advice.into();
        answer["files"] = json!({
            "experiment.log": size("experiment.log"),
            "error.log": size("error.log"),
            "predictions.json": size("predictions.json"),
        });
        Ok(Json(answer))
    })
    .await
}

/// Which predictions of an experiment are asked for.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// Only questions without an answer.
    #[serde(default)]
    failed: bool,
    /// Part of the question or of the answer.
    q: Option<String>,
    page: Option<usize>,
    per_page: Option<usize>,
}

pub async fn predictions(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Prediction>>, Problem> {
    app.read(move |app| {
        let (_, path) = app.place.experiment(app, &id)?;
        let dir = ExperimentDir::new(&path);
        // The journal is the truth while it runs; `predictions.json` has the
        // scores, and is all that older directories have.
        let mut records = dir.records().map_err(Problem::internal)?.best;
        if let Some(file) = dir.predictions().map_err(Problem::internal)? {
            for (idx, record) in file.best() {
                let known = records.get(&idx);
                if known.is_none_or(|known| known.is_answered() == record.is_answered()) {
                    records.insert(idx, record);
                }
            }
        }
        let text = wanted.q.as_deref().unwrap_or_default().to_lowercase();
        let found: Vec<Prediction> = records
            .into_values()
            .filter(|record| !wanted.failed || !record.is_answered())
            .filter(|record| {
                record.question.to_lowercase().contains(&text)
                    || record.prediction.to_lowercase().contains(&text)
            })
            .collect();
        let page = Paging::new(wanted.page, wanted.per_page).of(found.into_iter())?;
        Ok(Json(page))
    })
    .await
}

/// How an experiment stands, for consumers who know four words.
pub fn status(health: &Health) -> Status {
    match health.phase {
        Some(Phase::Complete) => Status::Completed,
        Some(Phase::Failed) => Status::Failed,
        _ if health.owner.is_some() => Status::Running,
        _ if health.interrupted => Status::Cancelled,
        // Its process died without a word.
        _ => Status::Failed,
    }
}

/// An experiment as a row of a table.
fn row(study: &str, health: &Health) -> Value {
    let results = json_of(&health.path.join("results.json"));
    let metadata = json_of(&health.path.join("metadata.json"));
    let mut metrics = Map::new();
    if let Some(Value::Object(known)) = results.get("metrics") {
        metrics.extend(
            known
                .iter()
                .filter(|(_, value)| value.is_number())
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    let spec = &metadata["spec"];
    let model = match (&spec["model"]["provider"], &spec["model"]["name"]) {
        (Value::String(provider), Value::String(name)) => Some(format!("{provider}:{name}")),
        _ => None,
    };
    json!({
        "id": format!("{study}/{}", health.name),
        "study": study,
        "name": health.name,
        "phase": health.phase.map(Phase::as_str),
        "status": status(health),
        "interrupted": health.interrupted,
        "live": health.owner.is_some(),
        "answered": health.answered,
        "total": health.total,
        "failed_questions": health.failed_questions,
        "failure_class": health.failure_class,
        "error": health.error,
        "last_progress": health.last_progress,
        "owner": health.owner,
        "attempt": health.attempt,
        "metrics": metrics,
        "model": model,
        "quantization": spec["quantization"],
        "dataset": spec["dataset"]["name"],
        "prompt": spec["prompt"]["name"],
        "retriever": spec["retriever"]["name"],
        "top_k": spec["top_k"],
    })
}

/// The file's content; null when there is none that can be read.
fn json_of(path: &FilePath) -> Value {
    fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
