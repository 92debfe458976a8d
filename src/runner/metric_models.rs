use super::encoders::StudyEncoders;
use crate::{
    domain::{Encoders, Failure, FailureClass, ScoringModel, ScoringModels},
    metrics::{
        GivenScores, InferenceLabels, Inferred, claims, faithfulness, hallucination,
        place_among_token_scores,
    },
};
use std::{collections::BTreeMap, ops::Range};

/// Pairs of texts given to a model together.
const BATCH: usize = 256;

/// Batches in a row without a single score, after which the model counts as
/// broken.
const MOST_FRUITLESS: usize = 2;

/// Models on this machine that give scores, each in a worker of its own that is
/// started when its metric is first asked for. A failure is that of the answers
/// it hits, and never a score.
pub struct MetricModels {
    models: ScoringModels,
    encoders: StudyEncoders,
}

/// An answer that is to be scored.
pub struct Answer<'a> {
    /// The question's idx.
    pub idx: usize,
    /// The question.
    pub question: &'a str,
    /// The answer.
    pub text: &'a str,
    /// Gold answers.
    pub expected: &'a [String],
    /// The passages that it was made of; `None` without retrieval.
    pub passages: Option<Vec<&'a str>>,
}

/// What a model gave for a pair, or why it gave nothing.
type Given<T> = Result<T, String>;

/// What a model makes of some pairs, one row for each.
type Ask<'a> = dyn FnMut(&[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> + 'a;

impl MetricModels {
    /// No model is loaded yet.
    pub const fn new(models: ScoringModels, encoders: StudyEncoders) -> Self {
        Self { models, encoders }
    }

