//! Scores of retrieved passages against gold answers and against the passages
//! that are known to hold the answer.

use super::normalisation::{normalise_answer, words};
use std::collections::HashSet;

/// 1 if a gold answer stands, word for word, in the passages.
///
/// Whole words only: `no` does not stand in `nothing`. Gold answers that
/// normalise to nothing stand nowhere.
pub(super) fn answer_in_context(passages: &[&str], expected: &[String]) -> Option<f64> {
    if expected.is_empty() {
        return None;
    }
    let passages: Vec<String> = passages
        .iter()
        .map(|text| format!(" {} ", normalise_answer(text)))
        .collect();
    let found = expected.iter().any(|gold| {
        let gold = normalise_answer(gold);
        let gold_words = format!(" {gold} ");
        !gold.is_empty() && passages.iter().any(|text| text.contains(&gold_words))
    });
    Some(f64::from(u8::from(found)))
}

/// Share of a gold answer's different words that stand in the passages; the
/// best gold answer counts.
pub(super) fn context_recall(passages: &[&str], expected: &[String]) -> Option<f64> {
    let passages: Vec<String> = passages.iter().map(|text| normalise_answer(text)).collect();
    let there: HashSet<&str> = passages.iter().flat_map(|text| words(text)).collect();
    expected
        .iter()
        .map(|gold| {
            let gold = normalise_answer(gold);
            let wanted: HashSet<&str> = words(&gold).collect();
            if wanted.is_empty() {
                return 0.0;
            }
            let found = wanted.iter().filter(|word| there.contains(*word)).count();
            found as f64 / wanted.len() as f64
        })
        .reduce(f64::max)
}

/// Whether a passage is the supporting one, or a chunk of it: chunks are
/// called by their document's id, `#` and their number.
fn is_from(passage: &str, supporting: &str) -> bool {
    match passage.strip_prefix(supporting) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('#').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        }),
        None => false,
    }
}

/// For every different supporting passage its best rank, from 0, among the
/// first `k`; `None` when nothing is known to support an answer.
fn ranks(retrieved: &[&str], supporting: &[String], k: usize) -> Option<Vec<Option<usize>>> {
    let different: HashSet<&String> = supporting.iter().collect();
    if different.is_empty() {
        return None;
    }
    let first = &retrieved[..retrieved.len().min(k)];
    Some(
        different
            .into_iter()
            .map(|id| first.iter().position(|passage| is_from(passage, id)))
            .collect(),
    )
}

/// Share of the supporting passages among the first `k`.
pub(super) fn recall(retrieved: &[&str], supporting: &[String], k: usize) -> Option<f64> {
    let ranks = ranks(retrieved, supporting, k)?;
    Some(ranks.iter().flatten().count() as f64 / ranks.len() as f64)
}

/// 1 if a supporting passage is among the first `k`.
pub(super) fn hit(retrieved: &[&str], supporting: &[String], k: usize) -> Option<f64> {
    let ranks = ranks(retrieved, supporting, k)?;
    Some(f64::from(u8::from(ranks.iter().any(Option::is_some))))
}

/// 1 / rank of the first supporting passage, 0 if none is among the first `k`.
pub(super) fn mrr(retrieved: &[&str], supporting: &[String], k: usize) -> Option<f64> {
    let ranks = ranks(retrieved, supporting, k)?;
    let first = ranks.into_iter().flatten().min();
    Some(first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64))
}

/// Discounted cumulative gain of the supporting passages among the first `k`
/// over the best that is possible; every one gains 1.
pub(super) fn ndcg(retrieved: &[&str], supporting: &[String], k: usize) -> Option<f64> {
    let mut ranks = ranks(retrieved, supporting, k)?;
    let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let ideal: f64 = (0..ranks.len().min(k)).map(discount).sum();
    // Addition in one order, so that the last bit never depends on hashing; a
    // passage gains once, also where it is a chunk of two that support.
    ranks.sort_unstable();
    ranks.dedup();
    let gain: f64 = ranks.into_iter().flatten().map(discount).sum();
    // The sum of nothing is -0.
    Some(gain / ideal + 0.0)
}
