/// Holm's correction (1979): the p-values, in their order, adjusted for their
/// number.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, position) in order.into_iter().enumerate() {
        let scaled = p_values[position] * (p_values.len() - rank) as f64;
        largest = largest.max(scaled).min(1.0);
        adjusted[position] = largest;
    }
    adjusted
}
