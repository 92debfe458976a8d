use super::{app::App, problem::Problem};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path as FilePath,
    sync::Arc,
};

/// Bytes of a window, unless asked for otherwise, and at most.
const DEFAULT: u64 = 64 << 10;
const MOST: u64 = 1 << 20;

/// Which part of which log.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// `experiment.log` or `error.log`.
    file: Option<String>,
    /// The first byte; from the end when negative.
    from: Option<i64>,
    /// Bytes.
    length: Option<u64>,
    /// A line, from 1, to be in the middle; instead of `from`.
    line: Option<u64>,
}

/// A part of a log.
#[derive(Debug, Serialize)]
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

pub async fn log(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Window>, Problem> {
    app.read(move |app| {
        let (_, directory) = app.place.experiment(app, &id)?;
        let name = match wanted.file.as_deref() {
            None | Some("experiment.log") => "experiment.log",
            Some("error.log") => "error.log",
            Some(other) => {
                return Err(Problem::bad_request(format!(
                    "file '{other}' is not served; use experiment.log or error.log"
                )));
            }
        };
        let path = directory.join(name);
        if !app.place.holds(&path) {
            return Err(Problem::not_found(format!("'{id}' has no {name} yet")));
        }
        window(&path, name, &wanted)
            .map(Json)
            .map_err(Problem::internal)
    })
    .await
}

fn window(path: &FilePath, name: &str, wanted: &Wanted) -> io::Result<Window> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let length = wanted.length.unwrap_or(DEFAULT).clamp(1, MOST);
    let (start, mut first_line) = match (wanted.line, wanted.from) {
        (Some(line), _) => around(&mut file, line, length / 2)?,
        (None, Some(from)) if from < 0 => (size.saturating_sub(from.unsigned_abs()), None),
        (None, from) => {
            let from = from.unwrap_or(0).unsigned_abs().min(size);
            (from, (from == 0).then_some(1))
        }
    };
    let at_line = start == 0 || {
        file.seek(SeekFrom::Start(start - 1))?;
        let mut before = [0];
        file.read_exact(&mut before)?;
        before == *b"\n"
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
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
    if from == 0 {
        first_line = Some(1);
    }
    Ok(Window {
        file: name.to_owned(),
        from,
        to: from + bytes.len() as u64,
        size,
        first_line,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// The beginning of a line that is at most `before` bytes above line `line`,
/// and its number.
fn around(file: &mut File, line: u64, before: u64) -> io::Result<(u64, Option<u64>)> {
    let mut starts = std::collections::VecDeque::from([(0u64, 1u64)]);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut offset, mut number) = (0u64, 1u64);
    while number < line {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            break;
        }
        let mut used = block.len();
        for end in memchr::memchr_iter(b'\n', block) {
            number += 1;
            let start = offset + end as u64 + 1;
            starts.push_back((start, number));
            while starts.len() > 1 && start - starts[0].0 > before {
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
    let (start, number) = starts.front().copied().unwrap_or((0, 1));
    Ok((start, Some(number)))
}
