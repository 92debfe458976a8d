//! The scores of a whole experiment.

use super::{Availability, GivenScores, Metric, Scored, find, is_judged};
use crate::{
    domain::{Outcome, Prediction},
    statistics::bootstrap_95,
};
use serde_json::{Map, Value, json};

const NO_JUDGE: &str = "no judge was asked; write llm_judge: {model: 'openai:NAME'} into the study";
const NO_MODEL: &str = "its model was not asked";

/// What an experiment is worth.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// For every prediction, in their order: its idx and its scores by metric.
    /// A metric that does not apply to the item has no key.
    pub per_item: Vec<(usize, Map<String, Value>)>,
    /// For every computed metric its mean under its own name (`null` when it
    /// applied to no item) and its 95 % bootstrap interval as
    /// `{metric}_ci95: [low, high]`; `{metric}_n` where it applied to another
    /// number of items than `n_scored`; `{metric}_failed`, where a model was to
    /// give the score and gave none: these items are in no mean. Then the
    /// counts:
    ///
    /// - `n_scored`: answered questions that have gold answers;
    /// - `n_failed`: questions without an answer, which are never scored;
    /// - `n_without_gold`: answered questions that have no gold answer;
    /// - `coverage`: n_scored / (n_scored + n_failed), `null` when both are 0.
    pub aggregate: Map<String, Value>,
    /// Names of the metrics that were computed, as asked for.
    pub computed: Vec<String>,
    /// Names of those that were not, or not for every item, each with the
    /// reason.
    pub uncomputed: Vec<(String, String)>,
}

/// What is known of a question beside its prediction.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// Ids of the passages or documents that hold the answer.
    pub supporting: &'a [String],
    /// Texts of the retrieved passages; `None` when they are not at hand or
    /// nothing was retrieved on purpose.
    pub passages: Option<Vec<&'a str>>,
    /// What models said of this answer.
    pub given: Option<&'a GivenScores>,
}

/// Scores predictions by what they hold themselves: metrics over passages and
/// supporting ids apply to no item. See [`evaluate_with`].
pub fn evaluate(metric_names: &[String], predictions: &[Prediction]) -> Evaluation {
    evaluate_with(metric_names, predictions, &|_| Evidence::default())
}

/// Scores predictions with the evidence that belongs to each.
///
/// A prediction that is an error or was aborted is counted and never scored;
/// a metric named twice is computed once.
pub fn evaluate_with<'a>(
    metric_names: &[String],
    predictions: &'a [Prediction],
    evidence: &dyn Fn(&'a Prediction) -> Evidence<'a>,
) -> Evaluation {
    let mut evaluation = Evaluation::default();
    let mut columns: Vec<Column> = Vec::new();
    for name in metric_names {
        if columns.iter().any(|column| column.name == *name) {
            continue;
        }
        match Metric::parse(name) {
            Some(metric) => columns.push(Column::new(name, metric)),
            None => evaluation.uncomputed.push((name.clone(), reason(name))),
        }
    }

    let mut counts = Counts::default();
    for prediction in predictions {
        let mut scores = Map::new();
        if prediction.outcome() == Outcome::Answered {
            if prediction.expected.is_empty() {
                counts.without_gold += 1;
            } else {
                counts.scored += 1;
            }
            let Evidence {
                supporting,
                passages,
                given,
            } = evidence(prediction);
            let ids: Vec<&str> = prediction
                .retrieved
                .iter()
                .map(|passage| passage.id.as_str())
                .collect();
            let searched = passages.is_some() || !ids.is_empty();
            let item = Scored {
                prediction: &prediction.prediction,
                expected: &prediction.expected,
                retrieved: searched.then_some(&ids),
                supporting,
                passages: passages.as_deref(),
            };
            for column in &mut columns {
                let score = match column.metric {
                    Metric::Given => column.given(given),
                    metric => metric.score(&item),
                };
                if let Some(score) = score {
                    column.scores.push(score);
                    scores.insert(column.name.clone(), json!(score));
                }
            }
        } else {
            counts.failed += 1;
        }
        evaluation.per_item.push((prediction.idx, scores));
    }

    for column in columns {
        column.write(counts.scored, &mut evaluation.aggregate);
        match column.missing() {
            Some(why) => evaluation.uncomputed.push((column.name, why)),
            None => evaluation.computed.push(column.name),
        }
    }
    counts.write(&mut evaluation.aggregate);
    evaluation
}

fn reason(name: &str) -> String {
    match find(name).map(|metric| metric.availability) {
        Some(Availability::Unavailable { reason }) => reason.to_owned(),
        Some(Availability::Available) => format!("write a number for k in '{name}'"),
        None => "no metric of this name is known".to_owned(),
    }
}

/// One metric and the scores it gave.
struct Column {
    name: String,
    metric: Metric,
    scores: Vec<f64>,
    /// Items whose score a model was to give and did not.
    failed: usize,
    /// Why the first of them has none.
    first_failure: Option<String>,
    /// Whether any model was asked at all.
    asked: bool,
}

impl Column {
    fn new(name: &str, metric: Metric) -> Self {
        Self {
            name: name.to_owned(),
            metric,
            scores: Vec::new(),
            failed: 0,
            first_failure: None,
            asked: false,
        }
    }

    /// The score that a model gave, if it did.
    fn given(&mut self, given: Option<&GivenScores>) -> Option<f64> {
        let score = given?.get(&self.name)?;
        self.asked = true;
        match score {
            Ok(score) => *score,
            Err(why) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| why.clone());
                None
            }
        }
    }

    /// Why the metric is not whole, if it is not.
    fn missing(&self) -> Option<String> {
        if let Some(why) = &self.first_failure {
            let due = self.failed + self.scores.len();
            return Some(format!(
                "{} of {due} answers have no score: {why}",
                self.failed
            ));
        }
        let nobody = self.metric == Metric::Given && !self.asked;
        let why = match is_judged(&self.name) {
            true => NO_JUDGE,
            false => NO_MODEL,
        };
        nobody.then(|| why.to_owned())
    }

    fn write(&self, n_scored: usize, aggregate: &mut Map<String, Value>) {
        let n = self.scores.len();
        let mean = (n > 0).then(|| self.scores.iter().sum::<f64>() / n as f64);
        aggregate.insert(self.name.clone(), json!(mean));
        if let Some(bounds) = bootstrap_95(&self.scores) {
            aggregate.insert(format!("{}_ci95", self.name), json!(bounds));
        }
        if n != n_scored {
            aggregate.insert(format!("{}_n", self.name), json!(n));
        }
        if self.failed > 0 {
            aggregate.insert(format!("{}_failed", self.name), json!(self.failed));
        }
    }
}

#[derive(Default)]
struct Counts {
    scored: usize,
    failed: usize,
    without_gold: usize,
}

impl Counts {
    fn write(&self, aggregate: &mut Map<String, Value>) {
        let due = self.scored + self.failed;
        let coverage = (due > 0).then(|| self.scored as f64 / due as f64);
        aggregate.insert("n_scored".into(), json!(self.scored));
        aggregate.insert("n_failed".into(), json!(self.failed));
        aggregate.insert("n_without_gold".into(), json!(self.without_gold));
        aggregate.insert("coverage".into(), json!(coverage));
    }
}
