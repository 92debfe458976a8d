//! Failures of many experiments, grouped by what started them.

use super::source::Source;
use crate::errortrace::{Confidence, ErrorClass, Status, dedupe_key};
use serde::Serialize;
use std::collections::BTreeMap;

/// One cause over several sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Cause {
    /// The key that its members share.
    pub dedupe_key: String,
    /// Its class.
    #[serde(rename = "error_type")]
    pub class: ErrorClass,
    /// Its finer class.
    pub subtype: String,
    /// The first one's message.
    pub message: String,
    /// What it means.
    pub description: String,
    /// How sure that is.
    pub confidence: Confidence,
    /// What to change.
    pub suggestions: Vec<String>,
    /// Occurrences in all logs.
    pub count: u64,
    /// The sources that failed of it.
    #[serde(rename = "experiments")]
    pub names: Vec<String>,
}

/// Failures grouped by what started them, the most frequent first.
pub fn causes<'s>(sources: impl IntoIterator<Item = &'s Source>) -> Vec<Cause> {
    let mut by_key: BTreeMap<String, Cause> = BTreeMap::new();
    for source in sources {
        if source.status == Status::Completed {
            continue;
        }
        let Some(analysis) = &source.report.analysis else {
            continue;
        };
        let message = source
            .report
            .headline()
            .or_else(|| source.summary.clone())
            .unwrap_or_else(|| analysis.description.clone());
        let key = format!("{}/{}", analysis.subtype, dedupe_key(None, &message));
        let count = source.report.root_group().map_or(1, |group| group.count);
        let cause = by_key.entry(key.clone()).or_insert_with(|| Cause {
            dedupe_key: key,
            class: analysis.class,
            subtype: analysis.subtype.clone(),
            message,
            description: analysis.description.clone(),
            confidence: analysis.confidence,
            suggestions: analysis.suggestions.clone(),
            count: 0,
            names: Vec::new(),
        });
        cause.count += count;
        cause.names.push(source.name.clone());
    }
    let mut causes: Vec<Cause> = by_key.into_values().collect();
    causes.sort_by(|a, b| {
        b.names
            .len()
            .cmp(&a.names.len())
            .then(b.count.cmp(&a.count))
    });
    causes
}
