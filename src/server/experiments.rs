#![allow(unused_qualifications, reason = "utoipa writes out every name")]

use super::{
    app::App,
    asked::{Asked, Named, Nothing},
    page::{Page, Paging},
    problem::Problem,
};
use crate::{
    artifacts::{ExperimentDir, Health},
    domain::{FailureClass, Phase, Prediction},
    errortrace::Status,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    io::BufReader,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};
use utoipa::{IntoParams, ToSchema};

/// A log of more bytes is not parsed only to count its errors in a table.
const COUNTED: u64 = 4 << 20;

/// What of a study's experiments is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    #[param(inline)]
    phase: Option<Wanted>,
    /// Part of the name or of the error.
    q: Option<String>,
    #[param(inline)]
    sort: Option<Sort>,
    #[param(inline)]
    order: Option<Order>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<usize>,
    #[param(minimum = 1, maximum = 500)]
    per_page: Option<usize>,
}

/// How experiments stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Init,
    Generating,
    Generated,
    ComputingMetrics,
    Complete,
    /// It ended with an error, or its process died.
    Failed,
    /// A signal ended it.
    Interrupted,
    /// A live process is at it.
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Name,
    Phase,
    Progress,
    Errors,
    Updated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Asc,
    Desc,
}

/// An experiment as a row of a table.
#[derive(Debug, Serialize, ToSchema)]
pub struct Row {
    /// `study/name`; what paths call it.
    id: String,
    study: String,
    name: String,
    phase: Option<&'static str>,
    status: Status,
    /// A signal ended its last attempt.
    interrupted: bool,
    /// A live process is at it.
    live: bool,
    /// The process that was at it is gone without a word.
    died: bool,
    /// Questions with an answer.
    answered: usize,
    total: usize,
    failed_questions: usize,
    #[schema(value_type = Option<String>)]
    failure_class: Option<FailureClass>,
    /// The first line of its error.
    error: Option<String>,
    /// Different errors in its log; null when nobody counted them yet.
    error_count: Option<usize>,
    /// RFC 3339.
    last_progress: Option<String>,
    owner: Option<String>,
    attempt: u32,
    metrics: BTreeMap<String, f64>,
    model: Option<String>,
    #[schema(value_type = Option<String>)]
    quantization: Value,
    #[schema(value_type = Option<String>)]
    dataset: Value,
    #[schema(value_type = Option<String>)]
    prompt: Value,
    #[schema(value_type = Option<String>)]
    retriever: Value,
    #[schema(value_type = Option<usize>)]
    top_k: Value,
}

/// All that is known about an experiment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Experiment {
    #[serde(flatten)]
    row: Row,
    /// `metadata.json`.
    metadata: Value,
    /// `state.json`.
    state: Value,
    /// What its directory says and is not so.
    lies: Vec<String>,
    /// What `ragicamp resume` would do with it.
    next_step: String,
    advice: Option<String>,
    /// The bytes of its files; null where there is none.
    files: BTreeMap<&'static str, Option<u64>>,
    /// Its directory.
    path: String,
}

/// The experiments of a study.
#[utoipa::path(
    get, path = "/api/studies/{study}/experiments", tag = "studies",
    params(("study" = String, Path, description = "A study's id, percent-encoded."), Selection),
    responses((status = 200, body = Page<Row>), Problem)
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Named(study): Named,
    Asked(selection): Asked<Selection>,
) -> Result<Json<Page<Row>>, Problem> {
    app.read(move |app| {
        let path = app.place.study(&study)?;
        let health = app.look(&path)?;
        let mut found: Vec<&Health> = health
            .experiments
            .iter()
            .filter(|experiment| selection.wants(experiment))
            .collect();
        selection.sort(&mut found);
        let paging = Paging::new(selection.page, selection.per_page);
        let page = paging.of(found.into_iter())?;
        Ok(Json(page.map(|health| Row::of(app, &study, health))))
    })
    .await
}

impl Selection {
    fn wants(&self, health: &Health) -> bool {
        let phase = self.phase.is_none_or(|wanted| wanted.is(health));
        let text = self.q.as_deref().unwrap_or_default().to_lowercase();
        let error = health.error.as_deref().unwrap_or_default();
        phase
            && (health.name.to_lowercase().contains(&text) || error.to_lowercase().contains(&text))
    }

    fn sort(&self, found: &mut [&Health]) {
        let by: fn(&Health, &Health) -> Ordering = match self.sort.unwrap_or(Sort::Name) {
            Sort::Name => |a, b| a.name.cmp(&b.name),
            Sort::Phase => |a, b| a.phase.map(Phase::as_str).cmp(&b.phase.map(Phase::as_str)),
            Sort::Progress => |a, b| {
                let share = |health: &Health| health.answered as f64 / health.total.max(1) as f64;
                share(a).total_cmp(&share(b))
            },
            Sort::Errors => |a, b| {
                let lost = |health: &Health| (health.failed_questions, health.is_failed());
                lost(a).cmp(&lost(b))
            },
            Sort::Updated => |a, b| a.last_progress.cmp(&b.last_progress),
        };
        let descending = self.order == Some(Order::Desc);
        // Stable, so that equals stay in the order of their names.
        found.sort_by(|a, b| if descending { by(b, a) } else { by(a, b) });
    }
}

