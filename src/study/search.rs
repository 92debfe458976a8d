//! Which cell of a grid to try next.

use super::sampling::lot;
use crate::domain::ExperimentSpec;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Cells tried by lot before their scores guide.
const BLIND: usize = 10;

/// The share of the best that is followed.
const GOOD: f64 = 0.25;

/// A grid of which only some cells are to be run, each chosen by what the
/// ones before it scored: a tree-structured Parzen estimator (Bergstra et al.
/// 2011) over categories.
///
/// Every choice is a function of the seed and of what was scored, so a search
/// that was stopped goes on as if it had not been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Names of the cells that may be chosen.
    pub cells: BTreeSet<String>,
    /// Cells to try.
    pub number: usize,
    /// The metric that is to become large.
    pub metric: String,
    /// Which cells come first.
    pub seed: u64,
}

impl Search {
    /// Whether enough cells were tried, by whatever runs.
    pub fn is_over(&self, is_tried: impl Fn(&str) -> bool) -> bool {
        self.cells.iter().filter(|name| is_tried(name)).count() >= self.number
    }

    /// The cell to try next: one of `experiments`, which are the study's, that
    /// is of this search, `may` be tried here and is not among `tried`.
    /// `scores` are those of complete cells; one that failed is tried and has
    /// none. `None` when enough were tried, or all.
    pub fn next<'e>(
        &self,
        experiments: &'e [ExperimentSpec],
        may: impl Fn(&str) -> bool,
        tried: &BTreeSet<&str>,
        scores: &HashMap<&str, f64>,
    ) -> Option<&'e ExperimentSpec> {
        let cells: Vec<&ExperimentSpec> = experiments
            .iter()
            .filter(|spec| self.cells.contains(&spec.name))
            .collect();
        let is_tried = |spec: &&ExperimentSpec| tried.contains(spec.name.as_str());
        if self.is_over(|name| tried.contains(name)) {
            return None;
        }
        let (good, bad) = split(&cells, scores);
        let guided = good.len() + bad.len() >= BLIND;
        let (good, bad) = (Density::of(&good), Density::of(&bad));
        cells
            .into_iter()
            .filter(|spec| !is_tried(spec) && may(&spec.name))
            .map(|spec| {
                let promise = match guided {
                    true => good.log_of(spec) - bad.log_of(spec),
                    false => 0.0,
                };
                (promise, lot(self.seed, &spec.name), spec)
            })
            // Equal promises are told apart by lot.
            .max_by(|(a, x, _), (b, y, _)| a.total_cmp(b).then_with(|| x.cmp(y)))
            .map(|(_, _, spec)| spec)
    }
}

/// The cells with the best scores, and the others. A dataset's level is no
/// merit: scores count by their distance from the mean of their dataset.
fn split<'e>(
    cells: &[&'e ExperimentSpec],
    scores: &HashMap<&str, f64>,
) -> (Vec<&'e ExperimentSpec>, Vec<&'e ExperimentSpec>) {
    let scored: Vec<(&ExperimentSpec, f64)> = cells
        .iter()
        .filter_map(|spec| Some((*spec, *scores.get(spec.name.as_str())?)))
        .collect();
    let mut of_dataset: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (spec, score) in &scored {
        of_dataset
            .entry(&spec.dataset.name)
            .or_default()
            .push(*score);
    }
    let level = |spec: &ExperimentSpec| {
        let scores = of_dataset.get(spec.dataset.name.as_str());
        scores.map_or(0.0, |scores| {
            scores.iter().sum::<f64>() / scores.len() as f64
        })
    };
    let mut ranked: Vec<(f64, &ExperimentSpec)> = scored
        .iter()
        .map(|(spec, score)| (score - level(spec), *spec))
        .collect();
    ranked.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.name.cmp(&y.name)));
    let good = (ranked.len() as f64 * GOOD).ceil() as usize;
    let specs: Vec<&ExperimentSpec> = ranked.into_iter().map(|(_, spec)| spec).collect();
    let (good, bad) = specs.split_at(good.min(specs.len()));
    (good.to_vec(), bad.to_vec())
}

/// How often each value of each axis stands in some cells.
struct Density {
    cells: usize,
    counts: HashMap<(String, String), usize>,
}

impl Density {
    fn of(cells: &[&ExperimentSpec]) -> Self {
        let mut counts = HashMap::new();
        for spec in cells {
            for value in values(spec) {
                *counts.entry(value).or_default() += 1;
            }
        }
        Self {
            cells: cells.len(),
            counts,
        }
    }

    /// The logarithm of a cell's density; every value was seen once before
    /// anything was tried.
    fn log_of(&self, spec: &ExperimentSpec) -> f64 {
        values(spec)
            .iter()
            .map(|value| {
                let count = self.counts.get(value).copied().unwrap_or(0);
                ((count + 1) as f64 / (self.cells + 1) as f64).ln()
            })
            .sum()
    }
}

/// The values of a cell by axis; the dataset is none, because nobody chooses
/// it for its scores.
fn values(spec: &ExperimentSpec) -> Vec<(String, String)> {
    let retriever = spec
        .retriever
        .as_ref()
        .map(|retriever| retriever.name.clone());
    let mut values = vec![
        ("model", spec.model.to_string()),
        ("quantization", spec.quantization.to_string()),
        ("prompt", spec.prompt.name.clone()),
        ("retriever", retriever.unwrap_or_default()),
        (
            "top_k",
            spec.top_k.map(|k| k.to_string()).unwrap_or_default(),
        ),
        ("agent", format!("{:?}", spec.agent)),
    ]
    .into_iter()
    .map(|(axis, value)| (axis.to_owned(), value))
    .collect::<Vec<_>>();
    let options = spec.options.iter();
    values.extend(options.map(|(key, value)| (format!("options.{key}"), value.to_string())));
    values
}
