//! Paths of this machine that a study names: `~` and variables in them stand
//! for what a shell would put there, and where each stands is remembered, so
//! that what is missing can be told with its line.

use super::{
    catalog::Names,
    diagnostic::{Diagnostic, Severity},
    fields::{At, shorten},
};
use crate::domain::{ExperimentSpec, ModelSpec};

/// What a path of this machine is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalKind {
    /// A file of questions.
    Dataset,
    /// A file or directory of documents.
    Corpus,
    /// The directory or GGUF file of a model that answers.
    Model(ModelSpec),
    /// The directory of a model that embeds, reorders or scores.
    Encoder(ModelSpec),
}

/// A path of this machine that a study names, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    /// What it is for.
    pub kind: LocalKind,
    /// The path, expanded; it may be relative.
    pub path: String,
    /// The value in the study, without a message yet.
    place: Diagnostic,
}

impl LocalPath {
    /// Something about the path, told where it stands.
    pub fn diagnostic(
        &self,
        message: String,
        fix: Option<String>,
        severity: Severity,
    ) -> Diagnostic {
        Diagnostic {
            message,
            fix,
            severity,
            ..self.place.clone()
        }
    }
}

/// `text` with a leading `~` and every `$NAME` and `${NAME}` replaced; `None`
/// when a variable is not set, which is told. The catalog knows the variables.
pub(super) fn expand(at: &At<'_>, text: &str, names: &Names<'_>) -> Option<String> {
    let mut path = String::new();
    let mut rest = text;
    let home = text.strip_prefix('~').filter(|rest| {
        // Another user's home is not looked up.
        rest.is_empty() || rest.starts_with('/')
    });
    if let Some(behind) = home {
        path.push_str(&variable(at, text, "HOME", names)?);
        rest = behind;
    }
    while let Some(dollar) = rest.find('$') {
        path.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        match reference(rest) {
            Some((name, length)) => {
                path.push_str(&variable(at, text, name, names)?);
                rest = &rest[length..];
            }
            // A dollar that names nothing is part of the path.
            None => {
                path.push('$');
                rest = &rest[1..];
            }
        }
    }
    path.push_str(rest);
    Some(path)
}

/// The name of the variable that `text` begins with, and the length of what
/// stands for it.
fn reference(text: &str) -> Option<(&str, usize)> {
    let behind = text.strip_prefix('$')?;
    let (name, length) = match behind.strip_prefix('{') {
        Some(behind) => {
            let name = &behind[..behind.find('}')?];
            (name, name.len() + 3)
        }
        None => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = behind.find(|c| !is_part(c)).unwrap_or(behind.len());
            (&behind[..end], end + 1)
        }
    };
    let mut characters = name.chars();
    let first = characters.next()?;
    let fine = (first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    fine.then_some((name, length))
}

/// The value of a variable. One that is empty would turn `$DATA/x` into `/x`,
/// which nobody means.
fn variable(at: &At<'_>, text: &str, name: &str, names: &Names<'_>) -> Option<String> {
    let value = names
        .catalog
        .variable(name)
        .filter(|value| !value.is_empty());
    if value.is_none() {
        at.error(
            format!(
                "the environment variable {name} in '{}' is not set",
                shorten(text)
            ),
            Some("set it, or write the path out".to_owned()),
        );
    }
    value
}

/// Remembers that a path has to be there.
pub(super) fn remember(at: &At<'_>, kind: LocalKind, path: &str) {
    at.report.local(LocalPath {
        kind,
        path: path.to_owned(),
        place: at.about(Severity::Error),
    });
}

/// As [`remember`], for the model of a retriever, a reranker or a metric; one on
/// the hub has no path.
pub(super) fn remember_encoder(at: &At<'_>, model: Result<ModelSpec, String>) {
    if let Ok(model) = model
        && is_local(&model.name)
    {
        let path = model.name.clone();
        remember(at, LocalKind::Encoder(model), &path);
    }
}

/// Whether a name is a path by its beginning.
pub(super) fn is_local(name: &str) -> bool {
    name.starts_with(['/', '.', '~'])
}

/// Those that some experiment needs: a study may name more than it uses.
pub(super) fn needed(paths: Vec<LocalPath>, experiments: &[ExperimentSpec]) -> Vec<LocalPath> {
    let is_needed = |path: &LocalPath, spec: &ExperimentSpec| match &path.kind {
        LocalKind::Dataset => spec.dataset.path.as_ref() == Some(&path.path),
        LocalKind::Corpus => {
            let retriever = spec.retriever.as_ref();
            retriever.is_some_and(|retriever| retriever.corpus == path.path)
        }
        LocalKind::Model(model) => spec.model == *model,
        LocalKind::Encoder(_) => true,
    };
    paths
        .into_iter()
        .filter(|path| experiments.iter().any(|spec| is_needed(path, spec)))
        .collect()
}