impl Wanted {
    fn is(self, health: &Health) -> bool {
        match self {
            Self::Init => health.phase == Some(Phase::Init),
            Self::Generating => health.phase == Some(Phase::Generating),
            Self::Generated => health.phase == Some(Phase::Generated),
            Self::ComputingMetrics => health.phase == Some(Phase::ComputingMetrics),
            Self::Complete => health.phase == Some(Phase::Complete),
            Self::Failed => health.phase == Some(Phase::Failed) || health.has_died(),
            Self::Interrupted => health.interrupted,
            Self::Running => health.owner.is_some(),
        }
    }
}

/// One experiment.
#[utoipa::path(
    get, path = "/api/experiments/{id}", tag = "experiments",
    params(("id" = String, Path, description = "`study/experiment` percent-encoded, or the experiment's name where only one study has it.")),
    responses((status = 200, body = Experiment), Problem)
)]
pub async fn one(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: Asked<Nothing>,
) -> Result<Json<Experiment>, Problem> {
    app.read(move |app| {
        let (study, path) = app.place.experiment(app, &id)?;
        let health = crate::artifacts::examine(&ExperimentDir::new(&path), false)
            .ok_or_else(|| Problem::not_found(format!("there is no experiment '{id}'")))?;
        let size = |name: &'static str| {
            let file = app.place.open(&path.join(name)).ok();
            let bytes = file.and_then(|file| Some(file.metadata().ok()?.len()));
            (name, bytes)
        };
        Ok(Json(Experiment {
            row: Row::of(app, &study, &health),
            metadata: json_of(app, &path.join("metadata.json")),
            state: json_of(app, &path.join("state.json")),
            lies: health.lies.iter().map(ToString::to_string).collect(),
            next_step: health.what_resume_does.to_string(),
            advice: health.advice,
            files: ["experiment.log", "error.log", "predictions.json"]
                .map(size)
                .into(),
            path: path.display().to_string(),
        }))
    })
    .await
}

/// Which predictions of an experiment are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WantedPredictions {
    /// Only questions without an answer.
    #[serde(default)]
    failed: bool,
    /// Part of the question or of the answer.
    q: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<usize>,
    #[param(minimum = 1, maximum = 500)]
    per_page: Option<usize>,
}

/// What an experiment answered: records of predictions.json.
#[utoipa::path(
    get, path = "/api/experiments/{id}/predictions", tag = "experiments",
    params(("id" = String, Path, description = "As above."), WantedPredictions),
    responses((status = 200, body = Page<Value>), Problem)
)]
pub async fn predictions(
    State(app): State<Arc<App>>,
    Named(id): Named,
    Asked(wanted): Asked<WantedPredictions>,
) -> Result<Json<Page<Prediction>>, Problem> {
    app.read(move |app| {
        let (_, path) = app.place.experiment(app, &id)?;
        let dir = ExperimentDir::new(&path);
        // The journal is the truth while it runs; `predictions.json` has the
        // scores, and is all that older directories have.
        let is_ours = |name: &str| {
            let file = path.join(name);
            !file.exists() || app.place.holds(&file)
        };
        if !is_ours("journal") || !is_ours("predictions.json") {
            return Err(Problem::not_found(format!("'{id}' has no predictions yet")));
        }
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

impl Row {
    fn of(app: &Arc<App>, study: &str, health: &Health) -> Self {
        let results = json_of(app, &health.path.join("results.json"));
        let metadata = json_of(app, &health.path.join("metadata.json"));
        let metrics = results["metrics"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        let spec = &metadata["spec"];
        let model = match (&spec["model"]["provider"], &spec["model"]["name"]) {
            (Value::String(provider), Value::String(name)) => Some(format!("{provider}:{name}")),
            _ => None,
        };
        let text = |value: &Value| value.as_str().map_or(Value::Null, Into::into);
        Self {
            id: format!("{study}/{}", health.name),
            study: study.to_owned(),
            name: health.name.clone(),
            phase: health.phase.map(Phase::as_str),
            status: status(health),
            interrupted: health.interrupted,
            live: health.owner.is_some(),
            died: health.has_died(),
            answered: health.answered,
            total: health.total,
            failed_questions: health.failed_questions,
            failure_class: health.failure_class,
            error: health.error.clone(),
            error_count: error_count(app, &health.path),
            last_progress: health.last_progress.clone(),
            owner: health.owner.clone(),
            attempt: health.attempt,
            metrics,
            model,
            quantization: text(&spec["quantization"]),
            dataset: text(&spec["dataset"]["name"]),
            prompt: text(&spec["prompt"]["name"]),
            retriever: text(&spec["retriever"]["name"]),
            top_k: spec["top_k"].as_u64().map_or(Value::Null, Into::into),
        }
    }
}

/// Different errors in the logs of the experiment in `directory`.
fn error_count(app: &Arc<App>, directory: &FilePath) -> Option<usize> {
    let log: PathBuf = directory.join("experiment.log");
    let bytes = log.metadata().map_or(0, |file| file.len());
    let source = if bytes <= COUNTED && app.place.holds(directory) {
        app.diagnoses.experiment(directory).ok()
    } else {
        app.diagnoses.known(&log)
    };
    source.map(|source| source.report.errors().count())
}

/// The file's content; null when there is none that can be read.
fn json_of(app: &App, path: &FilePath) -> Value {
    app.place
        .open(path)
        .ok()
        .and_then(|file| serde_json::from_reader(BufReader::new(file)).ok())
        .unwrap_or_default()
}
