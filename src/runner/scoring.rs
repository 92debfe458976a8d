use super::{
    conversation::query_of,
    dialogue, drift,
    judge::Judge,
    lane::{lock, patiently},
    metric_models::{Answer, MetricModels},
    questions::own_passages,
    resources::Resources,
    retrieval::Shelf,
};
use crate::{
    domain::{ExperimentSpec, Failure, FailureClass, Passage, Prediction, Question},
    index::Query,
    metrics::{self, Evaluation, GivenScores},
};
use serde_json::Value;
use std::{collections::BTreeMap, ops::ControlFlow, sync::Mutex};

/// What scores answers: passages are found again, judges and models are asked,
/// and nothing is generated.
pub struct Scorer<'r> {
    /// Finds passages.
    pub shelf: &'r Mutex<Shelf>,
    /// Where the corpora are.
    pub resources: &'r Resources,
    /// The study's judge, where it has one.
    pub judge: Option<&'r mut Judge>,
    /// Models that give scores, where they may be loaded: no generator is on
    /// the device then.
    pub models: Option<&'r mut MetricModels>,
}

/// What is known of a question beside its answer.
struct Known<'q> {
    supporting: &'q [String],
    passages: Option<Vec<Passage>>,
}

impl Scorer<'_> {
    /// Scores `predictions`, the answers to `questions`, by the named metrics.
    /// `spec` is `None` for an experiment of another version, whose passages
    /// can not be found again; `index` is what its record says of the index
    /// that was searched. `go_on` is asked between the calls of a judge or
    /// model, which may take long; when it says no, the rest stays unscored.
    ///
    /// Metrics over passages that can not be found again, because the index is
    /// another one now, say, are uncomputed, each with the reason.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn score(
        &mut self,
        spec: Option<&ExperimentSpec>,
        index: &Value,
        metric_names: &[String],
        questions: &[Question],
        predictions: &[Prediction],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Evaluation, Failure> {
        let reads_passages = metric_names
            .iter()
            .any(|name| metrics::reads_passages(name));
        let spec = spec.filter(|spec| reads_passages && spec.retriever.is_some());
        let by_idx: BTreeMap<usize, &Prediction> = predictions
            .iter()
            .map(|prediction| (prediction.idx, prediction))
            .collect();
        let (known, lack) = match self.known(spec, index, questions, &by_idx, go_on) {
            Ok(known) => (known, None),
            Err(failure) if failure.class == FailureClass::Environment => return Err(failure),
            Err(failure) => (
                self.known(None, index, questions, &by_idx, go_on)?,
                Some(failure),
            ),
        };
        let is_lacking = |name: &&String| lack.is_some() && metrics::reads_passages(name);
        let (lacking, names): (Vec<&String>, Vec<&String>) =
            metric_names.iter().partition(is_lacking);
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut given = self.verdicts(&names, predictions, go_on);
        for (idx, scores) in self.of_models(&names, predictions, &known, go_on) {
            given.entry(idx).or_default().extend(scores);
        }
        let mut evaluation = metrics::evaluate_with(&names, predictions, &|prediction| {
            let known = known.get(&prediction.idx);
            metrics::Evidence {
                supporting: known.map_or(&[][..], |known| known.supporting),
                passages: known
                    .and_then(|known| known.passages.as_ref())
                    .map(|passages| passages.iter().map(|p| p.text.as_str()).collect()),
                given: given.get(&prediction.idx),
            }
        });
        if let Some(failure) = lack {
            let why = failure.first_line();
            let lacking = lacking.into_iter();
            evaluation
                .uncomputed
                .extend(lacking.map(|name| (name.clone(), why.to_owned())));
        }
        Ok(evaluation)
    }

    /// What is known of every question beside its answer.
    fn known<'q>(
        &mut self,
        spec: Option<&ExperimentSpec>,
        index: &Value,
        questions: &'q [Question],
        by_idx: &BTreeMap<usize, &Prediction>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<usize, Known<'q>>, Failure> {
        let mut known = BTreeMap::new();
        let has_own = spec.is_some_and(ExperimentSpec::reads_own_passages);
        if let Some(spec) = spec.filter(|_| !has_own) {
            self.rank(spec, index, questions, by_idx, go_on)?;
        }
        for question in questions {
            let prediction = by_idx.get(&question.idx).copied();
            let passages = match (spec, prediction) {
                (Some(spec), Some(prediction)) if prediction.is_answered() => {
                    self.passages_of(spec, prediction, question, go_on)?
                }
                _ => None,
            };
            // Whoever is given the right passages has not found them.
            let supporting = match has_own {
                true => &[],
                false => question.supporting.as_slice(),
            };
            known.insert(
                question.idx,
                Known {
                    supporting,
                    passages,
                },
            );
        }
        Ok(known)
    }

    /// Makes the rankings that the predictions were made of again, all at once.
    /// Another index would give other ones.
    fn rank(
        &mut self,
        spec: &ExperimentSpec,
        index: &Value,
        questions: &[Question],
        predictions: &BTreeMap<usize, &Prediction>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), Failure> {
        let of: Vec<(Vec<String>, &str)> = questions
            .iter()
            .filter_map(|question| {
                let prediction = predictions.get(&question.idx)?;
                let text = &question.question;
                let queries = dialogue::queries(prediction).unwrap_or_else(|| vec![text.clone()]);
                Some((queries, text.as_str()))
            })
            .collect();
        let queries: Vec<Query<'_>> = of
            .iter()
            .flat_map(|(queries, question)| {
                let queries = queries.iter();
                queries.map(|text| query_of(spec, text, question))
            })
            .collect();
        let resources = self.resources;
        let Some(mut shelf) = patiently(self.shelf, go_on) else {
            return Ok(());
        };
        let mut hear = |_: Option<&str>| match go_on() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        if let Some(retriever) = &spec.retriever {
            let now = shelf.prepare(retriever, resources, &mut hear)?;
            if let Some(failure) = drift::of_index(index, &now) {
                return Err(failure);
            }
        }
        shelf.rank(spec, &queries, resources, &mut hear)
    }

    /// The passages that a prediction's prompt was made of, found again; `None`
    /// for an agent that has not searched at all, on purpose.
    fn passages_of(
        &mut self,
        spec: &ExperimentSpec,
        prediction: &Prediction,
        question: &Question,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<Passage>>, Failure> {
        if dialogue::went_without_search(prediction) {
            return Ok(None);
        }
        let Some(shelf) = patiently(self.shelf, go_on) else {
            return Ok(None);
        };
        let text = &question.question;
        let find = |query: &str| shelf.passages(spec, query_of(spec, query, text));
        let cut = prediction.extra.get("passages_cut").and_then(Value::as_u64);
        let cut = cut.and_then(|cut| usize::try_from(cut).ok()).unwrap_or(0);
        let mut found: Vec<Passage> = match dialogue::queries(prediction) {
            None => match spec.reads_own_passages() {
                true => own_passages(spec, question),
                false => find(text)?,
            },
            Some(queries) => {
                let mut found = Vec::new();
                for query in queries {
                    found.extend(find(&query)?);
                }
                found
            }
        };
        // Records of older shapes do not say what was found.
        if prediction.retrieved.is_empty() && !prediction.extra.contains_key("steps") {
            found.truncate(found.len().saturating_sub(cut));
            return Ok(Some(found));
        }
        let in_prompt = prediction.retrieved.len().saturating_sub(cut);
        let hits = prediction.retrieved[..in_prompt].iter();
        let in_prompt = hits.map(|hit| {
            let passage = found.iter().find(|passage| passage.id == hit.id);
            passage.cloned().ok_or_else(|| {
                Failure::new(
                    FailureClass::Permanent,
                    format!(
                        "question {} was answered with the passage '{}', which is not found for \
                         it any more",
                        question.idx, hit.id
                    ),
                )
            })
        });
        in_prompt.collect::<Result<_, _>>().map(Some)
    }

    fn verdicts(
        &mut self,
        metric_names: &[String],
        predictions: &[Prediction],
        go_on: &mut dyn FnMut() -> bool,
    ) -> BTreeMap<usize, GivenScores> {
        let judged = || metric_names.iter().filter(|name| metrics::is_judged(name));
        let Some(judge) = self
            .judge
            .as_deref_mut()
            .filter(|_| judged().next().is_some())
        else {
            return BTreeMap::new();
        };
        judge
            .verdicts(predictions, go_on)
            .into_iter()
            .map(|(idx, verdict)| {
                let verdict = verdict.map(Some);
                let scores = judged().map(|name| (name.clone(), verdict.clone()));
                (idx, scores.collect())
            })
            .collect()
    }

    /// What models say of the answers.
    fn of_models(
        &mut self,
        metric_names: &[String],
        predictions: &[Prediction],
        known: &BTreeMap<usize, Known<'_>>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> BTreeMap<usize, GivenScores> {
        let Some(models) = self.models.as_deref_mut() else {
            return BTreeMap::new();
        };
        // What found the passages again makes room.
        lock(self.shelf).release_models();
        let answered = predictions.iter().filter(|one| one.is_answered());
        let answers: Vec<Answer<'_>> = answered
            .map(|one| {
                let passages = known.get(&one.idx).and_then(|it| it.passages.as_ref());
                Answer {
                    idx: one.idx,
                    question: &one.question,
                    text: &one.prediction,
                    expected: &one.expected,
                    passages: passages.map(|all| all.iter().map(|it| it.text.as_str()).collect()),
                }
            })
            .collect();
        models.scores(metric_names, &answers, go_on)
    }
}
