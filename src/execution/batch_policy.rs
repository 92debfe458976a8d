/// How large the next fresh batch is.
///
/// Only running out of memory teaches a size: other failures say nothing
/// about it, so the batch after them starts at the full size again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPolicy {
    ceiling: usize,
    size: usize,
    learned: bool,
    proven: usize,
    successes: u32,
    patience: u32,
}

/// Successful batches at a learned size before a larger one is tried.
const FIRST_PATIENCE: u32 = 16;

impl BatchPolicy {
    /// Starts at `learned` if an earlier experiment found out what fits, and
    /// never goes above `ceiling`. Both count questions.
    pub fn new(ceiling: usize, learned: Option<usize>) -> Self {
        let ceiling = ceiling.max(1);
        let size = learned.unwrap_or(ceiling).clamp(1, ceiling);
        Self {
            ceiling,
            size,
            learned: size < ceiling,
            proven: 0,
            successes: 0,
            patience: FIRST_PATIENCE,
        }
    }

    /// The size of the next fresh batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The size that was found to fit, for experiments to come; `None` while
    /// nothing was learned.
    pub fn learned(&self) -> Option<usize> {
        self.learned.then_some(self.size)
    }

    /// A batch of `size` succeeded. Returns the new size when it grows.
    pub fn succeeded(&mut self, size: usize) -> Option<usize> {
        self.proven = self.proven.max(size);
        if size < self.size || self.size >= self.ceiling {
            return None;
        }
        self.successes += 1;
        if self.successes < self.patience {
            return None;
        }
        self.successes = 0;
        self.size = (self.size + (self.size / 4).max(1)).min(self.ceiling);
        self.learned = self.size < self.ceiling;
        Some(self.size)
    }

    /// A batch of `size` ran out of memory. Returns the new size when it
    /// shrinks.
    pub fn ran_out_of_memory(&mut self, size: usize) -> Option<usize> {
        self.successes = 0;
        let half = (size / 2).max(1);
        // A size that worked before and that growth has just left is better
        // than a half; prompts of other lengths may have made it a lie, then
        // it fails again and is forgotten.
        let fits = if self.proven < size {
            self.proven.max(half)
        } else {
            self.proven = half;
            half
        };
        if fits >= self.size {
            return None;
        }
        // Every refused growth makes the next one rarer.
        if self.learned {
            self.patience = self.patience.saturating_mul(2);
        }
        self.size = fits;
        self.learned = true;
        Some(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_ceiling_unless_something_was_learned() {
        assert_eq!(BatchPolicy::new(32, None).size(), 32);
        assert_eq!(BatchPolicy::new(32, Some(4)).size(), 4);
        assert_eq!(BatchPolicy::new(32, Some(64)).size(), 32);
        assert_eq!(BatchPolicy::new(0, None).size(), 1);
    }

    #[test]
    fn out_of_memory_halves_and_is_remembered() {
        let mut policy = BatchPolicy::new(32, None);
        assert_eq!(policy.ran_out_of_memory(32), Some(16));
        assert_eq!(policy.ran_out_of_memory(16), Some(8));
        assert_eq!(policy.learned(), Some(8));
    }

    #[test]
    fn a_single_question_that_does_not_fit_leaves_the_size_at_one() {
        let mut policy = BatchPolicy::new(1, None);
        assert_eq!(policy.ran_out_of_memory(1), None);
        assert_eq!(policy.size(), 1);
    }

    #[test]
    fn grows_slowly_after_many_successes_and_falls_back_to_what_was_proven() {
        let mut policy = BatchPolicy::new(32, None);
        policy.ran_out_of_memory(32);
        for _ in 0..FIRST_PATIENCE - 1 {
            assert_eq!(policy.succeeded(16), None);
        }
        assert_eq!(policy.succeeded(16), Some(20));
        assert_eq!(policy.ran_out_of_memory(20), Some(16));
        for _ in 0..2 * FIRST_PATIENCE - 1 {
            assert_eq!(
                policy.succeeded(16),
                None,
                "a refused growth makes the next one rarer"
            );
        }
        assert_eq!(policy.succeeded(16), Some(20));
    }

    #[test]
    fn small_rest_batches_say_nothing_about_growth() {
        let mut policy = BatchPolicy::new(32, Some(16));
        for _ in 0..100 {
            assert_eq!(policy.succeeded(3), None);
        }
    }

    #[test]
    fn at_the_ceiling_again_nothing_is_learned_any_more() {
        let mut policy = BatchPolicy::new(4, None);
        assert_eq!(policy.ran_out_of_memory(4), Some(2));
        assert_eq!(policy.learned(), Some(2));
        // Two steps, each after its patience.
        for _ in 0..3 * FIRST_PATIENCE {
            policy.succeeded(policy.size());
        }
        assert_eq!((policy.size(), policy.learned()), (4, None));
    }

    #[test]
    fn a_size_that_fitted_before_and_fails_now_is_halved() {
        let mut policy = BatchPolicy::new(8, None);
        policy.succeeded(8);
        assert_eq!(policy.ran_out_of_memory(8), Some(4));
    }
}
