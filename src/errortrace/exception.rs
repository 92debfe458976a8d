//! A raised exception, and the chain of them that a traceback shows.

use super::frame::Frame;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// How an exception hangs together with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// "During handling of the above exception, another exception occurred".
    Context,
    /// "The above exception was the direct cause of the following exception".
    Cause,
    /// What another process raised, shown inside the message before it.
    Remote,
}

/// One exception of a traceback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Raised {
    /// How it follows from the one before it in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Where it came from, outermost call first.
    pub frames: Vec<Frame>,
    /// Frames beyond the bound that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frames_dropped: u64,
    /// Its type; `None` when the log stops before it says so.
    pub exception_type: Option<String>,
    /// The first line of its message.
    pub message: String,
    /// Further lines of the message, and notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The exceptions of an exception group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Traceback>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A traceback: its exceptions in the order they were raised, the one that
/// ended it last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traceback {
    /// The exceptions; never empty in a report.
    pub exceptions: Vec<Raised>,
    /// Exceptions in the middle of a long chain that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exceptions_dropped: u64,
}

impl Raised {
    /// `Type: message`, or what there is of it.
    pub fn headline(&self) -> String {
        match &self.exception_type {
            Some(name) if self.message.is_empty() => name.clone(),
            Some(name) => format!("{name}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Traceback {
    /// The exception that ended it: the last one that has a type.
    pub fn last(&self) -> Option<&Raised> {
        self.exceptions
            .iter()
            .rev()
            .find(|raised| raised.exception_type.is_some())
            .or_else(|| self.exceptions.last())
    }

    /// The exception that started it.
    pub fn first(&self) -> Option<&Raised> {
        // A Remote link points at the cause of the exception before it.
        let from_remote = self
            .exceptions
            .iter()
            .find(|raised| raised.link == Some(Link::Remote));
        self.exceptions
            .first()
            .map(|first| match self.exceptions.get(1) {
                Some(second) if second.link == Some(Link::Remote) => second,
                _ => from_remote
                    .filter(|_| first.exception_type.is_none())
                    .unwrap_or(first),
            })
    }

    /// The traceback as Python writes it. Reading it back gives this value,
    /// as long as no bound was met.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for raised in &self.exceptions {
            match raised.link {
                Some(Link::Context) => out.push_str(
                    "\nDuring handling of the above exception, another exception occurred:\n\n",
                ),
                Some(Link::Cause) => out.push_str(
                    "\nThe above exception was the direct cause of the following exception:\n\n",
                ),
                Some(Link::Remote) => out.push_str("Original "),
                None => {}
            }
            out.push_str("Traceback (most recent call last):\n");
            for frame in &raised.frames {
                frame.render(&mut out);
            }
            if raised.exception_type.is_some() || !raised.message.is_empty() {
                let _ = writeln!(out, "{}", raised.headline());
            }
            for note in &raised.notes {
                let _ = writeln!(out, "{note}");
            }
        }
        out
    }
}

const SUFFIXES: [&str; 12] = [
    "Error",
    "Exception",
    "Warning",
    "Interrupt",
    "Exit",
    "Iteration",
    "Failure",
    "Fault",
    "Group",
    "Timeout",
    "Errors",
    "Signal",
];

/// Whether a name is that of an exception beyond doubt, wherever it stands.
pub(super) fn looks_typed(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
    last.len() > 5
        && last
            .first()
            .is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
        && last
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && [
            "Error",
            "Exception",
            "Interrupt",
            "SystemExit",
            "ExceptionGroup",
            "Warning",
        ]
        .iter()
        .any(|suffix| last.ends_with(suffix.as_bytes()))
}

/// `Type: message` at the start of a line: the type and the message.
/// `after_frames` says that a traceback stands before it, so that a name that
/// nobody knows counts as well.
pub(super) fn headline(line: &str, after_frames: bool) -> Option<(String, String)> {
    let end = line
        .bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'))
        .unwrap_or(line.len());
    let (mut name, mut rest) = line.split_at(end);
    // `ray.exceptions.RayTaskError(ValueError): ...`.
    if rest.starts_with('(')
        && name.ends_with("RayTaskError")
        && let Some(close) = rest.find(')')
    {
        name = &line[..end + close + 1];
        rest = &rest[close + 1..];
    }
    let bare = name.split('(').next().unwrap_or(name);
    if bare.is_empty()
        || !bare.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    {
        return None;
    }
    let message = if rest.trim().is_empty() {
        ""
    } else {
        rest.strip_prefix(':')?
    };
    let message = message.strip_prefix(' ').unwrap_or(message);
    // Ranks that write at once: `NameErrorNameError: : messagemessage`.
    let (name, message) = untangle(name, message);
    let bare = name.split('(').next().unwrap_or(name);
    let last = bare.rsplit('.').next().unwrap_or(bare);
    let capital = last
        .trim_start_matches('_')
        .starts_with(|first: char| first.is_ascii_uppercase());
    let known = SUFFIXES.iter().any(|suffix| last.ends_with(suffix)) && last.len() > 5;
    let death = matches!(
        last,
        "Aborted" | "Killed" | "Terminated" | "Done" | "FAILED" | "Failures" | "Error"
    ) && !bare.contains('.');
    let accepted = if after_frames {
        !death && (capital || bare.contains('.')) && !bare.ends_with('.')
    } else {
        known && capital && !death
    };
    accepted.then(|| (name.to_owned(), message.trim_end().to_owned()))
}

/// `tests/test_x.py:5: AssertionError`, as pytest ends a traceback: the type.
pub(super) fn pytest(line: &str) -> Option<String> {
    let (place, name) = line.rsplit_once(": ")?;
    let (file, number) = place.rsplit_once(':')?;
    let fits = file.ends_with(".py")
        && number.parse::<u64>().is_ok()
        && looks_typed(name.as_bytes())
        && !name.ends_with("Warning");
    fits.then(|| name.to_owned())
}

/// Takes apart what several writers put into one line at the same time.
fn untangle<'a>(name: &'a str, message: &'a str) -> (&'a str, &'a str) {
    for copies in (2..=8).rev() {
        let Some(part) = equal_parts(name, copies) else {
            continue;
        };
        if !looks_typed(part.as_bytes()) {
            continue;
        }
        let mut message = message;
        while let Some(rest) = message.strip_prefix(": ") {
            message = rest;
        }
        let message = message.trim_end();
        return (part, equal_parts(message, copies).unwrap_or(message));
    }
    (name, message)
}

/// The part of which `text` is `copies` copies.
fn equal_parts(text: &str, copies: usize) -> Option<&str> {
    if text.is_empty() || !text.len().is_multiple_of(copies) {
        return None;
    }
    let part = text.get(..text.len() / copies)?;
    text.as_bytes()
        .chunks(part.len())
        .all(|chunk| chunk == part.as_bytes())
        .then_some(part)
}
