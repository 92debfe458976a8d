//! Answers of one experiment are made with one model and one index. Where
//! these are not what they were when its first answers were made, no further
//! ones are added.

use crate::domain::{Failure, FailureClass};
use serde_json::Value;

/// Why a model is another one than the one that gave the answers that are
/// there, as their metadata describes it; `None` when it is the same, or
/// nothing is known.
pub fn of_model(then: &Value, now: &Value) -> Option<Failure> {
    let (key, what) = [
        ("weights_sha256", "weights are"),
        ("tokenizer_sha256", "tokenizer is"),
    ]
    .into_iter()
    .find(|(key, _)| differ(&then[*key], &now[*key]))?;
    Some(failure(&format!(
        "{}: its {what} not what the answers that are there were made with (SHA-256 {} then, {} now)",
        now["model"].as_str().unwrap_or("the model"),
        short(&then[key]),
        short(&now[key]),
    )))
}

/// As [`of_model`], of the index that passages are from.
pub fn of_index(then: &Value, now: &str) -> Option<Failure> {
    let was = &then["identity"];
    differ(was, &Value::from(now)).then(|| {
        let retriever = then["retriever"].as_str().unwrap_or("its");
        failure(&format!(
            "the corpus or the index of the retriever {retriever} is not what the answers that are \
             there were made with ({} then, {} now)",
            short(was),
            short(&Value::from(now)),
        ))
    })
}

fn differ(then: &Value, now: &Value) -> bool {
    matches!((then.as_str(), now.as_str()), (Some(then), Some(now)) if then != now)
}

fn short(hash: &Value) -> String {
    hash.as_str().unwrap_or_default().chars().take(12).collect()
}

fn failure(why: &str) -> Failure {
    Failure::new(
        FailureClass::Permanent,
        format!(
            "{why}; bring back what it was, or start this experiment over with --force --filter NAME"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_known_to_be_another_one_is_told_and_nothing_else() {
        let now = |weights: &str, tokenizer: &str| json!({"model": "hf:a/b", "weights_sha256": weights, "tokenizer_sha256": tokenizer});
        let then = now("aa", "bb");
        assert_eq!(of_model(&then, &now("aa", "bb")), None);
        assert_eq!(of_model(&then, &json!({})), None);
        assert_eq!(of_model(&Value::Null, &then), None);
        let weights = of_model(&then, &now("ab", "bb")).unwrap().message;
        assert!(weights.starts_with("hf:a/b: its weights"), "{weights}");
        let tokenizer = of_model(&then, &now("aa", "b")).unwrap().message;
        assert!(tokenizer.contains("its tokenizer"), "{tokenizer}");
        let then = json!({"retriever": "bm25", "identity": "cc"});
        assert_eq!(of_index(&then, "cc"), None);
        let index = of_index(&then, "cd").unwrap().message;
        assert!(index.contains("retriever bm25"), "{index}");
    }
}
