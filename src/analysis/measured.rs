use super::{Cell, ExperimentRow};
use crate::statistics::stratified_bootstrap_95;
use std::collections::{BTreeMap, HashMap};

/// What an experiment scored on one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemScore {
    /// The question's idx.
    pub idx: usize,
    /// A fingerprint of its text: two experiments share a question when both
    /// are equal.
    pub question: u64,
    /// The score.
    pub score: f64,
}

/// An experiment with its scores by question.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The experiment.
    pub row: ExperimentRow,
    /// Its scores of the metric in question, by idx; empty where they were
    /// not read.
    pub scores: Vec<ItemScore>,
}

/// The scores of two experiments on the questions that both have, in the
/// order of the first.
pub fn paired_scores(first: &[ItemScore], second: &[ItemScore]) -> Vec<(f64, f64)> {
    let second: HashMap<(usize, u64), f64> = second
        .iter()
        .map(|item| ((item.idx, item.question), item.score))
        .collect();
    first
        .iter()
        .filter_map(|item| Some((item.score, *second.get(&(item.idx, item.question))?)))
        .collect()
}

/// The mean of the experiments' means, with its interval where their scores
/// by question are known.
///
/// The interval resamples questions, not experiments: it says how far the mean
/// would move with other questions, and nothing about other configurations.
/// A question counts with all experiments of the group that answered it, and
/// each dataset is resampled for itself.
pub(super) fn pooled(members: &[&Measured], metric: &str) -> Cell {
    let means: Vec<f64> = members
        .iter()
        .filter_map(|member| member.row.metric(metric))
        .collect();
    if means.is_empty() {
        return Cell::Empty;
    }
    if let [only] = members {
        return only.row.metric_cell(metric);
    }
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let share = 1.0 / means.len() as f64;
    let mut strata: BTreeMap<&str, BTreeMap<(usize, u64), f64>> = BTreeMap::new();
    for member in members {
        if member.scores.is_empty() {
            return Cell::Number(mean);
        }
        let stratum = strata.entry(&member.row.dataset).or_default();
        let weight = share / member.scores.len() as f64;
        for item in &member.scores {
            *stratum.entry((item.idx, item.question)).or_default() += item.score * weight;
        }
    }
    let strata: Vec<Vec<f64>> = strata
        .into_values()
        .map(|questions| questions.into_values().collect())
        .collect();
    match stratified_bootstrap_95(&strata) {
        Some([low, high]) => Cell::Estimate { mean, low, high },
        None => Cell::Number(mean),
    }
}
