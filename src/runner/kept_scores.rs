use crate::{
    artifacts::{ArtifactError, ExperimentDir},
    domain::Prediction,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What stands beside a metric's mean, after its name.
pub const BESIDE_A_MEAN: [&str; 4] = ["", "_ci95", "_n", "_failed"];

/// The scores that an experiment had when it was scored last. They are true as
/// long as no answer has changed.
pub struct KeptScores {
    /// The metrics that were computed; none once an answer has changed.
    computed: Vec<String>,
    by_idx: BTreeMap<usize, Map<String, Value>>,
    aggregate: Map<String, Value>,
}

impl KeptScores {
    /// Those of a directory whose answers are now `best`; `computed` is what
    /// its state says of them.
    ///
    /// # Errors
    /// When its files can not be read; one that makes no sense has no scores.
    pub fn read(
        dir: &ExperimentDir,
        computed: &[String],
        best: &BTreeMap<usize, Prediction>,
    ) -> Result<Self, ArtifactError> {
        let none = Self {
            computed: Vec::new(),
            by_idx: BTreeMap::new(),
            aggregate: Map::new(),
        };
        let mut file = match dir.predictions() {
            Ok(Some(file)) if !computed.is_empty() => file,
            Ok(_) | Err(ArtifactError::Malformed { .. }) => return Ok(none),
            Err(error) => return Err(error),
        };
        let mut aggregate = std::mem::take(&mut file.aggregate_metrics);
        let scored = file.best();
        aggregate.extend(results_of(dir, &scored));
        let is_as_scored = |(idx, now): (&usize, &Prediction)| {
            scored
                .get(idx)
                .is_some_and(|then| then.prediction == now.prediction && then.error == now.error)
        };
        if scored.len() != best.len() || !best.iter().all(is_as_scored) {
            return Ok(none);
        }
        Ok(Self {
            computed: computed.to_vec(),
            by_idx: scored
                .into_iter()
                .map(|(idx, record)| (idx, record.metrics))
                .collect(),
            aggregate,
        })
    }

    /// Whether a metric's scores are there and still true.
    pub fn has(&self, metric: &str) -> bool {
        self.aggregate.contains_key(metric) && self.computed.iter().any(|name| name == metric)
    }

    /// Puts the scores of a metric among the others.
    pub fn keep(
        &self,
        metric: &str,
        best: &mut BTreeMap<usize, Prediction>,
        aggregate: &mut Map<String, Value>,
    ) {
        for (idx, scores) in &self.by_idx {
            if let (Some(score), Some(record)) = (scores.get(metric), best.get_mut(idx)) {
                record.metrics.insert(metric.to_owned(), score.clone());
            }
        }
        for end in BESIDE_A_MEAN {
            let key = format!("{metric}{end}");
            if let Some(value) = self.aggregate.get(&key) {
                aggregate.insert(key, value.clone());
            }
        }
    }
}

/// The aggregates of `results.json`, where they are of these records: a kill
/// between the two files leaves those of fewer.
pub fn results_of(
    dir: &ExperimentDir,
    records: &BTreeMap<usize, Prediction>,
) -> Map<String, Value> {
    let answered = records.values().filter(|one| one.is_answered()).count();
    match dir.results() {
        Ok(Some(results)) if results.num_examples == answered => results.metrics,
        _ => Map::new(),
    }
}
