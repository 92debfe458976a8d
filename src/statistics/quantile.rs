/// A quantile of sorted values, interpolated linearly: NumPy's default.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor();
    let low = sorted[below as usize];
    let high = sorted[position.ceil() as usize];
    low + (high - low) * (position - below)
}

/// The bounds between which 95 % of the values lie. Sorts them; there has to
/// be one.
pub fn middle_95(values: &mut [f64]) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    [quantile(values, 0.025), quantile(values, 0.975)]
}
