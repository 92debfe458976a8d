use super::{Dtype, Failure, FailureClass, ModelSpec, Provider};

/// Embedding models by the short names of studies.
pub const EMBEDDING_MODELS: [(&str, &str); 7] = [
    ("minilm", "sentence-transformers/all-MiniLM-L6-v2"),
    ("mpnet", "sentence-transformers/all-mpnet-base-v2"),
    ("e5", "intfloat/e5-small-v2"),
    ("bge-small", "BAAI/bge-small-en-v1.5"),
    ("bge-base", "BAAI/bge-base-en-v1.5"),
    ("bge-large", "BAAI/bge-large-en-v1.5"),
    ("gte", "Alibaba-NLP/gte-modernbert-base"),
];

/// Cross-encoders by the short names of studies.
pub const RERANKING_MODELS: [(&str, &str); 6] = [
    ("bge", "BAAI/bge-reranker-base"),
    ("bge-base", "BAAI/bge-reranker-base"),
    ("bge-large", "BAAI/bge-reranker-large"),
    ("bge-v2", "BAAI/bge-reranker-v2-m3"),
    ("ms-marco", "cross-encoder/ms-marco-MiniLM-L-6-v2"),
    ("ms-marco-large", "cross-encoder/ms-marco-MiniLM-L-12-v2"),
];

/// The label whose logit says how well a pair fits, where there are several.
const ENTAILMENT: &str = "entailment";

/// The embedding model of a name that studies use: a short name, `org/name`,
/// `hf:org/name@revision` or `hf:./directory`.
///
/// # Errors
/// One sentence that says what can be written.
pub fn embedding_model(name: &str) -> Result<ModelSpec, String> {
    model(name, "embedding model", &EMBEDDING_MODELS)
}

/// The cross-encoder of a name, as [`embedding_model`].
///
/// # Errors
/// One sentence that says what can be written.
pub fn reranking_model(name: &str) -> Result<ModelSpec, String> {
    model(name, "cross-encoder", &RERANKING_MODELS)
}

/// The model of a name: a short one of `known`, or one of the hub or a directory.
pub(super) fn model(name: &str, what: &str, known: &[(&str, &str)]) -> Result<ModelSpec, String> {
    let unknown = || {
        let shorts: Vec<&str> = known.iter().map(|(short, _)| *short).collect();
        format!(
            "there is no {what} '{name}': write {}, hf:org/name, hf:org/name@revision or hf:./directory",
            shorts.join(", ")
        )
    };
    let full = match known.iter().find(|(short, _)| *short == name) {
        Some((_, full)) => full,
        None => match name.split_once(':') {
            Some(("hf", rest)) => rest,
            None if name.contains('/') => name,
            _ => return Err(unknown()),
        },
    };
    let is_local = full.starts_with(['/', '.', '~']);
    let (name, revision) = match full.rsplit_once('@') {
        Some((name, revision)) if !is_local => (name, Some(revision.to_owned())),
        _ => (full, None),
    };
    if name.is_empty() || revision.as_deref() == Some("") {
        return Err(unknown());
    }
    Ok(ModelSpec {
        revision,
        ..named(name)
    })
}

/// A model of the hub.
pub(super) fn named(name: &str) -> ModelSpec {
    ModelSpec {
        provider: Provider::Hf,
        name: name.to_owned(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    }
}

/// How well pairs fit, from the logits of a classifier with these labels: the
/// one logit where there is one label; where there are several, the logarithm
/// of the odds of `entailment`, or of the second of two.
///
/// # Errors
/// One sentence (class `permanent`) when none of the labels means that a pair
/// fits.
pub fn relevance(labels: &[String], logits: &[Vec<f32>]) -> Result<Vec<f32>, Failure> {
    let entailment = labels
        .iter()
        .position(|label| label.eq_ignore_ascii_case(ENTAILMENT));
    let target = match (labels.len(), entailment) {
        (1, _) => 0,
        (_, Some(target)) => target,
        (2, None) => 1,
        _ => {
            return Err(Failure::new(
                FailureClass::Permanent,
                format!(
                    "a model with the labels {} does not score pairs; name one with one label or with the label {ENTAILMENT}",
                    labels.join(", ")
                ),
            ));
        }
    };
    let score = |row: &Vec<f32>| {
        let others = || row.iter().enumerate().filter(|(label, _)| *label != target);
        let own = row.get(target).copied().unwrap_or(f32::NAN);
        if row.len() < 2 {
            return own;
        }
        let highest = others().fold(f32::NEG_INFINITY, |best, (_, logit)| best.max(*logit));
        let sum: f32 = others().map(|(_, logit)| (logit - highest).exp()).sum();
        own - (highest + sum.ln())
    };
    Ok(logits.iter().map(score).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_of_studies_are_models_of_the_hub() {
        let minilm = embedding_model("minilm").unwrap();
        assert_eq!(
            minilm.to_string(),
            "hf:sentence-transformers/all-MiniLM-L6-v2"
        );
        let bge = reranking_model("bge").unwrap();
        assert_eq!(bge.name, "BAAI/bge-reranker-base");
        let pinned = embedding_model("hf:org/name@abc").unwrap();
        assert_eq!(
            (pinned.name.as_str(), pinned.revision.as_deref()),
            ("org/name", Some("abc"))
        );
        assert_eq!(
            embedding_model("hf:./my@dir").unwrap().name,
            "./my@dir",
            "a directory has no revision"
        );
        assert_eq!(embedding_model("org/name").unwrap().name, "org/name");
    }

    #[test]
    fn a_name_that_is_nothing_says_what_can_be_written() {
        for name in ["minilmm", "openai:ada", "hf:", "hf:org/name@", ""] {
            let error = embedding_model(name).unwrap_err();
            assert!(error.contains("minilm, mpnet, e5"), "{error}");
            assert!(error.contains("hf:./directory"), "{error}");
        }
    }

    #[test]
    fn one_logit_is_the_score_and_of_several_the_odds_of_entailment() {
        let labels = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let one = relevance(&labels(&["LABEL_0"]), &[vec![3.5], vec![-1.0]]).unwrap();
        assert_eq!(one, [3.5, -1.0]);
        let nli = labels(&["contradiction", "Entailment", "neutral"]);
        let odds = relevance(&nli, &[vec![0.0, 2.0, 0.0]]).unwrap();
        assert!((odds[0] - (2.0 - 2.0_f32.ln())).abs() < 1e-6, "{odds:?}");
        let topics = relevance(&labels(&["a", "b", "c"]), &[]).unwrap_err();
        assert!(topics.message.contains("a, b, c"), "{topics}");
    }
}
