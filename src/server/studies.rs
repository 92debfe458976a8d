use super::{
    app::App,
    asked::{Asked, Named, Nothing},
    problem::Problem,
};
use crate::{
    artifacts::{Health, StudyDir, StudyHealth},
    diagnosis::{Cause, causes},
    domain::Phase,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use utoipa::ToSchema;

/// Names of experiments told per cause.
const NAMES_PER_CAUSE: usize = 50;

/// Experiments by how they stand.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Counts {
    complete: usize,
    failed: usize,
    running: usize,
    interrupted: usize,
    waiting: usize,
    computing_metrics: usize,
}

/// A study, in short.
#[derive(Debug, Serialize, ToSchema)]
pub struct Study {
    /// Its directory below the one that is served; what paths call it.
    id: String,
    name: String,
    description: Option<String>,
    path: String,
    /// Experiments in its grid.
    experiments: usize,
    counts: Counts,
    /// Questions with an answer, over all experiments.
    answered: usize,
    total: usize,
    failed_questions: usize,
    /// RFC 3339.
    last_progress: Option<String>,
    /// Whether a live process is at it.
    live: bool,
}

/// All studies.
#[derive(Debug, Serialize, ToSchema)]
pub struct Studies {
    studies: Vec<Study>,
}

/// A study, and why experiments of it failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct StudyInFull {
    #[serde(flatten)]
    study: Study,
    /// The most frequent first.
    causes: Vec<StudyCause>,
}

/// One cause of failures.
#[derive(Debug, Serialize, ToSchema)]
pub struct StudyCause {
    /// Names at most 50 of its experiments.
    #[serde(flatten)]
    cause: Cause,
    /// How many there are.
    experiment_count: usize,
}

/// Every study below the directory that is served.
#[utoipa::path(get, path = "/api/studies", tag = "studies", responses((status = 200, body = Studies), Problem))]
pub async fn list(
    State(app): State<Arc<App>>,
    _: Asked<Nothing>,
) -> Result<Json<Studies>, Problem> {
    app.read(|app| {
        let studies = app
            .place
            .studies()?
            .into_iter()
            .map(|(id, path)| Ok(Study::of(&id, &path, &*app.look(&path)?)))
            .collect::<Result<Vec<_>, Problem>>()?;
        Ok(Json(Studies { studies }))
    })
    .await
}

/// One study, with the causes of its failures.
#[utoipa::path(
    get, path = "/api/studies/{study}", tag = "studies",
    params(("study" = String, Path, description = "A study's id, percent-encoded.")),
    responses((status = 200, body = StudyInFull), Problem)
)]
pub async fn one(
    State(app): State<Arc<App>>,
    Named(id): Named,
    _: Asked<Nothing>,
) -> Result<Body, Problem> {
    app.read(move |app| {
        let path = app.place.study(&id)?;
        let health = app.look(&path)?;
        if let Some(known) = app.told.of(&path, &health) {
            return Ok(known);
        }
        // Only what failed is read: its logs say why.
        let failed: Vec<_> = health
            .experiments
            .iter()
            .filter(|health| health.phase == Some(Phase::Failed) || health.has_died())
            .filter(|health| app.place.holds(&health.path))
            .filter_map(|health| app.diagnoses.experiment(&health.path).ok())
            .collect();
        let study = StudyInFull {
            study: Study::of(&id, &path, &health),
            causes: causes(failed.iter().map(|source| &**source))
                .into_iter()
                .map(StudyCause::of)
                .collect(),
        };
        let body = serde_json::to_vec(&study).map_err(Problem::internal)?;
        Ok(app.told.keep(path, health, body))
    })
    .await
}

/// What was told of studies, for as long as the look at them is the same.
#[derive(Default)]
pub struct Told(Mutex<HashMap<PathBuf, (Arc<StudyHealth>, Bytes)>>);

impl Told {
    fn of(&self, study: &FilePath, health: &Arc<StudyHealth>) -> Option<Body> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, body) = told.get(study)?;
        Arc::ptr_eq(known, health).then(|| Body(body.clone()))
    }

    fn keep(&self, study: PathBuf, health: Arc<StudyHealth>, body: Vec<u8>) -> Body {
        let body = Bytes::from(body);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(study, (health, body.clone()));
        Body(body)
    }
}

/// JSON that is written already.
pub struct Body(Bytes);

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

impl StudyCause {
    fn of(mut cause: Cause) -> Self {
        let experiment_count = cause.names.len();
        cause.names.truncate(NAMES_PER_CAUSE);
        Self {
            cause,
            experiment_count,
        }
    }
}

impl Study {
    pub fn of(id: &str, path: &FilePath, health: &StudyHealth) -> Self {
        let sum = |of: fn(&Health) -> usize| -> usize { health.experiments.iter().map(of).sum() };
        let description = StudyDir::at(path)
            .read_manifest()
            .ok()
            .flatten()
            .and_then(|manifest| manifest.get("description")?.as_str().map(str::to_owned));
        Self {
            id: id.to_owned(),
            name: health.study.clone(),
            description,
            path: path.display().to_string(),
            experiments: health.experiments.len() + health.not_started.len(),
            counts: Counts::of(health),
            answered: sum(|experiment| experiment.answered),
            total: sum(|experiment| experiment.total),
            failed_questions: sum(|experiment| experiment.failed_questions),
            last_progress: health
                .experiments
                .iter()
                .filter_map(|experiment| experiment.last_progress.clone())
                .max(),
            live: health
                .experiments
                .iter()
                .any(|experiment| experiment.owner.is_some()),
        }
    }
}

impl Counts {
    pub fn of(health: &StudyHealth) -> Self {
        let mut counts = Self {
            waiting: health.not_started.len(),
            ..Self::default()
        };
        for experiment in &health.experiments {
            *counts.place(experiment) += 1;
        }
        counts
    }

    /// Each count with its name.
    pub fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("complete", self.complete),
            ("failed", self.failed),
            ("running", self.running),
            ("interrupted", self.interrupted),
            ("waiting", self.waiting),
            ("computing_metrics", self.computing_metrics),
        ]
    }

    fn place(&mut self, health: &Health) -> &mut usize {
        match health.phase {
            Some(Phase::Complete) => &mut self.complete,
            Some(Phase::Failed) => &mut self.failed,
            _ if health.owner.is_some() => &mut self.running,
            _ if health.interrupted => &mut self.interrupted,
            _ if health.has_died() => &mut self.failed,
            Some(Phase::ComputingMetrics) => &mut self.computing_metrics,
            _ => &mut self.waiting,
        }
    }
}
