use super::{
    JobsDatabase, ServeOptions,
    diagnoses::Diagnoses,
    events, experiments, failures, guard, openapi, panel,
    place::Place,
    problem::Problem,
    prometheus::{self, Requests},
    studies, window,
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::artifacts::{self, StudyHealth};

/// Requests that read files at one time; more wait.
const READERS: usize = 8;

/// Streams of events at one time.
const STREAMS: usize = 64;

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A look at a study serves all requests of this time, and of four times as
/// long as the look took: a study of 10,000 experiments is not looked at
/// again and again for a page that polls.
const FRESH: Duration = Duration::from_millis(500);

/// A look that takes longer is had again behind the back of who asks: it is
/// answered with the last one, until that is twice as old as a fresh one may
/// be. Who comes later waits for the new one.
const SLOW: Duration = Duration::from_millis(20);

/// What all requests share.
pub struct App {
    pub place: Place,
    pub guard: guard::Guard,
    pub diagnoses: Diagnoses,
    pub jobs: Option<JobsDatabase>,
    pub requests: Requests,
    pub told: studies::Told,
    looks: Mutex<HashMap<PathBuf, Look>>,
    /// Who looks at a study holds its lock.
    renewals: Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>,
    readers: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

struct Look {
    health: Arc<StudyHealth>,
    made: Instant,
    took: Duration,
    /// Somebody has another one.
    renewing: bool,
}

impl Look {
    /// For so long it serves as it is.
    fn lasts(&self) -> Duration {
        FRESH.max(4 * self.took)
    }

    fn is_fresh(&self) -> bool {
        self.made.elapsed() < self.lasts()
    }

    /// Whether it serves while a new one is had.
    fn is_fair(&self) -> bool {
        self.took > SLOW && self.made.elapsed() < 2 * self.lasts()
    }
}

impl App {
    pub fn new(options: ServeOptions, address: SocketAddr) -> io::Result<Arc<Self>> {
        let place = Place::new(&options.root)?;
        let diagnoses = Diagnoses::within(place.bounds());
        Ok(Arc::new(Self {
            place,
            guard: guard::Guard::new(options.token, address, options.allowed_hosts),
            diagnoses,
            jobs: options.jobs,
            requests: Requests::new(),
            told: studies::Told::default(),
            looks: Mutex::default(),
            renewals: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
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

    /// Leave to hold a stream of events open.
    pub fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Problem::busy(format!("{STREAMS} streams of events are open already")))
    }

    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", get(panel::page))
            .route("/static/{file}", get(panel::file))
            .route("/healthz", get(openapi::healthz))
            .route("/metrics", get(prometheus::metrics))
            .route("/api/openapi.json", get(openapi::openapi))
            .route("/api/studies", get(studies::list))
            .route("/api/studies/{study}", get(studies::one))
            .route("/api/studies/{study}/experiments", get(experiments::list))
            .route("/api/experiments/{id}", get(experiments::one))
            .route("/api/experiments/{id}/errors", get(failures::details))
            .route("/api/experiments/{id}/report", get(failures::report))
            .route(
                "/api/experiments/{id}/predictions",
                get(experiments::predictions),
            )
            .route("/api/experiments/{id}/log", get(window::log))
            .route("/api/training/{job}/errors", get(failures::contract))
            .route(
                "/api/training/local/{job}/errors",
                get(failures::local_contract),
            )
            .route("/api/events", get(events::stream))
            .fallback(|| async { Problem::not_found("there is nothing at this path") })
            .method_not_allowed_fallback(|| async { Problem::read_only() })
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self),
                guard::check,
            ))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self),
                prometheus::count,
            ))
            .with_state(self)
    }

    /// How the study in `directory` stands, as of not long ago.
    pub fn look(self: &Arc<Self>, directory: &Path) -> Result<Arc<StudyHealth>, Problem> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = looks.get_mut(directory) {
            if look.is_fresh() {
                return Ok(Arc::clone(&look.health));
            }
            let is_fair = look.is_fair();
            if is_fair && !look.renewing {
                look.renewing = true;
                let (app, directory) = (Arc::clone(self), directory.to_owned());
                tokio::task::spawn_blocking(move || {
                    // Who asks next meets the error.
                    if app.renewed(&directory).is_err() {
                        let looks = app.looks.lock();
                        looks
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&directory);
                    }
                });
            }
            if is_fair {
                return Ok(Arc::clone(&look.health));
            }
        }
        drop(looks);
        self.renewed(directory)
    }

    /// A fresh look, which those who ask at one time have together.
    fn renewed(&self, directory: &Path) -> Result<Arc<StudyHealth>, Problem> {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(renewals.entry(directory.to_owned()).or_default());
        drop(renewals);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = looks.get(directory).filter(|look| look.is_fresh()) {
            return Ok(Arc::clone(&look.health));
        }
        drop(looks);
        self.renew(directory)
    }

    /// How the study in `directory` stands now.
    pub fn renew(&self, directory: &Path) -> Result<Arc<StudyHealth>, Problem> {
        let begun = Instant::now();
        let mut health = artifacts::scan(directory, false).map_err(Problem::internal)?;
        health
            .experiments
            .retain(|experiment| self.place.is_told_inside(&experiment.path));
        let health = Arc::new(health);
        let took = begun.elapsed();
        let look = Look {
            health: Arc::clone(&health),
            made: begun,
            took,
            renewing: false,
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
        work: impl FnOnce(&Arc<Self>) -> Result<T, Problem> + Send + 'static,
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
