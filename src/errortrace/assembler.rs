//! Puts the lines of one writer together to incidents.

use super::{
    classify,
    closing::{Meta, blank, embedded_time, from_native, from_python, quoted_traceback},
    exception, frame,
    header::{self, Header, Level},
    incident::{Incident, Kind},
    json, native, python,
};

/// Lines of a record kept after the first.
const MAX_DETAIL: usize = 60;
/// Lines that a record may go on for without a header.
const MAX_RECORD: usize = 200;
/// Lines after which a finished traceback no longer waits for a connector.
const PARK: u64 = 300;

/// One line on its way: its number, rank, hidden count, and the text around.
pub(super) struct Input<'a> {
    pub number: u64,
    /// Its place among the lines that were looked at.
    pub order: u64,
    pub rank: Option<u32>,
    pub count: u64,
    pub text: &'a str,
    /// Whether it holds a word that may mean a failure.
    pub hot: bool,
    /// The text just before it.
    pub before: &'a dyn Fn() -> String,
}

#[derive(Debug, Clone)]
enum Open {
    Python(Box<python::Reader>, Meta),
    Native(Box<native::Reader>, Meta),
    Record {
        meta: Meta,
        kind: Kind,
        message: String,
        detail: Vec<String>,
        exception_type: Option<String>,
    },
}

/// The state of one writer.
#[derive(Debug, Clone, Default)]
pub(super) struct Assembler {
    open: Option<Open>,
    /// A finished traceback that a connector may still continue.
    parked: Option<(Box<python::Reader>, Meta)>,
    ignored_next: bool,
    thread_next: bool,
    warned_next: bool,
}

impl Assembler {
    /// Whether nothing is open, so that uninteresting lines may be skipped.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// Reads one line.
    pub(super) fn push(&mut self, input: &Input<'_>, out: &mut Vec<Incident>) {
        if let Some((_, meta)) = &self.parked
            && input.number > meta.last + PARK
        {
            self.flush_parked(out);
        }
        let header = header::parse(input.text.as_bytes());
        let message = input.text.get(header.message..).unwrap_or(input.text);
        if self.continues(input, &header, message, out) {
            return;
        }
        self.start(input, header, message, out);
    }

    /// Reads a record of a JSON logger.
    pub(super) fn push_json(
        &mut self,
        input: &Input<'_>,
        record: json::JsonRecord,
        out: &mut Vec<Incident>,
    ) {
        self.close(out);
        let level = record.header.level;
        let meta = self.meta(input, record.header);
        let mut lines = record.message.lines();
        let title = lines.next().unwrap_or_default().to_owned();
        let text = record
            .traceback
            .as_deref()
            .or(Some(record.message.as_str()))
            .filter(|text| text.contains("Traceback (most recent"));
        if let Some(incident) = text.and_then(|text| quoted_traceback(text, &meta, &title)) {
            out.push(incident);
            return;
        }
        if matches!(level, Some(Level::Error | Level::Warning)) && !title.trim().is_empty() {
            let mut incident = blank(Kind::Record, meta);
            match exception::headline(&title, false) {
                Some((name, message)) => {
                    incident.kind = Kind::Headline;
                    incident.exception_type = Some(name);
                    incident.message = message;
                }
                None => incident.message = title,
            }
            incident.detail = lines.take(MAX_DETAIL).map(str::to_owned).collect();
            out.push(incident);
        }
    }

    /// The number of the last line of what is open.
    pub(super) fn last_line(&self) -> Option<u64> {
        match self.open.as_ref()? {
            Open::Python(_, meta) | Open::Native(_, meta) | Open::Record { meta, .. } => {
                Some(meta.last)
            }
        }
    }

    /// Ends whatever is open.
    pub(super) fn finish(&mut self, out: &mut Vec<Incident>) {
        self.close(out);
        self.flush_parked(out);
    }

