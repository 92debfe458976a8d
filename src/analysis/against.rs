//! Every experiment against one.

use super::{Cell, Measured, Table, measured::paired_scores};
use crate::statistics::{Difference, holm, mcnemar_exact, paired_differences};

/// Below this an adjusted p-value counts as a difference.
const SIGNIFICANT: f64 = 0.05;

/// Resamples come out the same in every run.
const SEED: u64 = 0x5eed_c0de_9a1d_0001;

/// How experiments differ from a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// One line per experiment that shares a question with the baseline,
    /// the largest difference first.
    pub table: Table,
    /// Names of those that share none.
    pub unpaired: Vec<String>,
}

/// One experiment's line before it is a line.
struct Comparison<'a> {
    name: &'a str,
    mean: f64,
    baseline_mean: f64,
    difference: Difference,
    only_here: usize,
    only_baseline: usize,
}

/// Compares each of `others` with `baseline` on the questions that both have:
/// means over these, their difference with a bootstrap interval, and p of the
/// permutation test, plain and after Holm's correction for the number of
/// experiments. Where every score is 0 or 1, McNemar's exact test stands
/// beside.
pub fn against(
    baseline: &Measured,
    others: &[&Measured],
    metric: &str,
    resamples: usize,
) -> Against {
    let mut unpaired = Vec::new();
    let mut paired = Vec::new();
    for other in others {
        let pairs = paired_scores(&other.scores, &baseline.scores);
        if pairs.is_empty() {
            unpaired.push(other.row.name.clone());
        } else {
            paired.push((other.row.name.as_str(), pairs));
        }
    }
    let differences: Vec<Vec<f64>> = paired
        .iter()
        .map(|(_, pairs)| pairs.iter().map(|(here, there)| here - there).collect())
        .collect();
    let is_binary = paired
        .iter()
        .flat_map(|(_, pairs)| pairs)
        .all(|(here, there)| [here, there].into_iter().all(|s| *s == 0.0 || *s == 1.0));
    let results = paired_differences(&differences, resamples, SEED);
    let mut comparisons: Vec<Comparison<'_>> = paired
        .iter()
        .zip(results)
        .filter_map(|((name, pairs), difference)| {
            let n = pairs.len() as f64;
            let count = |wanted: (f64, f64)| pairs.iter().filter(|pair| **pair == wanted).count();
            Some(Comparison {
                name,
                mean: pairs.iter().map(|(here, _)| here).sum::<f64>() / n,
                baseline_mean: pairs.iter().map(|(_, there)| there).sum::<f64>() / n,
                difference: difference?,
                only_here: count((1.0, 0.0)),
                only_baseline: count((0.0, 1.0)),
            })
        })
        .collect();
    comparisons.sort_by(|a, b| {
        let by_difference = b.difference.mean.total_cmp(&a.difference.mean);
        by_difference.then_with(|| a.name.cmp(b.name))
    });
    Against {
        table: table(&comparisons, metric, is_binary),
        unpaired,
    }
}

fn table(comparisons: &[Comparison<'_>], metric: &str, is_binary: bool) -> Table {
    let adjusted = holm(&p_values(comparisons, |one| one.difference.p_value));
    let exact: Vec<f64> = p_values(comparisons, |one| {
        mcnemar_exact(one.only_here, one.only_baseline).p_value
    });
    let exact_adjusted = holm(&exact);
    let mut headers = vec![
        "experiment".to_owned(),
        "questions".to_owned(),
        metric.to_owned(),
        format!("baseline {metric}"),
        "difference".to_owned(),
        "p".to_owned(),
        "p_holm".to_owned(),
        "verdict".to_owned(),
    ];
    if is_binary {
        headers.extend(
            ["only_here", "only_baseline", "p_mcnemar", "p_mcnemar_holm"].map(str::to_owned),
        );
    }
    let rows = comparisons
        .iter()
        .enumerate()
        .map(|(i, one)| {
            let difference = one.difference;
            let mut cells = vec![
                Cell::Text(one.name.to_owned()),
                Cell::Count(difference.n),
                Cell::Number(one.mean),
                Cell::Number(one.baseline_mean),
                Cell::Estimate {
                    mean: difference.mean,
                    low: difference.low,
                    high: difference.high,
                },
                Cell::Probability(difference.p_value),
                Cell::Probability(adjusted[i]),
                Cell::Text(verdict(difference.mean, adjusted[i]).to_owned()),
            ];
            if is_binary {
                cells.extend([
                    Cell::Count(one.only_here),
                    Cell::Count(one.only_baseline),
                    Cell::Probability(exact[i]),
                    Cell::Probability(exact_adjusted[i]),
                ]);
            }
            cells
        })
        .collect();
    Table { headers, rows }
}

fn p_values(comparisons: &[Comparison<'_>], of: impl Fn(&Comparison<'_>) -> f64) -> Vec<f64> {
    comparisons.iter().map(of).collect()
}

const fn verdict(difference: f64, p: f64) -> &'static str {
    if p >= SIGNIFICANT {
        "no difference shown"
    } else if difference > 0.0 {
        "better"
    } else {
        "worse"
    }
}
