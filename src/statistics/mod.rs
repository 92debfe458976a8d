//! How sure a mean is, and whether two of them differ.
//!
//! Everything random here is drawn from [`SplitMix64`], so the same scores
//! give the same numbers in every run and on every machine.

mod interval;
mod mcnemar;
mod multiple;
mod paired;
mod quantile;
mod random;
#[cfg(test)]
mod tests;

pub use interval::{bootstrap_95, stratified_bootstrap_95};
pub use mcnemar::{McNemar, mcnemar_exact};
pub use multiple::holm;
pub use paired::{Difference, paired_differences};
pub use random::SplitMix64;