    /// Gives the line to what is open; false when it belongs to nothing.
    fn continues(
        &mut self,
        input: &Input<'_>,
        header: &Header,
        message: &str,
        out: &mut Vec<Incident>,
    ) -> bool {
        match &mut self.open {
            None => false,
            Some(Open::Python(reader, meta)) => {
                let foreign = match header.level {
                    Some(level) if header.is_some() => {
                        let same =
                            meta.header.level == Some(level) && meta.header.module == header.module;
                        !same
                    }
                    _ => false,
                };
                // A warning that carried it, and the program goes on.
                if header.level.is_some() && meta.warned && !reader.is_from_entry() {
                    meta.header.level = Some(Level::Warning);
                }
                if foreign {
                    if reader.is_closed() {
                        self.close(out);
                    } else if header.level == Some(Level::Error) && reader.has_content() {
                        // Another record: this traceback was cut, unless its
                        // writer shares the stream with others.
                        self.close(out);
                    } else if header.level == Some(Level::Warning) {
                        // Of another thread: the traceback goes on after it.
                        let mut aside = Self::default();
                        aside.start(input, header.clone(), message, out);
                        aside.finish(out);
                        return true;
                    }
                    return false;
                }
                // A new record of the same logger, after a finished traceback.
                if header.is_some()
                    && header.level.is_some()
                    && reader.is_closed()
                    && !message.starts_with([' ', '\t'])
                    && !message.trim().is_empty()
                    && python::connector(message).is_none()
                    && python::opening(message).is_none()
                {
                    self.close(out);
                    return false;
                }
                // Every line of it has a header: one without is another's.
                if meta.headed && !header.is_some() && begins(input, message) {
                    self.close(out);
                    return false;
                }
                let was_closed = reader.is_closed();
                if reader.push(message) == python::Step::Taken {
                    meta.last = input.number;
                    meta.headed = header.is_some();
                    if !was_closed && reader.is_closed() {
                        meta.count = meta.count.max(input.count);
                    }
                    if meta.header.time.is_none() {
                        meta.header.time = header.time;
                    }
                    return true;
                }
                self.close(out);
                false
            }
            Some(Open::Native(reader, meta)) => {
                let foreign = header.level.is_some() && header.structured;
                if !foreign && reader.push(message) {
                    meta.last = input.number;
                    return true;
                }
                self.close(out);
                false
            }
            Some(Open::Record {
                meta,
                kind,
                detail,
                message: title,
                exception_type,
            }) => {
                let logged = *kind == Kind::Record && exception_type.is_none();
                // A traceback or a chain of causes belongs to its record.
                if !header.is_some() || header.level == meta.header.level {
                    // A warning is often just the last line before a crash.
                    if logged
                        && meta.header.level == Some(Level::Error)
                        && let Some(opening) = python::opening(message)
                    {
                        let mut meta = std::mem::take(meta);
                        meta.preface.push(std::mem::take(title));
                        meta.preface.append(detail);
                        self.open = None;
                        self.open_python(&opening, message, meta);
                        return true;
                    }
                    if message.trim() == "Caused by:" && detail.len() <= 2 {
                        let mut meta = std::mem::take(meta);
                        meta.last = input.number;
                        let reader = native::Reader::chain(title);
                        self.open = Some(Open::Native(Box::new(reader), meta));
                        return true;
                    }
                }
                let indented = message.starts_with([' ', '\t']);
                let blank = message.trim().is_empty();
                let starts = header.is_some()
                    || lost_header(message).is_some()
                    || begins(input, message) && !(title.ends_with(':') && is_plain(message));
                let structured = meta.header.structured;
                let more = (meta.last - meta.line) < MAX_RECORD as u64;
                // Without a logger's header only what is indented goes on;
                // a blank line may come before `Caused by:`.
                if !starts
                    && more
                    && (indented || blank && detail.len() < 2 || structured && !blank)
                {
                    meta.last = input.number;
                    if !blank && detail.len() < MAX_DETAIL {
                        detail.push(message.trim_end().to_owned());
                    }
                    return true;
                }
                // `logger.warning(..., exc_info=True)`, or a crash after it.
                self.warned_next = meta.header.level == Some(Level::Warning)
                    && meta.header.structured
                    && python::opening(message).is_some();
                self.close(out);
                false
            }
        }
    }

    fn meta(&mut self, input: &Input<'_>, header: Header) -> Meta {
        Meta {
            line: input.number,
            order: input.order,
            last: input.number,
            header,
            rank: input.rank,
            count: input.count,
            before: (input.before)(),
            ignored: std::mem::take(&mut self.ignored_next),
            thread: std::mem::take(&mut self.thread_next),
            warned: std::mem::take(&mut self.warned_next),
            headed: false,
            preface: Vec::new(),
        }
    }

    /// Looks whether a line that belongs to nothing opens something.
    fn start(&mut self, input: &Input<'_>, header: Header, message: &str, out: &mut Vec<Incident>) {
        if !input.hot && header.level != Some(Level::Error) {
            return;
        }
        if let Some(link) = python::connector(message) {
            if let Some((mut reader, mut meta)) = self.parked.take() {
                reader.reopen(link, message);
                meta.last = input.number;
                self.open = Some(Open::Python(reader, meta));
            }
            return;
        }
        if self.announces(message) {
            return;
        }
        if let Some(opening) = python::opening(message) {
            self.flush_parked(out);
            let inner = opening.at.min(message.len());
            let before = message[..inner].trim().trim_end_matches([':', '+']).trim();
            let mut meta = self.meta(input, header);
            if !before.is_empty() && meta.header.level.is_some() {
                meta.preface.push(before.to_owned());
            }
            self.open_python(&opening, message, meta);
            return;
        }
        let calm = header.level == Some(Level::Calm);
        if let Some(found) = lost_header(message) {
            self.flush_parked(out);
            let meta = self.meta(input, header);
            let reader = python::Reader::headless(found, message);
            self.open = Some(Open::Python(Box::new(reader), meta));
            return;
        }
        if calm {
            return;
        }
        if let Some(reader) = native::Reader::open(message) {
            let meta = self.meta(input, header);
            self.open = Some(Open::Native(Box::new(reader), meta));
            return;
        }
        self.start_record(input, header, message);
    }

