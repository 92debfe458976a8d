#![allow(unused_qualifications, reason = "utoipa writes out every name")]

use super::{app::App, asked::Asked, problem::Problem};
use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use utoipa::IntoParams;

/// The files are looked at so often.
const POLL: Duration = Duration::from_millis(500);

/// New studies are looked for once in so many looks.
const LOOKS_PER_SEARCH: u32 = 20;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// Read of one file in one look.
const BLOCK: u64 = 256 << 10;

/// Events of which studies.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WantedEvents {
    /// Only this study's.
    study: Option<String>,
}

/// Server-sent events: each line that is appended to an `events.jsonl`, with
/// its study; from now on, or from behind `Last-Event-ID`.
#[utoipa::path(
    get, path = "/api/events", tag = "events",
    params(WantedEvents, ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this event.")),
    responses((status = 200, content_type = "text/event-stream", body = String), Problem)
)]
pub async fn stream(
    State(app): State<Arc<App>>,
    Asked(wanted): Asked<WantedEvents>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.rsplit_once(':'))
        .and_then(|(study, offset)| Some((study.to_owned(), offset.parse::<u64>().ok()?)));
    // Whoever asks for a study that is not there is told so.
    if let Some(study) = wanted.study.clone() {
        app.read(move |app| app.place.study(&study)).await?;
    }
    let permit = app.stream_permit()?;
    let (sender, receiver) = mpsc::channel(64);
    let mut stopping = app.stopping();
    tokio::spawn(async move {
        let _open = Open::new(permit, app.requests.streams.clone());
        let mut tails = Tails {
            wanted: wanted.study,
            last,
            offsets: HashMap::new(),
            looks: 0,
        };
        loop {
            let found = app
                .read(move |app| {
                    let events = tails.look(app);
                    Ok((tails, events))
                })
                .await;
            let Ok((back, events)) = found else {
                return;
            };
            tails = back;
            for event in events {
                // A reader that is slow holds up only its own stream.
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = sender.closed() => return,
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here")))
}

/// A stream that is open, counted.
struct Open {
    _permit: OwnedSemaphorePermit,
    streams: Gauge,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit, streams: Gauge) -> Self {
        streams.inc();
        Self {
            _permit: permit,
            streams,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.dec();
    }
}

/// How far each study's events were read.
struct Tails {
    wanted: Option<String>,
    last: Option<(String, u64)>,
    offsets: HashMap<String, (PathBuf, u64)>,
    looks: u32,
}

impl Tails {
    fn look(&mut self, app: &Arc<App>) -> Vec<Event> {
        if self.looks.is_multiple_of(LOOKS_PER_SEARCH) {
            self.find(app);
        }
        self.looks = self.looks.wrapping_add(1);
        let mut events = Vec::new();
        for (study, (path, offset)) in &mut self.offsets {
            // One that can not be read now is looked at again.
            let _ = read_on(app, study, path, offset, &mut events);
        }
        events
    }

    fn find(&mut self, app: &Arc<App>) {
        let first = self.looks == 0;
        for (study, path) in app.place.studies().unwrap_or_default() {
            if self.wanted.as_ref().is_some_and(|wanted| *wanted != study)
                || self.offsets.contains_key(&study)
            {
                continue;
            }
            let path = path.join("events.jsonl");
            let offset = match &self.last {
                Some((known, offset)) if *known == study => *offset,
                // What a new study has said already is news.
                _ if !first => 0,
                _ => path.metadata().map_or(0, |file| file.len()),
            };
            self.offsets.insert(study, (path, offset));
        }
    }
}

fn read_on(
    app: &App,
    study: &str,
    path: &Path,
    offset: &mut u64,
    events: &mut Vec<Event>,
) -> io::Result<()> {
    let mut file = app.place.open(path)?;
    let size = file.metadata()?.len();
    if size < *offset {
        // It was begun anew.
        *offset = 0;
    }
    if size == *offset {
        return Ok(());
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut bytes = Vec::new();
    file.take(BLOCK).read_to_end(&mut bytes)?;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', &bytes) {
        let line = &bytes[start..end];
        start = end + 1;
        let Ok(Value::Object(mut event)) = serde_json::from_slice(line) else {
            continue;
        };
        let kind = event
            .get("event")
            .and_then(Value::as_str)
            .unwrap_or("event");
        let kind = kind.to_owned();
        event.insert("study".to_owned(), study.into());
        events.push(
            Event::default()
                .event(kind)
                .id(format!("{study}:{}", *offset + start as u64))
                .data(Value::Object(event).to_string()),
        );
    }
    // A line without an end is not written yet, unless it is absurdly long.
    *offset += if start == 0 && bytes.len() as u64 == BLOCK {
        BLOCK
    } else {
        start as u64
    };
    Ok(())
}
