use crate::domain::Event;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the executor's decisions came to: how large the batches really were,
/// and why.
#[derive(Debug, Default)]
pub struct Batches {
    /// How many there were of each size.
    sizes: BTreeMap<usize, u64>,
    /// How often the size changed, by from, to and why.
    changes: BTreeMap<String, u64>,
    /// How many failed, by class.
    failures: BTreeMap<String, u64>,
    /// Workers that were replaced.
    restarts: u64,
}

impl Batches {
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::BatchDispatched { size, .. } => *self.sizes.entry(*size).or_default() += 1,
            Event::BatchSizeChanged {
                from, to, reason, ..
            } => {
                let change = format!("{from} to {to}: {reason}");
                *self.changes.entry(change).or_default() += 1;
            }
            Event::BatchFailed { class, .. } => {
                *self.failures.entry(class.to_string()).or_default() += 1;
            }
            Event::WorkerRestarted { .. } => self.restarts += 1,
            _ => {}
        }
    }

    /// For `metadata.json`; what never happened is left out.
    pub fn to_counts(&self) -> Map<String, Value> {
        let batches: u64 = self.sizes.values().sum();
        let mut counts = Map::from_iter([
            ("batches".to_owned(), json!(batches)),
            ("batch_sizes".to_owned(), json!(self.sizes)),
        ]);
        for (key, of) in [
            ("batch_size_changes", &self.changes),
            ("batch_failures", &self.failures),
        ] {
            if !of.is_empty() {
                counts.insert(key.to_owned(), json!(of));
            }
        }
        if self.restarts > 0 {
            counts.insert("worker_restarts".to_owned(), json!(self.restarts));
        }
        counts
    }
}

/// Adds up numbers by their keys, those of objects inside too.
pub fn add(sums: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (key, count) in more {
        match (sums.get_mut(key), count) {
            (Some(Value::Object(sums)), Value::Object(more)) => add(sums, more),
            (None | Some(_), Value::Object(more)) => {
                let mut fresh = Map::new();
                add(&mut fresh, more);
                sums.insert(key.clone(), Value::Object(fresh));
            }
            (sum, count) => {
                let before = sum.and_then(|sum| sum.as_u64()).unwrap_or(0);
                let total = before.saturating_add(count.as_u64().unwrap_or(0));
                sums.insert(key.clone(), total.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureClass;

    #[test]
    fn batches_are_counted_by_size_and_changes_by_their_reason() {
        let experiment = || "e".to_owned();
        let dispatched = |size| Event::BatchDispatched {
            experiment: experiment(),
            epoch: 1,
            size,
        };
        let changed = Event::BatchSizeChanged {
            experiment: experiment(),
            from: 32,
            to: 16,
            reason: "out of memory".to_owned(),
        };
        let failed = Event::BatchFailed {
            experiment: experiment(),
            size: 32,
            class: FailureClass::Oom,
            message: "CUDA_ERROR_OUT_OF_MEMORY".to_owned(),
        };
        let mut batches = Batches::default();
        for event in [
            dispatched(32),
            failed,
            changed,
            dispatched(16),
            dispatched(16),
        ] {
            batches.hear(&event);
        }
        let counts = json!({
            "batches": 3,
            "batch_sizes": {"16": 2, "32": 1},
            "batch_size_changes": {"32 to 16: out of memory": 1},
            "batch_failures": {"oom": 1},
        });
        assert_eq!(Value::Object(batches.to_counts()), counts);
        // A second attempt adds to it.
        let mut sums = batches.to_counts();
        add(&mut sums, &batches.to_counts());
        assert_eq!(sums["batches"], 6);
        assert_eq!(sums["batch_sizes"], json!({"16": 4, "32": 2}));
    }
}
