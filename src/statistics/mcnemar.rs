/// McNemar's exact test on right and wrong answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// Questions that only the first has right.
    pub only_first: usize,
    /// Questions that only the second has right.
    pub only_second: usize,
    /// Two-sided exact (binomial) p; 1 when they never differ.
    pub p_value: f64,
}

/// Tests whether two experiments differ, by the questions that only one of
/// them has right (McNemar 1947, exact).
pub fn mcnemar_exact(only_first: usize, only_second: usize) -> McNemar {
    let n = only_first + only_second;
    // Binomial coefficients overflow beyond a thousand; their logarithms do not.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=only_first.min(only_second) {
        tail += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    McNemar {
        only_first,
        only_second,
        p_value: (2.0 * tail).min(1.0),
    }
}
