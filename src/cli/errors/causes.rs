//! Failures of many experiments, grouped by what started them.

use super::source::Source;
use crate::errortrace::{ErrorClass, Status, dedupe_key};
use std::collections::BTreeMap;

/// One cause over several sources.
pub(super) struct Cause {
    pub(super) class: ErrorClass,
    pub(super) subtype: String,
    pub(super) message: String,
    pub(super) description: String,
    pub(super) suggestions: Vec<String>,
    pub(super) count: u64,
    pub(super) names: Vec<String>,
}

/// Failures grouped by what started them, the most frequent first.
pub(super) fn causes(sources: &[Source]) -> Vec<Cause> {
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
        let count = source.report.groups.first().map_or(1, |group| group.count);
        let cause = by_key.entry(key).or_insert_with(|| Cause {
            class: analysis.class,
            subtype: analysis.subtype.clone(),
            message,
            description: analysis.description.clone(),
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
