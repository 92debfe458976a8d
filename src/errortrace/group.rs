//! Equal errors, counted.

use super::{
    classify::ErrorClass,
    exception::Traceback,
    header::Level,
    incident::{Incident, Kind},
    key,
};
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};

/// Bytes of raw tracebacks that all groups may keep together.
const RAW_BUDGET: usize = 8 * 1024 * 1024;
/// Incidents kept of those that found no place, the latest ones.
const OVERFLOW: usize = 64;
/// Lines between a logged traceback and the interpreter's print of the same.
const ECHO_DISTANCE: u64 = 400;

/// Equal errors of one log.
#[derive(Debug, Clone)]
pub struct Group {
    /// The key: phase, readable start, hash.
    pub key: String,
    /// How many, hidden ones included.
    pub count: u64,
    /// Whether they are errors; otherwise warnings.
    pub is_error: bool,
    /// The log's own word for the phase.
    pub phase: Option<String>,
    /// Who logged it.
    pub module: Option<String>,
    /// The exception's type.
    pub exception_type: Option<String>,
    /// The latest one's `Type: message`.
    pub message: String,
    /// First time, where the log says it.
    pub first_seen: Option<Timestamp>,
    /// Last time, where the log says it.
    pub last_seen: Option<Timestamp>,
    /// Line numbers, from 1; bounded.
    pub lines: Vec<u64>,
    /// When each of `lines` was written, where the log says it.
    pub times: Vec<Option<Timestamp>>,
    /// Occurrences whose line number was dropped.
    pub lines_dropped: u64,
    /// Ranks that wrote it.
    pub ranks: Vec<u32>,
    /// Its class, on its own.
    pub class: ErrorClass,
    /// Its finer class, on its own.
    pub subtype: &'static str,
    /// The first one, with all that is known about it.
    pub(super) first: Incident,
}

impl Group {
    /// The traceback of the first one, where it has one.
    pub fn traceback(&self) -> Option<&Traceback> {
        self.first.traceback.as_ref()
    }
}

/// Every group of a log, bounded.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) groups: Vec<Group>,
    by_hash: HashMap<u64, usize>,
    max_groups: usize,
    max_lines: usize,
    raw_bytes: usize,
    overflow: VecDeque<Incident>,
    /// Incidents that found no place.
    pub(super) dropped: u64,
    /// The latest traceback with a type that is more than teardown.
    pub(super) last_typed: Option<Incident>,
    /// The latest traceback of any kind.
    pub(super) last_any: Option<Incident>,
}

impl Table {
    pub(super) fn new(max_groups: usize, max_lines: usize) -> Self {
        Self {
            groups: Vec::new(),
            by_hash: HashMap::new(),
            max_groups: max_groups.max(1),
            max_lines: max_lines.max(1),
            raw_bytes: 0,
            overflow: VecDeque::new(),
            dropped: 0,
            last_typed: None,
            last_any: None,
        }
    }

    /// Whether a new kind of error finds no place any more.
    pub(super) fn is_full(&self) -> bool {
        self.groups.len() >= self.max_groups
    }

    /// Counts an incident.
    pub(super) fn add(&mut self, mut incident: Incident) {
        self.remember_last(&incident);
        let headline = incident.headline();
        let source = incident.key_source();
        let hash = key::key_hash(incident.phase.as_deref(), &key::key_text(&source));
        if let Some(at) = self.by_hash.get(&hash) {
            let group = &mut self.groups[*at];
            if is_echo(group, &incident) {
                return;
            }
            count(group, &incident, headline, self.max_lines);
            return;
        }
        if self.is_full() {
            self.dropped += incident.count;
            incident.raw.clear();
            incident.before.clear();
            incident.traceback = None;
            incident.detail.truncate(2);
            incident.preface.truncate(2);
            if self.overflow.len() >= OVERFLOW {
                self.overflow.pop_front();
            }
            self.overflow.push_back(incident);
            return;
        }
        self.insert(incident, headline, hash);
    }

