//! The rules: data, in the order in which they are tried.
//!
//! A row is a pattern over `Type: message` (and the lines after it), what it
//! means, and messages that it must and does match: a test runs every example
//! through the whole table. Add a row, not code.

mod config;
mod cuda;
mod distributed;
mod language;
mod memory;
mod process;

use super::{advice::Tip, classify::Confidence};

/// The class as a rule knows it; which out-of-memory it is depends on what
/// the program was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleClass {
    /// `oom_eval` or `oom_training`.
    Oom,
    /// `timeout`.
    Timeout,
    /// `cuda_error`.
    Cuda,
    /// `config_error`.
    Config,
    /// `unknown`, with a subtype all the same.
    Unknown,
}

/// What part an error plays in a cascade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It can be what started everything.
    Cause,
    /// It says that something else failed, or that a peer is gone: the cause
    /// is an earlier error when there is one.
    Echo,
    /// Noise of a shutdown, or a warning with an error's words.
    Noise,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// The finer class.
    pub subtype: &'static str,
    /// The class.
    pub class: RuleClass,
    /// Its part in a cascade.
    pub role: Role,
    /// A regular expression over the subject.
    pub pattern: &'static str,
    /// Whether the pattern shows a failure in a line without a level.
    pub alone: bool,
    /// How sure the row is.
    pub confidence: Confidence,
    /// What happened, in plain words.
    pub description: &'static str,
    /// What to do about it.
    pub advice: &'static [Tip],
    /// Messages that this row is for.
    pub examples: &'static [&'static str],
}

impl Rule {
    const fn new(subtype: &'static str, class: RuleClass, pattern: &'static str) -> Self {
        Self {
            subtype,
            class,
            role: Role::Cause,
            pattern,
            alone: false,
            confidence: Confidence::High,
            description: "",
            advice: &[],
            examples: &[],
        }
    }

    const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    const fn echo(mut self) -> Self {
        self.role = Role::Echo;
        self
    }

    const fn noise(mut self) -> Self {
        self.role = Role::Noise;
        self
    }

    const fn medium(mut self) -> Self {
        self.confidence = Confidence::Medium;
        self
    }

    const fn low(mut self) -> Self {
        self.confidence = Confidence::Low;
        self
    }

    const fn says(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    const fn advice(mut self, advice: &'static [Tip]) -> Self {
        self.advice = advice;
        self
    }

    const fn like(mut self, examples: &'static [&'static str]) -> Self {
        self.examples = examples;
        self
    }
}

/// Every rule, in the order in which they are tried.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    language::NOISE
        .iter()
        .chain(config::DEPENDENCIES)
        .chain(memory::RULES)
        .chain(distributed::RULES)
        .chain(cuda::RULES)
        .chain(process::RULES)
        .chain(config::RULES)
        .chain(language::RULES)
}
