//! Numbers in sentences.

/// `1 problem`, `2 problems`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
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
