//! Which row of the rules an error is.

use super::rules::{self, Rule};
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::LazyLock};

/// The class of an error, as existing consumers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Memory ran out while answering questions or loading for it.
    OomEval,
    /// Memory ran out while training.
    OomTraining,
    /// Something took longer than it may.
    Timeout,
    /// The GPU, its driver, or a library on it.
    CudaError,
    /// A setting, a file, a package, an account.
    ConfigError,
    /// None of these, or nobody can tell.
    Unknown,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::OomEval,
        Self::OomTraining,
        Self::Timeout,
        Self::CudaError,
        Self::ConfigError,
        Self::Unknown,
    ];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OomEval => "oom_eval",
            Self::OomTraining => "oom_training",
            Self::Timeout => "timeout",
            Self::CudaError => "cuda_error",
            Self::ConfigError => "config_error",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for ErrorClass {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|class| class.as_str()).collect();
                format!("unknown class {word:?}; known are {}", known.join(", "))
            })
    }
}

/// How sure the class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A guess from a word or from where it happened; another cause is as likely.
    Low,
    /// The message names the kind of failure, but more than one thing causes it.
    Medium,
    /// The message is one that only this failure prints.
    High,
}

impl Confidence {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The rows' patterns as one automaton. A test holds every pattern valid; an
/// empty set matches nothing.
fn set(rules: &[&Rule]) -> RegexSet {
    RegexSetBuilder::new(rules.iter().map(|rule| rule.pattern))
        .unicode(false)
        .size_limit(256 << 20)
        .dfa_size_limit(16 << 20)
        .build()
        .unwrap_or_else(|_| RegexSet::empty())
}

struct Table {
    all: RegexSet,
    all_rules: Vec<&'static Rule>,
    alone: RegexSet,
    alone_rules: Vec<&'static Rule>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let all_rules: Vec<&'static Rule> = rules::all().collect();
    let alone_rules: Vec<&'static Rule> = rules::all().filter(|rule| rule.alone).collect();
    Table {
        all: set(&all_rules),
        alone: set(&alone_rules),
        all_rules,
        alone_rules,
    }
});

/// The first row that fits `subject`, which is `Type: message` and the lines
/// after it.
pub(super) fn find(subject: &str) -> Option<&'static Rule> {
    let table = &*TABLE;
    let subject = without_hints(subject);
    table
        .all
        .matches(subject.as_bytes())
        .iter()
        .next()
        .and_then(|at| table.all_rules.get(at).copied())
}

/// The first row that shows a failure even in a line without a level.
pub(super) fn find_alone(line: &str) -> Option<&'static Rule> {
    let table = &*TABLE;
    table
        .alone
        .matches(line.as_bytes())
        .iter()
        .next()
        .and_then(|at| table.alone_rules.get(at).copied())
}

/// Cuts off boilerplate that lists what might have been, so that a list of
/// causes is not taken for the cause.
fn without_hints(subject: &str) -> &str {
    const HINTS: [&str; 6] = [
        "There are some potential root causes",
        "This can be caused by",
        "This may be caused by",
        "Possible causes",
        "possible root causes",
        "To troubleshoot the problem",
    ];
    HINTS
        .iter()
        .filter_map(|hint| subject.find(hint))
        .min()
        .map_or(subject, |end| &subject[..end])
}