    fn insert(&mut self, mut incident: Incident, headline: String, hash: u64) {
        self.raw_bytes += incident.raw.len();
        if self.raw_bytes > RAW_BUDGET {
            incident.raw.clear();
            // What is shown and what started it are kept apart from this.
            incident.traceback = None;
            incident.detail.truncate(2);
            incident.preface.truncate(2);
        }
        self.by_hash.insert(hash, self.groups.len());
        self.groups.push(Group {
            key: key::dedupe_key(incident.phase.as_deref(), &incident.key_source()),
            count: incident.count,
            is_error: incident.level == Level::Error,
            phase: incident.phase.clone(),
            module: incident.module.clone(),
            exception_type: incident.exception_type.clone(),
            message: bounded(headline),
            first_seen: incident.time,
            last_seen: incident.time,
            lines: vec![incident.line],
            times: vec![incident.time],
            lines_dropped: 0,
            ranks: incident.rank.into_iter().collect(),
            // Looked up once, when the log is read.
            class: ErrorClass::Unknown,
            subtype: "unknown",
            first: incident,
        });
    }

    /// Gives the latest of those that found no place one after all.
    pub(super) fn settle(&mut self) {
        for incident in std::mem::take(&mut self.overflow) {
            self.dropped = self.dropped.saturating_sub(incident.count);
            let headline = incident.headline();
            let source = incident.key_source();
            let hash = key::key_hash(incident.phase.as_deref(), &key::key_text(&source));
            if let Some(at) = self.by_hash.get(&hash) {
                count(&mut self.groups[*at], &incident, headline, self.max_lines);
            } else {
                self.insert(incident, headline, hash);
            }
        }
    }

    fn remember_last(&mut self, incident: &Incident) {
        if incident.traceback.is_none() && incident.kind != Kind::Headline {
            return;
        }
        let later = |known: &Option<Incident>| {
            known
                .as_ref()
                .is_none_or(|known| known.order <= incident.order)
        };
        if later(&self.last_any) {
            self.last_any = Some(incident.clone());
        }
        let is_python = matches!(incident.kind, Kind::Traceback | Kind::Headline);
        if !is_python
            || incident.exception_type.is_none()
            || incident.ignored
            || incident.thread
            || incident.level != Level::Error
        {
            return;
        }
        // A traceback beats a headline without one that follows it closely:
        // launchers repeat the last line.
        if let Some(known) = &self.last_typed
            && known.kind == Kind::Traceback
            && incident.kind == Kind::Headline
        {
            return;
        }
        if later(&self.last_typed)
            || self.last_typed.as_ref().is_some_and(|known| {
                known.kind == Kind::Headline && incident.kind == Kind::Traceback
            })
        {
            self.last_typed = Some(incident.clone());
        }
    }
}

/// Whether the interpreter prints what a logger just printed.
fn is_echo(group: &Group, incident: &Incident) -> bool {
    let last_frame = |incident: &Incident| {
        incident
            .traceback
            .as_ref()
            .and_then(|traceback| traceback.last())
            .and_then(|raised| raised.frames.last())
            .map(|frame| (frame.file.clone(), frame.line))
    };
    group.first.kind == Kind::Traceback
        && incident.kind == Kind::Traceback
        && group.first.logged
        && !incident.logged
        && group.first.rank == incident.rank
        && group.first.message == incident.message
        && incident.line.saturating_sub(group.first.line) < ECHO_DISTANCE
        && last_frame(&group.first).is_some()
        && last_frame(&group.first) == last_frame(incident)
}

fn bounded(mut text: String) -> String {
    const MAX: usize = 8 * 1024;
    if text.len() > MAX {
        let mut end = MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

fn count(group: &mut Group, incident: &Incident, headline: String, max_lines: usize) {
    group.count += incident.count;
    group.is_error |= incident.level == Level::Error;
    group.message = bounded(headline);
    if group.lines.len() < max_lines {
        group.lines.push(incident.line);
        group.times.push(incident.time);
    } else {
        group.lines_dropped += 1;
    }
    if let Some(time) = incident.time {
        group.first_seen = Some(group.first_seen.map_or(time, |first| first.min(time)));
        group.last_seen = Some(group.last_seen.map_or(time, |last| last.max(time)));
    }
    if let Some(rank) = incident.rank
        && group.ranks.len() < 64
        && !group.ranks.contains(&rank)
    {
        group.ranks.push(rank);
    }
    if group.first.traceback.is_none() && incident.traceback.is_some() {
        let (line, order) = (group.first.line, group.first.order);
        let before = std::mem::take(&mut group.first.before);
        group.first = incident.clone();
        group.first.line = line;
        group.first.order = order;
        group.first.before = before;
    }
}
