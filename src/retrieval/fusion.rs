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
    fused.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    fused
}
