//! What becomes of the lines that were put together, when they end.

use super::{
    elastic,
    header::{Header, Level},
    incident::{Incident, Kind},
    native, python,
};

/// What is known when an incident opens.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    pub line: u64,
    pub order: u64,
    pub last: u64,
    pub header: Header,
    pub rank: Option<u32>,
    pub count: u64,
    pub before: String,
    pub ignored: bool,
    pub thread: bool,
    /// The record just before was a warning.
    pub warned: bool,
    /// The line read last had a logger's header.
    pub headed: bool,
    /// The record's own lines, when a traceback follows them.
    pub preface: Vec<String>,
}

/// Slurm writes the time into the message.
pub(super) fn embedded_time(message: &str) -> Option<jiff::Timestamp> {
    let at = message.find("CANCELLED AT ")? + "CANCELLED AT ".len();
    super::timestamp::parse(message.as_bytes().get(at..)?)?.moment
}

/// A traceback that stands in a string.
pub(super) fn quoted_traceback(text: &str, meta: &Meta, title: &str) -> Option<Incident> {
    let mut lines = text
        .lines()
        .skip_while(|line| python::opening(line).is_none());
    let first = lines.next()?;
    let mut reader = python::Reader::new(&python::opening(first)?, first);
    for line in lines {
        if reader.push(line) == python::Step::Over {
            break;
        }
    }
    let mut meta = meta.clone();
    if python::opening(title).is_none() {
        meta.preface.push(title.to_owned());
    }
    from_python(reader, meta)
}

pub(super) fn blank(kind: Kind, meta: Meta) -> Incident {
    Incident {
        kind,
        level: match meta.header.level {
            Some(Level::Warning) => Level::Warning,
            _ => Level::Error,
        },
        exception_type: None,
        message: String::new(),
        detail: Vec::new(),
        preface: meta.preface,
        logged: meta.header.level.is_some() && meta.header.is_some() && meta.header.message > 0,
        phase: meta.header.phase,
        module: meta.header.module,
        time: meta.header.time,
        line: meta.line,
        order: meta.order,
        rank: meta.rank,
        count: meta.count.max(1),
        traceback: None,
        raw: String::new(),
        ignored: meta.ignored,
        thread: meta.thread,
        before: meta.before,
        children: Vec::new(),
    }
}

pub(super) fn from_python(mut reader: python::Reader, meta: Meta) -> Option<Incident> {
    if !reader.has_content() && reader.last_type().is_none() {
        return None;
    }
    let copies = reader.copies();
    let table = reader.take_table();
    let (traceback, raw) = reader.finish();
    let mut incident = blank(Kind::Traceback, meta);
    incident.children = elastic::parse(&table);
    incident.time = incident.time.or_else(|| {
        incident
            .children
            .iter()
            .find(|child| child.first)
            .and_then(|child| child.time)
    });
    let last = traceback.last()?;
    incident.exception_type = last.exception_type.clone();
    incident.message = if last.exception_type.is_none() && last.message.is_empty() {
        // The text stops before the exception; the record's words are left.
        incident
            .preface
            .first()
            .cloned()
            .unwrap_or_else(|| "traceback without its last line".to_owned())
    } else {
        last.message.clone()
    };
    incident.detail = last.notes.clone();
    incident.raw = raw;
    incident.count = incident.count.max(1) * copies;
    incident.traceback = Some(traceback);
    Some(incident)
}

pub(super) fn from_native(reader: native::Reader, meta: Meta) -> Incident {
    let kind = if reader.is_chain() {
        Kind::Chain
    } else {
        Kind::Crash
    };
    let mut incident = blank(kind, meta);
    let (exception_type, message, lines, traceback, raw) = reader.finish();
    incident.exception_type = exception_type;
    incident.message = message;
    incident.detail = lines;
    if kind == Kind::Chain {
        incident.detail.extend(
            traceback
                .exceptions
                .iter()
                .rev()
                .skip(1)
                .map(|cause| cause.message.clone()),
        );
    }
    incident.traceback = Some(traceback);
    incident.raw = raw;
    incident
}
