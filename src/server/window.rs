#![allow(unused_qualifications, reason = "utoipa writes out every name")]

use super::{
    app::App,
    asked::{Asked, Named},
    problem::Problem,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path as FilePath,
    sync::Arc,
};
use utoipa::{IntoParams, ToSchema};

/// Bytes of a window, unless asked for otherwise, and at most.
const DEFAULT: u64 = 64 << 10;
const MOST: u64 = 1 << 20;

/// Where a line is not known to begin nearby, so many bytes are looked through
/// for its number.
const COUNTED: u64 = 8 << 20;

/// The logs of an experiment.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
enum LogName {
    #[serde(rename = "experiment.log")]
    Experiment,
    #[serde(rename = "error.log")]
    Error,
}

impl LogName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment.log",
            Self::Error => "error.log",
        }
    }
}

/// Which part of which log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WantedWindow {
    #[param(inline)]
    file: Option<LogName>,
    /// The first byte; from the end when negative.
    #[param(minimum = -1_000_000_000_000_000_i64, maximum = 1_000_000_000_000_000_i64)]
    from: Option<i64>,
    /// Bytes.
    #[param(minimum = 1, maximum = 1048576)]
    length: Option<u64>,
    /// A line, from 1, to be in the middle; instead of `from`.
    #[param(minimum = 1, maximum = 1_000_000_000_000_i64)]
    line: Option<u64>,
}

/// A part of a log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Window {
    file: String,
    /// The first byte.
    from: u64,
    /// The byte behind the last.
    to: u64,
    /// The whole file's.
    size: u64,
    /// The number of the first line, where it is known.
    first_line: Option<u64>,
    /// Bytes that are no text are replaced.
    text: String,
}

/// A part of a log of an experiment.
#[utoipa::path(
    get, path = "/api/experiments/{id}/log", tag = "experiments",
    params(("id" = String, Path, description = "As above."), WantedWindow),
    responses((status = 200, body = Window), Problem)
)]
pub async fn log(
    State(app): State<Arc<App>>,
    Named(id): Named,
    Asked(wanted): Asked<WantedWindow>,
) -> Result<Json<Window>, Problem> {
    app.read(move |app| {
        let (_, directory) = app.place.experiment(app, &id)?;
        let name = wanted.file.unwrap_or(LogName::Experiment).as_str();
        if wanted.line == Some(0)
            || wanted
                .length
                .is_some_and(|length| length == 0 || length > MOST)
        {
            return Err(Problem::bad_request(format!(
                "line is from 1 on, length from 1 to {MOST}"
            )));
        }
        let path = directory.join(name);
        if app.place.open(&path).is_err() {
            return Err(Problem::not_found(format!("'{id}' has no {name} yet")));
        }
        window(app, &path, name, &wanted)
            .map(Json)
            .map_err(Problem::internal)
    })
    .await
}

fn window(
    app: &Arc<App>,
    path: &FilePath,
    name: &str,
    wanted: &WantedWindow,
) -> io::Result<Window> {
    let mut file = app.place.open(path)?;
    let size = file.metadata()?.len();
    let length = wanted.length.unwrap_or(DEFAULT);
    let start = match (wanted.line, wanted.from) {
        (Some(line), _) => {
            let near = app.diagnoses.place(path, |log| log.place_before_line(line));
            around(&mut file, near, line, length / 2)?
        }
        (None, Some(from)) if from < 0 => size.saturating_sub(from.unsigned_abs()),
        (None, from) => from.unwrap_or(0).unsigned_abs().min(size),
    };
    let at_line = start == 0 || {
        file.seek(SeekFrom::Start(start - 1))?;
        let mut before = [0];
        file.read_exact(&mut before)?;
        before == *b"\n"
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    (&mut file).take(length).read_to_end(&mut bytes)?;
    let mut from = start;
    // Begin at a line, and end with one, where one begins and ends inside.
    if !at_line
        && let Some(end) = memchr::memchr(b'\n', &bytes)
        && end + 1 < bytes.len()
    {
        bytes.drain(..=end);
        from += end as u64 + 1;
    }
    if from + (bytes.len() as u64) < size
        && let Some(end) = memchr::memrchr(b'\n', &bytes)
    {
        bytes.truncate(end + 1);
    }
    let near = app.diagnoses.place(path, |log| log.line_before_byte(from));
    let first_line = number_at(&mut file, near, from)?;
    Ok(Window {
        file: name.to_owned(),
        from,
        to: from + bytes.len() as u64,
        size,
        first_line,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// The beginning of a line that is at most `before` bytes above line `line`.
/// `near` is where an earlier line begins, and its number.
fn around(file: &mut File, near: (u64, u64), line: u64, before: u64) -> io::Result<u64> {
    let (mut offset, mut number) = near;
    file.seek(SeekFrom::Start(offset))?;
    let mut starts = std::collections::VecDeque::from([offset]);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    while number < line {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            break;
        }
        let mut used = block.len();
        for end in memchr::memchr_iter(b'\n', block) {
            number += 1;
            let start = offset + end as u64 + 1;
            starts.push_back(start);
            while starts.len() > 1 && start - starts[0] > before {
                starts.pop_front();
            }
            if number == line {
                used = end + 1;
                break;
            }
        }
        offset += used as u64;
        reader.consume(used);
    }
    Ok(starts.front().copied().unwrap_or(0))
}

/// The number of the line that holds byte `offset`; `None` when it would take
/// long to count.
fn number_at(file: &mut File, near: (u64, u64), offset: u64) -> io::Result<Option<u64>> {
    let (begin, number) = near;
    let Some(between) = offset.checked_sub(begin).filter(|bytes| *bytes <= COUNTED) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(between).read_to_end(&mut bytes)?;
    let ends = memchr::memchr_iter(b'\n', &bytes).count() as u64;
    Ok(Some(number + ends))
}
