//! One ranking from several.

use std::collections::{HashMap, HashSet};

/// Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): every ranking
/// gives an id 1 / (`rrf_k` + rank), ranks counted from 1; the sums decide.
///
/// Returns ids with their sums, best first, equal ones by id. An id that
/// stands in one ranking twice counts at its better rank. 60 is the usual
/// `rrf_k`.
pub fn reciprocal_rank_fusion<'a>(rankings: &[&[&'a str]], rrf_k: f64) -> Vec<(&'a str, f64)> {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for ranking in rankings {
        let mut seen = HashSet::new();
        for (position, id) in ranking.iter().enumerate() {
            if seen.insert(*id) {
                *sums.entry(id).or_default() += 1.0 / (rrf_k + (position + 1) as f64);
            }
        }
    }
    let mut fused: Vec<(&str, f64)> = sums.into_iter().collect();
    sort(&mut fused);
    fused
}

/// Weighted sum of two rankings' scores: `alpha` of the first, the rest of the
/// second. Scores of different retrievers are not comparable, so those of each
/// ranking are first mapped to 0..=1 by its least and its greatest one; an id
/// that a ranking lacks has 0 there. A ranking of equal scores gives all of
/// them 1.
///
/// Returns ids with their sums, best first, equal ones by id. The first of an
/// id that stands in one ranking twice counts.
pub fn weighted_fusion<'a>(
    first: &[(&'a str, f64)],
    second: &[(&'a str, f64)],
    alpha: f64,
) -> Vec<(&'a str, f64)> {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for (ranking, weight) in [(first, alpha), (second, 1.0 - alpha)] {
        let scores = || ranking.iter().map(|(_, score)| *score);
        let least = scores().fold(f64::INFINITY, f64::min);
        let width = scores().fold(f64::NEG_INFINITY, f64::max) - least;
        let mut seen = HashSet::new();
        for (id, score) in ranking {
            if seen.insert(*id) {
                let scaled = match width > 0.0 {
                    true => (score - least) / width,
                    false => 1.0,
                };
                *sums.entry(id).or_default() += weight * scaled;
            }
        }
    }
    let mut fused: Vec<(&str, f64)> = sums.into_iter().collect();
    sort(&mut fused);
    fused
}

fn sort(fused: &mut [(&str, f64)]) {
    fused.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
}
