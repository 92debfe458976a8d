//! Scores of an answer's text against the gold answers.

use super::normalisation::{normalise_answer, rouge_tokens, words};
use std::collections::HashMap;

/// Whose rules hold where an answer or all gold answers normalise to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// SQuAD 1.1 and NQ-open: a question without gold answer is not scored,
    /// and F1 is 0 when no word is shared, also between two empty texts.
    Squad1,
    /// SQuAD 2.0: without a gold answer the empty answer is the right one.
    Squad2,
}

/// Normalised gold answers, or `None` when the item can not be scored.
fn normalised_golds(expected: &[String], rules: Rules) -> Option<Vec<String>> {
    let mut golds: Vec<String> = expected.iter().map(|gold| normalise_answer(gold)).collect();
    if rules == Rules::Squad2 {
        golds.retain(|gold| !gold.is_empty());
        if golds.is_empty() {
            golds.push(String::new());
        }
    }
    (!golds.is_empty()).then_some(golds)
}

/// The best score over the gold answers; `None` when there are none.
fn best(scores: impl Iterator<Item = f64>) -> Option<f64> {
    scores.reduce(f64::max)
}

/// 1 if the answer equals a gold answer.
pub(super) fn exact_match(prediction: &str, expected: &[String], rules: Rules) -> Option<f64> {
    let golds = normalised_golds(expected, rules)?;
    let prediction = normalise_answer(prediction);
    Some(f64::from(u8::from(golds.contains(&prediction))))
}

/// Harmonic mean of precision and recall of the words.
pub(super) fn f1(prediction: &str, expected: &[String], rules: Rules) -> Option<f64> {
    let golds = normalised_golds(expected, rules)?;
    let prediction = normalise_answer(prediction);
    best(
        golds
            .iter()
            .map(|gold| f1_of_pair(&prediction, gold, rules)),
    )
}

fn f1_of_pair(prediction: &str, gold: &str, rules: Rules) -> f64 {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut gold_words = 0;
    for word in words(gold) {
        gold_words += 1;
        *counts.entry(word).or_default() += 1;
    }
    let mut prediction_words = 0;
    let mut shared = 0;
    for word in words(prediction) {
        prediction_words += 1;
        if let Some(left) = counts.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            shared += 1;
        }
    }
    if rules == Rules::Squad2 && (prediction_words == 0 || gold_words == 0) {
        return f64::from(u8::from(prediction_words == gold_words));
    }
    harmonic_mean(shared, prediction_words, gold_words)
}

/// 2PR / (P + R), in the order of operations of the published scripts.
fn harmonic_mean(shared: usize, prediction: usize, gold: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let precision = shared as f64 / prediction as f64;
    let recall = shared as f64 / gold as f64;
    2.0 * precision * recall / (precision + recall)
}

/// 1 if a normalised gold answer is a part of the normalised answer. One that
/// normalises to nothing is a part of nothing else.
pub(super) fn contains(prediction: &str, expected: &[String]) -> Option<f64> {
    let golds = normalised_golds(expected, Rules::Squad1)?;
    let prediction = normalise_answer(prediction);
    let found = golds.iter().any(|gold| match gold.is_empty() {
        true => prediction.is_empty(),
        false => prediction.contains(gold.as_str()),
    });
    Some(f64::from(u8::from(found)))
}

/// ROUGE-L F-measure, without stemming, against the best gold answer.
pub(super) fn rouge_l(prediction: &str, expected: &[String]) -> Option<f64> {
    let prediction = rouge_tokens(prediction);
    best(expected.iter().map(|gold| {
        let gold = rouge_tokens(gold);
        let shared = longest_common_subsequence(&prediction, &gold);
        harmonic_mean(shared, prediction.len(), gold.len())
    }))
}

fn longest_common_subsequence(left: &[String], right: &[String]) -> usize {
    // Equal words get equal numbers, so that the inner loop compares integers.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut numbered = Vec::with_capacity(left.len() + right.len());
    for word in left.iter().chain(right) {
        let next = numbers.len();
        numbered.push(*numbers.entry(word).or_insert(next));
    }
    let (left, right) = numbered.split_at(left.len());
    let mut row = vec![0_usize; right.len() + 1];
    for a in left {
        let mut diagonal = 0;
        for (j, b) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if a == b {
                diagonal + 1
            } else {
                above.max(row[j])
            };
            diagonal = above;
        }
    }
    row[right.len()]
}
