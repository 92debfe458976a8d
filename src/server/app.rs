use super::{
    ServeOptions, diagnoses::Diagnoses, events, experiments, failures, guard, place::Place,
    problem::Problem, studies, window,
};
use axum::{Router, middleware, routing::get};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, watch};

use crate::artifacts::{self, StudyHealth};

/// Requests that read files at one time; more wait.
const READERS: usize = 8;

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A look at a study serves all requests of this time, and of four times as
/// long as the look took: a study of 10,000 experiments is not looked at
/// again and again for a page that polls.
const FRESH: Duration = Duration::from_millis(500);

/// What all requests share.
pub struct App {
    pub place: Place,
    pub guard: guard::Guard,
    pub diagnoses: Diagnoses,
    looks: Mutex<HashMap<PathBuf, Look>>,
    readers: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

struct Look {
    health: Arc<StudyHealth>,
    until: Instant,
}

impl App {
    pub fn new(options: ServeOptions, address: SocketAddr) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            place: Place::new(&options.root)?,
            guard: guard::Guard::new(options.token, address, options.allowed_hosts),
            diagnoses: Diagnoses::default(),
            looks: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            stop: watch::Sender::new(false),
        }))
    }

    pub fn stop_sender(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }

    /// Hears `true` when the server is to end.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/api/studies", get(studies::list))
            .route("/api/studies/{study}", get(studies::one))
            .route("/api/studies/{study}/experiments", get(experiments::list))
            .route("/api/experiments/{id}", get(experiments::one))
            .route("/api/experiments/{id}/errors", get(failures::details))
            .route(
                "/api/experiments/{id}/predictions",
                get(experiments::predictions),
            )
            .route("/api/experiments/{id}/log", get(window::log))
            .route("/api/training/{job}/errors", get(failures::contract))
            .route("/api/training/local/{job}/errors", get(failures::contract))
            .route("/api/events", get(events::stream))
            .fallback(|| async { Problem::not_found("there is nothing at this path") })
            .method_not_allowed_fallback(|| async { Problem::read_only() })
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self),
                guard::check,
            ))
            .with_state(self)
    }

    /// How the study in `directory` stands, as of not long ago.
    pub fn look(&self, directory: &Path) -> Result<Arc<StudyHealth>, Problem> {
        let begun = Instant::now();
        {
            let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(look) = looks.get(directory).filter(|look| look.until > begun) {
                return Ok(Arc::clone(&look.health));
            }
        }
        let health = Arc::new(artifacts::scan(directory, false).map_err(Problem::internal)?);
        let look = Look {
            health: Arc::clone(&health),
            until: Instant::now() + FRESH.max(4 * begun.elapsed()),
        };
        self.looks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(directory.to_owned(), look);
        Ok(health)
    }

    /// Does something with files, away from the threads that answer.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = Arc::clone(self);
        let done = async move {
            let permit = Arc::clone(&app.readers)
                .acquire_owned()
                .await
                .map_err(Problem::internal)?;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work(&app)
            })
            .await
            .map_err(Problem::internal)?
        };
        tokio::time::timeout(TIMEOUT, done)
            .await
            .unwrap_or_else(|_| Err(Problem::too_slow()))
    }
}