    /// By idx the scores of every answer by those of the metrics that models
    /// give. `go_on` is asked between batches; when it says no, the rest fails.
    pub fn scores(
        &mut self,
        metric_names: &[String],
        answers: &[Answer<'_>],
        go_on: &mut dyn FnMut() -> bool,
    ) -> BTreeMap<usize, GivenScores> {
        let mut given: BTreeMap<usize, GivenScores> = BTreeMap::new();
        for which in [ScoringModel::Tokens, ScoringModel::Inference] {
            let names: Vec<&String> = metric_names
                .iter()
                .filter(|name| ScoringModel::of(name) == Some(which))
                .collect();
            if names.is_empty() {
                continue;
            }
            let of_all = match which {
                ScoringModel::Tokens => self.compared(&names, answers, go_on),
                ScoringModel::Inference => self.inferred(&names, answers, go_on),
            };
            // One model at a time.
            self.encoders.release();
            for (answer, scores) in answers.iter().zip(of_all) {
                let names = names.iter().map(|name| (*name).clone());
                let of_answer = given.entry(answer.idx).or_default();
                of_answer.extend(names.zip(scores));
            }
        }
        given
    }

    /// For each answer its scores by the metrics that compare tokens: the best
    /// over the gold answers, as for several references in `bert-score`. They do
    /// not apply where there is no gold answer.
    fn compared(
        &mut self,
        names: &[&String],
        answers: &[Answer<'_>],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Vec<Vec<Given<Option<f64>>>> {
        let mut pairs = Vec::new();
        let ranges: Vec<Range<usize>> = answers
            .iter()
            .map(|answer| {
                let start = pairs.len();
                let golds = answer.expected.iter().map(String::as_str);
                pairs.extend(golds.map(|gold| (answer.text, gold)));
                start..pairs.len()
            })
            .collect();
        let (tokens, encoders) = (&self.models.tokens, &mut self.encoders);
        let rows = all(&pairs, go_on, &mut |pairs| {
            encoders.matcher(tokens)?.scores(pairs)
        });
        let best = |range: &Range<usize>, place: usize| {
            let mut best: Option<f64> = None;
            for row in &rows[range.clone()] {
                let score = row.as_ref().map_err(String::clone)?.get(place);
                let score = f64::from(*score.ok_or("the model gave too few scores")?);
                best = Some(best.map_or(score, |best| best.max(score)));
            }
            Ok(best)
        };
        ranges
            .iter()
            .map(|range| {
                let places = names.iter().map(|name| place_among_token_scores(name));
                places.map(|place| best(range, place)).collect()
            })
            .collect()
    }

    /// For each answer its scores by the metrics that ask what the passages
    /// entail. They do not apply without retrieval, nor to an answer that
    /// claims nothing.
    fn inferred(
        &mut self,
        names: &[&String],
        answers: &[Answer<'_>],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Vec<Vec<Given<Option<f64>>>> {
        let claimed: Vec<Vec<String>> = answers
            .iter()
            .map(|answer| match answer.passages {
                Some(_) => claims(answer.question, answer.text),
                None => Vec::new(),
            })
            .collect();
        let mut pairs = Vec::new();
        let ranges: Vec<Vec<Range<usize>>> = answers
            .iter()
            .zip(&claimed)
            .map(|(answer, claims)| {
                let passages = answer.passages.as_deref().unwrap_or_default();
                let mut range = |claim| {
                    let start = pairs.len();
                    pairs.extend(passages.iter().map(|passage| (*passage, claim)));
                    start..pairs.len()
                };
                claims.iter().map(|claim| range(claim.as_str())).collect()
            })
            .collect();
        let (model, encoders) = (&self.models.inference, &mut self.encoders);
        let mut labels = None;
        let rows = all(&pairs, go_on, &mut |pairs| {
            let worker = encoders.classifier(model)?;
            labels = Some(InferenceLabels::of(worker.labels()).map_err(|why| {
                Failure::new(
                    FailureClass::Permanent,
                    format!("{model} says nothing of what a text entails: {why}"),
                )
            })?);
            worker.logits(pairs)
        });
        let inferred = |range: &Range<usize>| -> Given<Vec<Inferred>> {
            let rows = rows[range.clone()].iter();
            rows.map(|row| {
                let row = row.as_ref().map_err(String::clone)?;
                let labels = labels.ok_or("the model did not say its labels")?;
                Ok(labels.probabilities(row))
            })
            .collect()
        };
        ranges
            .iter()
            .map(|ranges| {
                let claims: Given<Vec<_>> = ranges.iter().map(inferred).collect();
                let scores = names.iter().map(|name| {
                    let claims = claims.as_ref().map_err(String::clone)?;
                    Ok(match name.as_str() {
                        "hallucination" => hallucination(claims),
                        _ => faithfulness(claims),
                    })
                });
                scores.collect()
            })
            .collect()
    }
}

/// Asks for all pairs, batch by batch. What fails for one text alone fails for
/// it alone; what fails again and again is not asked any more.
fn all(
    pairs: &[(&str, &str)],
    go_on: &mut dyn FnMut() -> bool,
    ask: &mut Ask<'_>,
) -> Vec<Given<Vec<f32>>> {
    let mut rows: Vec<Given<Vec<f32>>> = Vec::with_capacity(pairs.len());
    let mut fruitless = 0;
    for batch in pairs.chunks(BATCH) {
        if !go_on() {
            let rest = pairs.len() - rows.len();
            rows.extend((0..rest).map(|_| Err("it was not scored any more".to_owned())));
            return rows;
        }
        match ask(batch) {
            Ok(found) if found.len() == batch.len() => {
                fruitless = 0;
                rows.extend(found.into_iter().map(Ok));
            }
            Ok(_) => rows.extend(
                batch
                    .iter()
                    .map(|_| Err("the model passed it over".to_owned())),
            ),
            Err(failure) if failure.class == FailureClass::BadItem => {
                rows.extend(batch.iter().map(|pair| alone(*pair, ask)));
            }
            Err(failure) => {
                fruitless += 1;
                let why = failure.first_line().to_owned();
                let hopeless = failure.class == FailureClass::Permanent;
                let failed = match hopeless || fruitless >= MOST_FRUITLESS {
                    true => pairs.len() - rows.len(),
                    false => batch.len(),
                };
                rows.extend((0..failed).map(|_| Err(why.clone())));
                if rows.len() == pairs.len() {
                    return rows;
                }
            }
        }
    }
    rows
}

fn alone(pair: (&str, &str), ask: &mut Ask<'_>) -> Given<Vec<f32>> {
    match ask(&[pair]) {
        Ok(mut rows) => rows
            .pop()
            .ok_or_else(|| "the model passed it over".to_owned()),
        Err(failure) => Err(failure.first_line().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: FailureClass) -> Failure {
        Failure::new(class, "no")
    }

    #[test]
    fn a_text_that_can_not_be_scored_costs_itself_only() {
        let pairs = vec![("a", "b"), ("bad", "b"), ("c", "b")];
        let rows = all(&pairs, &mut || true, &mut |pairs| match pairs
            .iter()
            .any(|pair| pair.0 == "bad")
        {
            true => Err(failure(FailureClass::BadItem)),
            false => Ok(vec![vec![1.0]; pairs.len()]),
        });
        let no = Err("no".to_owned());
        assert_eq!(rows, [Ok(vec![1.0]), no, Ok(vec![1.0])]);
    }

    #[test]
    fn a_model_that_fails_again_and_again_is_not_asked_for_every_batch() {
        let pairs = vec![("a", "b"); 10 * BATCH];
        for (class, most) in [(FailureClass::Permanent, 1), (FailureClass::Hang, 2)] {
            let mut asked = 0;
            let rows = all(&pairs, &mut || true, &mut |_| {
                asked += 1;
                Err(failure(class))
            });
            assert_eq!((rows.len(), asked), (pairs.len(), most));
            assert!(rows.iter().all(Result::is_err));
        }
    }

    #[test]
    fn whoever_says_stop_is_heard_between_batches() {
        let pairs = vec![("a", "b"); 3 * BATCH];
        let mut left = 1;
        let mut go_on = || {
            left -= 1;
            left >= 0
        };
        let rows = all(&pairs, &mut go_on, &mut |pairs| {
            Ok(vec![vec![1.0]; pairs.len()])
        });
        assert_eq!(rows.iter().filter(|row| row.is_ok()).count(), BATCH);
        assert_eq!(rows.len(), pairs.len());
    }
}
