//! One thing that went wrong, put together from its lines.

use super::{elastic::ChildFailure, exception::Traceback, header::Level};
use jiff::Timestamp;

/// How an incident showed itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A Python traceback.
    Traceback,
    /// A Rust panic, a C++ exception that nobody caught, or Python's
    /// faulthandler.
    Crash,
    /// An error with a chain of causes, as anyhow prints it.
    Chain,
    /// `Type: message` without a traceback.
    Headline,
    /// A record with a level.
    Record,
    /// A line without a level that the rules know.
    Line,
    /// `Killed`, `Aborted`, `Segmentation fault`.
    Death,
}

/// One thing that went wrong.
#[derive(Debug, Clone)]
pub(super) struct Incident {
    /// How it showed itself.
    pub kind: Kind,
    /// Warning or error.
    pub level: Level,
    /// The exception's type.
    pub exception_type: Option<String>,
    /// The first line of the message, without the type.
    pub message: String,
    /// Further lines.
    pub detail: Vec<String>,
    /// Lines of the log record that the traceback came with.
    pub preface: Vec<String>,
    /// The log's own word for the phase.
    pub phase: Option<String>,
    /// Who logged it.
    pub module: Option<String>,
    /// When.
    pub time: Option<Timestamp>,
    /// Its first line's number, from 1.
    pub line: u64,
    /// Its place among the others; several may stand in one line.
    pub order: u64,
    /// The rank that wrote it.
    pub rank: Option<u32>,
    /// How many it stands for.
    pub count: u64,
    /// The traceback.
    pub traceback: Option<Traceback>,
    /// The traceback as it stood in the log, without carriers.
    pub raw: String,
    /// True for what Python itself calls ignored, and for teardown.
    pub ignored: bool,
    /// True when a thread died and not the program.
    pub thread: bool,
    /// True when a logger wrote it, and not the interpreter.
    pub logged: bool,
    /// Text just before it, for the phase.
    pub before: String,
    /// torchelastic's table.
    pub children: Vec<ChildFailure>,
}

impl Incident {
    /// `Type: message`, or what there is of it.
    pub(super) fn headline(&self) -> String {
        match &self.exception_type {
            Some(name) if self.message.is_empty() => name.clone(),
            Some(name) => format!("{name}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// What the key is made of.
    pub(super) fn key_source(&self) -> String {
        super::key::key_source(self.exception_type.as_deref(), &self.message)
    }

    /// What the rules look at: the headline and the lines after it, bounded.
    pub(super) fn subject(&self) -> String {
        const MAX: usize = 3000;
        let mut subject = self.headline();
        for line in self.detail.iter().chain(&self.preface) {
            // The line break counts too.
            if subject.len() + line.len() >= MAX {
                break;
            }
            subject.push('\n');
            subject.push_str(line);
        }
        if subject.len() > MAX {
            let mut end = MAX;
            while !subject.is_char_boundary(end) {
                end -= 1;
            }
            subject.truncate(end);
        }
        subject
    }
}
