//! What Prometheus scrapes: how the studies stand, and how this server fares.

use super::{app::App, problem::Problem};
use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStudy {
    study: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    study: String,
    state: &'static str,
}

/// Requests so far.
pub struct Requests {
    count: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
    pub streams: Gauge,
    /// Only `metrics` reads it.
    registry: Mutex<Registry>,
}

fn seconds() -> Histogram {
    // A millisecond to eight seconds.
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

impl Requests {
    pub fn new() -> Self {
        let count = Family::<Answered, Counter>::default();
        let seconds = Family::<Asked, Histogram>::new_with_constructor(seconds);
        let streams = Gauge::default();
        let mut registry = Registry::with_prefix("ragicamp");
        registry.register("http_requests", "Requests answered", count.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time to the answer's head",
            seconds.clone(),
        );
        registry.register(
            "event_streams",
            "Streams of events that are open",
            streams.clone(),
        );
        Self {
            count,
            seconds,
            streams,
            registry: Mutex::new(registry),
        }
    }
}

/// Counts requests by the route they took, never by what they named.
pub async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let requests = &app.requests;
    let asked = Asked { path: path.clone() };
    requests
        .seconds
        .get_or_create(&asked)
        .observe(begun.elapsed().as_secs_f64());
    let status = response.status().as_u16();
    requests
        .count
        .get_or_create(&Answered { path, status })
        .inc();
    response
}

/// `/metrics`.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, content_type = "application/openmetrics-text", body = String), Problem)
)]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let text = app
        .read(|app| {
            let mut studies = Registry::with_prefix("ragicamp");
            studies.register_collector(Box::new(StudyGauges::of(app)?));
            let mut text = String::new();
            let requests = app.requests.registry.lock();
            encode(&mut text, &requests.unwrap_or_else(PoisonError::into_inner))
                .map_err(Problem::internal)?;
            // Each registry ends its text; two make one.
            text.truncate(text.trim_end_matches("# EOF\n").len());
            encode(&mut text, &studies).map_err(Problem::internal)?;
            Ok(text)
        })
        .await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// How the studies stand at this moment.
#[derive(Debug)]
struct StudyGauges {
    experiments: Vec<(OfState, i64)>,
    answered: Vec<(OfStudy, i64)>,
    lost: Vec<(OfStudy, i64)>,
}

impl StudyGauges {
    fn of(app: &Arc<App>) -> Result<Self, Problem> {
        let mut gauges = Self {
            experiments: Vec::new(),
            answered: Vec::new(),
            lost: Vec::new(),
        };
        for (study, path) in app.place.studies()? {
            let health = app.look(&path)?;
            for (state, count) in super::studies::Counts::of(&health).named() {
                let labels = OfState {
                    study: study.clone(),
                    state,
                };
                gauges.experiments.push((labels, count as i64));
            }
            let sum = |of: fn(&crate::artifacts::Health) -> usize| {
                health.experiments.iter().map(of).sum::<usize>() as i64
            };
            let labels = OfStudy { study };
            gauges
                .answered
                .push((labels.clone(), sum(|health| health.answered)));
            gauges
                .lost
                .push((labels, sum(|health| health.failed_questions)));
        }
        Ok(gauges)
    }
}

impl Collector for StudyGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor(
            "experiments",
            "Experiments by how they stand",
            None,
            kind,
        )?;
        for (labels, value) in &self.experiments {
            ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
        }
        for (name, help, values) in [
            (
                "questions_answered",
                "Questions with an answer",
                &self.answered,
            ),
            (
                "questions_lost",
                "Questions tried without an answer",
                &self.lost,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in values {
                ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}
