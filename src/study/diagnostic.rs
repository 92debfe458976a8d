use super::paths::LocalPath;
use std::fmt;

/// Whether a study can run all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It can not.
    Error,
    /// It can; something is ignored or stays undone.
    Warning,
}

/// Something about a study file that its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key's path, such as `direct.quantization[1]`; empty for the whole
    /// file.
    pub key: String,
    /// The value at fault, as written; empty when a key is missing.
    pub value: String,
    /// What is wrong, as one clause that contains the value.
    pub message: String,
    /// What to do about it, as one clause.
    pub fix: Option<String>,
    /// Whether it stops the study.
    pub severity: Severity,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

/// Why a study can not run: everything that is wrong with it, in the order of
/// the file. At least one entry is an error; warnings stand between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// One entry per problem.
    pub diagnostics: Vec<Diagnostic>,
    /// Paths of this machine that the study needs, as far as it could be read:
    /// whoever has files can tell what is missing in the same go.
    pub local_paths: Vec<LocalPath>,
}

impl Problems {
    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }
}

impl fmt::Display for Problems {
    /// One line per problem; past a hundred the rest is counted only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        for (i, diagnostic) in self.diagnostics.iter().take(SHOWN).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        match self.diagnostics.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => write!(f, "\n... and {more} more"),
            _ => Ok(()),
        }
    }
}

/// The candidate that `word` was most likely meant to be, if any is near
/// enough to be worth a "did you mean".
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Pasted text of any length is compared in bounded time.
    const LONGEST: usize = 100;
    if word.chars().count() > LONGEST {
        return None;
    }
    let flat = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted = flat(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&wanted, &flat(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let length = wanted.chars().count().min(candidate.chars().count());
            *distance <= (length / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
