use super::{judge::Judge, resources::Resources, retrieval::Shelf};
use crate::{
    domain::{ExperimentSpec, Failure, Passage, Prediction, Question},
    metrics::{self, Evaluation, GivenScores},
};
use std::collections::BTreeMap;

/// Metrics that look at retrieved passages.
const PASSAGE_METRICS: [&str; 6] = [
    "answer_in_context",
    "context_recall",
    "recall",
    "hit",
    "mrr",
    "ndcg",
];

/// What scores answers: passages are found again, judges are asked, and
/// nothing is generated.
pub struct Scorer<'r> {
    /// Finds passages.
    pub shelf: &'r mut Shelf,
    /// Where the corpora are.
    pub resources: &'r Resources,
    /// The study's judge, where it has one.
    pub judge: Option<&'r mut Judge>,
}

/// What is known of a question beside its answer.
struct Known<'q> {
    supporting: &'q [String],
    passages: Option<Vec<Passage>>,
}

impl Scorer<'_> {
    /// Scores `predictions`, the answers to `questions`, by the named metrics.
    /// `spec` is `None` for an experiment of another version, whose passages
    /// can not be found again. `go_on` is asked between the calls of a judge,
    /// which may take long; when it says no, the rest stays unjudged.
    ///
    /// # Errors
    /// When passages are needed and the index can not be had.
    pub fn score(
        &mut self,
        spec: Option<&ExperimentSpec>,
        metric_names: &[String],
        questions: &[Question],
        predictions: &[Prediction],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Evaluation, Failure> {
        let reads_passages = metric_names.iter().any(|metric| {
            let name = metric.split('@').next().unwrap_or(metric);
            PASSAGE_METRICS.contains(&name)
        });
        let spec = spec.filter(|spec| reads_passages && spec.retriever.is_some());
        let mut known = BTreeMap::new();
        for question in questions {
            let passages = match spec {
                Some(spec) => Some(self.shelf.retrieve(
                    spec,
                    &question.question,
                    self.resources,
                    &mut |_| {},
                )?),
                None => None,
            };
            let supporting = question.supporting.as_slice();
            known.insert(
                question.idx,
                Known {
                    supporting,
                    passages,
                },
            );
        }
        let given = self.verdicts(metric_names, predictions, go_on);
        Ok(metrics::evaluate_with(
            metric_names,
            predictions,
            &|prediction| {
                let known = known.get(&prediction.idx);
                metrics::Evidence {
                    supporting: known.map_or(&[][..], |known| known.supporting),
                    passages: known
                        .and_then(|known| known.passages.as_ref())
                        .map(|passages| passages.iter().map(|p| p.text.as_str()).collect()),
                    given: given.get(&prediction.idx),
                }
            },
        ))
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
                let scores = judged().map(|name| (name.clone(), verdict.clone()));
                (idx, scores.collect())
            })
            .collect()
    }
}