    fn start_record(&mut self, input: &Input<'_>, header: Header, message: &str) {
        let trimmed = message.trim();
        if trimmed.is_empty() {
            return;
        }
        let (trimmed, command) = without_command(trimmed);
        let typed = exception::headline(message, false)
            .or_else(|| exception::pytest(trimmed).map(|name| (name, String::new())));
        let (kind, level) = match header.level {
            Some(level) => (Kind::Record, level),
            None if native::is_death(message) => (Kind::Death, Level::Error),
            None if typed
                .as_ref()
                .is_some_and(|(name, _)| !name.ends_with("Warning")) =>
            {
                (Kind::Headline, Level::Error)
            }
            // `Error: what`, as Rust's main prints it, is a header's level.
            None if is_known(message) => (Kind::Line, Level::Error),
            None => return,
        };
        let (exception_type, text) = match typed {
            Some((name, text)) if level == Level::Error => (Some(name), text),
            _ => (None, trimmed.to_owned()),
        };
        let meta = self.meta(input, header);
        self.open = Some(Open::Record {
            meta,
            kind: if exception_type.is_some() {
                Kind::Headline
            } else {
                kind
            },
            message: text,
            detail: command.map(str::to_owned).into_iter().collect(),
            exception_type,
        });
    }

    /// Lines that only say whose traceback comes next.
    fn announces(&mut self, message: &str) -> bool {
        const THREADS: [&str; 4] = [
            "Exception in thread ",
            "Exception in callback ",
            "Task exception was never retrieved",
            "Exception in tkinter callback",
        ];
        const IGNORED: [&str; 4] = [
            "Exception ignored in",
            "Exception ignored while",
            "Error in atexit._run_exitfuncs",
            "Error in sys.excepthook",
        ];
        if IGNORED.iter().any(|start| message.starts_with(start)) {
            self.ignored_next = true;
            return true;
        }
        if THREADS.iter().any(|start| message.starts_with(start)) {
            self.thread_next = true;
            return true;
        }
        false
    }

    fn open_python(&mut self, opening: &python::Opening, line: &str, meta: Meta) {
        let reader = python::Reader::new(opening, line);
        self.open = Some(Open::Python(Box::new(reader), meta));
    }

    fn flush_parked(&mut self, out: &mut Vec<Incident>) {
        if let Some((reader, meta)) = self.parked.take() {
            out.extend(from_python(*reader, meta));
        }
    }

    fn close(&mut self, out: &mut Vec<Incident>) {
        match self.open.take() {
            None => {}
            Some(Open::Python(reader, meta)) => {
                self.flush_parked(out);
                self.parked = Some((reader, meta));
            }
            Some(Open::Native(reader, meta)) => out.push(from_native(*reader, meta)),
            Some(Open::Record {
                meta,
                kind,
                message,
                detail,
                exception_type,
            }) => {
                let mut incident = blank(kind, meta);
                incident.message = message;
                incident.detail = detail;
                if incident.message.is_empty() && !incident.detail.is_empty() {
                    incident.message = incident.detail.remove(0).trim().to_owned();
                }
                incident.exception_type = exception_type;
                incident.time = incident.time.or_else(|| embedded_time(&incident.message));
                out.push(incident);
            }
        }
    }
}

/// What a launcher says of the command that it prints before, and the command:
/// `['python', 'x.py'] exits with return code = -9`.
fn without_command(message: &str) -> (&str, Option<&str>) {
    match message.find("] exits with return code") {
        Some(end) if message.starts_with("['") => (&message[end + 2..], Some(&message[..=end])),
        _ => (message, None),
    }
}

/// The first frame of a traceback whose header is lost.
fn lost_header(message: &str) -> Option<frame::Frame> {
    message
        .starts_with("  File \"")
        .then(|| frame::python(message))?
}

/// Whether a line without a header begins something of its own.
fn begins(input: &Input<'_>, message: &str) -> bool {
    !is_plain(message) || input.hot && is_known(message)
}

/// Whether no shape of a failure is seen in a line.
fn is_plain(message: &str) -> bool {
    !native::is_death(message)
        && native::Reader::open(message).is_none()
        && exception::headline(message, false).is_none()
        && python::opening(message).is_none()
}

/// Whether a line without a level shows a failure all the same.
fn is_known(message: &str) -> bool {
    classify::find_alone(message).is_some() && !quoted(message)
}

/// A known failure's words inside of prose, source text or a table of
/// settings are not the failure, nor is one that was dealt with.
fn quoted(message: &str) -> bool {
    let trimmed = message.trim_start();
    trimmed.starts_with(['#', '"', '\'', '|', '*', '>'])
        || trimmed.starts_with("Ignore ")
        || trimmed.starts_with("ignor")
        || trimmed.starts_with("If ")
        || trimmed.starts_with("Note")
        || trimmed.starts_with("UserWarning")
        || message.contains("Decreasing batch size")
        || message.contains("Reducing batch size")
        || message.contains("Warning: ")
        || message.contains("warning: ")
}
