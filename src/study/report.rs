use super::{
    diagnostic::{Diagnostic, Severity},
    paths::LocalPath,
    yaml::{Node, Place, Value},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
};

/// Where problems are collected.
pub(super) struct Report<'f> {
    file: &'f str,
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Warnings that are given once, however many places they are about.
    said: RefCell<HashSet<String>>,
    /// While set, warnings are dropped: what is switched off is only checked.
    quiet: Cell<bool>,
    /// Paths that have to be there; not those of what is switched off.
    locals: RefCell<Vec<LocalPath>>,
}

impl<'f> Report<'f> {
    pub fn new(file: &'f str) -> Self {
        Self {
            file,
            diagnostics: RefCell::new(Vec::new()),
            said: RefCell::new(HashSet::new()),
            quiet: Cell::new(false),
            locals: RefCell::new(Vec::new()),
        }
    }

    pub fn error(
        &self,
        place: Place,
        key: &str,
        value: &str,
        message: String,
        fix: Option<String>,
    ) {
        self.push(place, key, value, message, fix, Severity::Error);
    }

    pub fn warning(
        &self,
        place: Place,
        key: &str,
        value: &str,
        message: String,
        fix: Option<String>,
    ) {
        if !self.quiet.get() {
            self.push(place, key, value, message, fix, Severity::Warning);
        }
    }

    /// Whether `topic` comes up for the first time.
    pub fn first(&self, topic: String) -> bool {
        self.quiet.get() || self.said.borrow_mut().insert(topic)
    }

    /// Whether warnings are dropped from here on.
    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.set(quiet);
    }

    /// Remembers a path that has to be there.
    pub fn local(&self, path: LocalPath) {
        if !self.quiet.get() {
            self.locals.borrow_mut().push(path);
        }
    }

    /// The paths that have to be there, in the order they were read.
    pub fn take_locals(&self) -> Vec<LocalPath> {
        self.locals.take()
    }

    /// A diagnostic of a place, still without a message.
    pub fn about(&self, place: Place, key: &str, value: &str, severity: Severity) -> Diagnostic {
        Diagnostic {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            value: value.to_owned(),
            message: String::new(),
            fix: None,
            severity,
        }
    }

    fn push(
        &self,
        place: Place,
        key: &str,
        value: &str,
        message: String,
        fix: Option<String>,
        severity: Severity,
    ) {
        self.diagnostics.borrow_mut().push(Diagnostic {
            message,
            fix,
            ..self.about(place, key, value, severity)
        });
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .borrow()
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Everything, in the order of the file. What an alias repeats is told
    /// once, with the first of its paths.
    pub fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.into_inner();
        let mut seen = HashSet::new();
        diagnostics.retain(|diagnostic| {
            seen.insert((
                diagnostic.line,
                diagnostic.column,
                diagnostic.message.clone(),
            ))
        });
        diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        diagnostics
    }

    /// The text of a mapping's key, or a report that it is none.
    pub fn key_text(&self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            other => {
                let message = format!("{} can not be a key", other.describe());
                self.error(
                    node.place,
                    "",
                    "",
                    message,
                    Some("a key is a word".to_owned()),
                );
                None
            }
        }
    }
}
