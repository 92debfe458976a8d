//! Scores: what a prediction is worth against its gold answers, and what
//! retrieved passages are worth against the known supporting ones.
//!
//! [`score`] rates one answer by one metric, [`evaluate`] a whole experiment.
//! A prediction that is an error is never scored, only counted.

mod answer;
mod claims;
mod evaluation;
mod evidence;
mod given;
mod judge;
mod normalisation;
#[cfg(test)]
mod tests;

pub use claims::{InferenceLabels, Inferred, claims, faithfulness, hallucination};
pub use evaluation::{Evaluation, Evidence, evaluate, evaluate_with};
pub use given::{GivenScores, is_given, is_judged, place_among_token_scores, reads_passages};
pub use judge::Judgment;
pub use normalisation::normalise_answer;

use answer::Rules;

/// Whether a metric can be computed by this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It is computed.
    Available,
    /// Its name is known, but it stays uncomputed; `reason` completes the
    /// sentence "metric X is not computed: ...".
    Unavailable {
        /// Why.
        reason: &'static str,
    },
}

/// A metric that studies may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownMetric {
    /// The name in studies and artifacts; `@k` stands for any `@5`, `@10`.
    pub name: &'static str,
    /// Whether it is computed.
    pub availability: Availability,
    /// What it measures, in one line.
    pub about: &'static str,
}

const fn available(name: &'static str, about: &'static str) -> KnownMetric {
    KnownMetric {
        name,
        availability: Availability::Available,
        about,
    }
}

const fn unavailable(name: &'static str, about: &'static str, reason: &'static str) -> KnownMetric {
    KnownMetric {
        name,
        availability: Availability::Unavailable { reason },
        about,
    }
}

const NEEDS_MODEL: &str = "it needs a scoring model that this version can not run";

static KNOWN: [KnownMetric; 21] = [
    available(
        "exact_match",
        "1 if the normalised answer equals a gold answer (SQuAD 1.1)",
    ),
    available(
        "f1",
        "overlap of words with the best gold answer (SQuAD 1.1)",
    ),
    available(
        "exact_match_v2",
        "exact match where no gold answer means that silence is right (SQuAD 2.0)",
    ),
    available(
        "f1_v2",
        "F1 where no gold answer means that silence is right (SQuAD 2.0)",
    ),
    available(
        "contains",
        "1 if the normalised answer contains a gold answer",
    ),
    available(
        "rouge_l",
        "longest common subsequence with the best gold answer (F-measure)",
    ),
    available(
        "answer_in_context",
        "1 if a gold answer stands in the retrieved passages",
    ),
    available(
        "context_recall",
        "share of the best gold answer's words that stand in the retrieved passages",
    ),
    available(
        "recall@k",
        "share of the supporting passages among the first k",
    ),
    available("hit@k", "1 if a supporting passage is among the first k"),
    available("mrr", "1 / rank of the first supporting passage"),
    available(
        "mrr@k",
        "1 / rank of the first supporting passage, if among the first k",
    ),
    available(
        "ndcg@k",
        "discounted gain of the supporting passages among the first k",
    ),
    available("llm_judge", "the verdict of the study's judge model"),
    available("llm_judge_qa", "the same as llm_judge"),
    available(
        "bertscore",
        "similarity of token embeddings with the best gold answer (F1)",
    ),
    available("bertscore_precision", "the same, over the answer's tokens"),
    available(
        "bertscore_recall",
        "the same, over the gold answer's tokens",
    ),
    available(
        "faithfulness",
        "how far the retrieved passages entail the answer",
    ),
    available(
        "hallucination",
        "how far they contradict it and do not entail it",
    ),
    unavailable("bleurt", "learned similarity", NEEDS_MODEL),
];

/// Every metric that studies may name, available ones first.
pub fn known() -> &'static [KnownMetric] {
    &KNOWN
}

/// The entry that `name` belongs to: `recall@5` is found under `recall@k`.
/// `None` means that nobody knows it.
pub fn find(name: &str) -> Option<&'static KnownMetric> {
    let family = match name.split_once('@') {
        Some((stem, cutoff)) if parse_cutoff(cutoff).is_some() => format!("{stem}@k"),
        Some(_) => return None,
        None => name.to_owned(),
    };
    KNOWN.iter().find(|metric| metric.name == family)
}

/// `k` of `recall@k`: a decimal number from 1, written without sign or zeros
/// in front, so that one metric has one name.
fn parse_cutoff(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

/// A metric that can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    ExactMatch(Rules),
    F1(Rules),
    Contains,
    RougeL,
    AnswerInContext,
    ContextRecall,
    Recall(usize),
    Hit(usize),
    Mrr(usize),
    Ndcg(usize),
    /// A model gives the score; [`Evidence::given`] has it.
    Given,
}

impl Metric {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "exact_match" => Self::ExactMatch(Rules::Squad1),
            "f1" => Self::F1(Rules::Squad1),
            "exact_match_v2" => Self::ExactMatch(Rules::Squad2),
            "f1_v2" => Self::F1(Rules::Squad2),
            "contains" => Self::Contains,
            "rouge_l" => Self::RougeL,
            "answer_in_context" => Self::AnswerInContext,
            "context_recall" => Self::ContextRecall,
            "mrr" => Self::Mrr(usize::MAX),
            name if is_given(name) => Self::Given,
            _ => {
                let (stem, cutoff) = name.split_once('@')?;
                let cutoff = parse_cutoff(cutoff)?;
                match stem {
                    "recall" => Self::Recall(cutoff),
                    "hit" => Self::Hit(cutoff),
                    "mrr" => Self::Mrr(cutoff),
                    "ndcg" => Self::Ndcg(cutoff),
                    _ => return None,
                }
            }
        })
    }

    fn score(self, item: &Scored<'_>) -> Option<f64> {
        let Scored {
            prediction,
            expected,
            ..
        } = *item;
        match self {
            Self::ExactMatch(rules) => answer::exact_match(prediction, expected, rules),
            Self::F1(rules) => answer::f1(prediction, expected, rules),
            Self::Contains => answer::contains(prediction, expected),
            Self::RougeL => answer::rouge_l(prediction, expected),
            Self::AnswerInContext => evidence::answer_in_context(item.passages?, expected),
            Self::ContextRecall => evidence::context_recall(item.passages?, expected),
            Self::Recall(k) => evidence::recall(item.retrieved?, item.supporting, k),
            Self::Hit(k) => evidence::hit(item.retrieved?, item.supporting, k),
            Self::Mrr(k) => evidence::mrr(item.retrieved?, item.supporting, k),
            Self::Ndcg(k) => evidence::ndcg(item.retrieved?, item.supporting, k),
            Self::Given => None,
        }
    }
}

/// What a metric may look at. `..Scored::default()` fills what is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scored<'a> {
    /// The answer.
    pub prediction: &'a str,
    /// Gold answers; empty means that there are none.
    pub expected: &'a [String],
    /// Ids of the retrieved passages, best first; `None` without retrieval.
    pub retrieved: Option<&'a [&'a str]>,
    /// Ids of the passages, or of their documents, that hold the answer.
    pub supporting: &'a [String],
    /// Texts of the retrieved passages; `None` when they are not at hand.
    pub passages: Option<&'a [&'a str]>,
}

/// The score of one answer, between 0 and 1.
///
/// `None` when the metric is not available, or does not apply: no gold answer
/// (except for the `_v2` metrics), no retrieval, no known supporting passage.
/// What a model says is not to be had this way either.
pub fn score(metric_name: &str, item: &Scored<'_>) -> Option<f64> {
    Metric::parse(metric_name)?.score(item)
}
