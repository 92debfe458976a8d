//! Numbers, in sentences and on the command line.

use std::num::NonZeroUsize;

/// `1 problem`, `2 problems`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// A number of things, at least one.
///
/// # Errors
/// What can be written.
pub fn positive(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().map_err(|_| "write a whole number from 1 on");
    Ok(number?)
}

/// A number of things; none is one too.
///
/// # Errors
/// What can be written.
pub fn whole(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|_| "write a whole number");
    Ok(number?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_plural() {
        assert_eq!(count(1, "experiment"), "1 experiment");
        assert_eq!(count(0, "experiment"), "0 experiments");
        assert_eq!(count(2, "model load"), "2 model loads");
    }
}
