#![allow(clippy::unwrap_used)]

use super::{runner::collect, *};
use crate::{
    domain::{
        Dtype, Embedder, FailureClass, ModelSpec, PairScorer, Provider, TextRole, embedding_model,
    },
    hub::{self, ModelFiles},
    inference::LoadOptions,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

const EMBEDDERS: [&str; 6] = [
    "bert_mean",
    "bert_cls",
    "bert_max",
    "mpnet",
    "xlm_roberta",
    "modernbert",
];

const CLASSIFIERS: [&str; 4] = [
    "bert_ranker",
    "xlm_roberta_nli",
    "mpnet_pairs",
    "modernbert_ranker",
];

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/encoders")
        .join(name)
}

fn files(name: &str) -> ModelFiles {
    let model = ModelSpec {
        provider: Provider::Hf,
        name: directory(name).display().to_string(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    hub::locate(&model, None).unwrap()
}

fn reference(name: &str) -> Value {
    let path = directory(name).join("reference.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    serde_json::from_value(value.clone()).unwrap()
}

/// By candle's operations, as on a GPU, and by loops of our own.
fn both_ways() -> [LoadOptions; 2] {
    [false, true].map(|tensor_attention| LoadOptions {
        tensor_attention,
        ..LoadOptions::default()
    })
}

fn assert_close(name: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let apart: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
        let relative = length(&apart) / length(want);
        assert_eq!(got.len(), want.len(), "{name}");
        assert!(relative < 1e-4, "{name}, text {index}: {relative} apart");
    }
}

#[test]
fn every_architecture_embeds_like_its_reference() {
    for name in EMBEDDERS {
        let reference = reference(name);
        let texts = texts(&reference["texts"]);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let queries = rows(&reference["queries"]);
        for options in both_ways() {
            let mut model = TextEmbedder::load(&files(name), &options).unwrap();
            assert_eq!(model.dimension(), 32);
            let got = model.embed(&texts, TextRole::Passage).unwrap();
            assert_close(name, &got, &rows(&reference["passages"]));
            let got = model.embed(&texts[..queries.len()], TextRole::Query);
            assert_close(name, &got.unwrap(), &queries);
        }
    }
}

#[test]
fn every_classification_head_gives_the_logits_of_its_reference() {
    for name in CLASSIFIERS {
        let reference = reference(name);
        let pairs = pairs(&reference["pairs"]);
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        for options in both_ways() {
            let mut model = PairClassifier::load(&files(name), &options).unwrap();
            let got = model.logits(&pairs).unwrap();
            assert_close(name, &got, &rows(&reference["logits"]));
            assert_eq!(got[0].len(), model.labels().len());
            assert_eq!(model.score(&pairs).unwrap().len(), pairs.len());
        }
    }
}

/// What bert-score made of pairs, or of texts with several references.
#[derive(Deserialize)]
struct Compared {
    model: String,
    layer: usize,
    pairs: Vec<(String, References)>,
    scores: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum References {
    One(String),
    Many(Vec<String>),
}

#[test]
fn tokens_are_compared_as_bert_score_compares_them() {
    let fixtures = directory("..");
    let bytes = fs::read(fixtures.join("bertscore/reference.json")).unwrap();
    let cases: Vec<Compared> = serde_json::from_slice(&bytes).unwrap();
    assert!(cases.len() >= 9);
    for case in cases {
        let name = format!("{} at layer {}", case.model, case.layer);
        let files = files(&format!("../{}", case.model));
        for options in both_ways() {
            let mut model = TokenMatcher::load(&files, case.layer, &options).unwrap();
            let mut got = Vec::new();
            for (text, references) in &case.pairs {
                let references = match references {
                    References::One(one) => std::slice::from_ref(one),
                    References::Many(many) => many,
                };
                let pairs: Vec<(&str, &str)> = references
                    .iter()
                    .map(|reference| (text.as_str(), reference.as_str()))
                    .collect();
                let rows = model.scores(&pairs).unwrap();
                let best = |place: usize| rows.iter().map(|row| row[place]).fold(0.0, f32::max);
                got.push([best(0), best(1), best(2)]);
            }
            for (index, (got, want)) in got.iter().zip(&case.scores).enumerate() {
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 2e-6, "{name}, {index}: {got} {want}");
                }
            }
        }
    }
}

#[test]
fn a_pair_s_score_does_not_depend_on_the_batch() {
    let mut model = TokenMatcher::load(&files("mpnet"), 2, &LoadOptions::default()).unwrap();
    let pairs = [
        ("w1 w2 w3", "w2 w3"),
        ("w1 w2 w3", "w9"),
        ("", "w2 w3"),
        ("w7 w8 w9 w10 w11 w12", "w1 w2 w3"),
    ];
    let alone: Vec<Vec<f32>> = pairs
        .iter()
        .map(|pair| model.scores(&[*pair]).unwrap().remove(0))
        .collect();
    assert_eq!(alone[2], [0.0; 3]);
    for budget in [1, 12, 1000] {
        let together = collect(pairs.len(), |tell| model.encode(&pairs, Some(budget), tell));
        assert_eq!(together.unwrap(), alone, "{budget} tokens at once");
    }
}

#[test]
fn a_layer_that_is_not_there_is_one_sentence() {
    let refused = |name: &str, layer: usize| {
        let loaded = TokenMatcher::load(&files(name), layer, &LoadOptions::default());
        let Err(failure) = loaded else {
            panic!("{name} has a layer {layer}");
        };
        assert_eq!(failure.class, FailureClass::Permanent);
        failure.message
    };
    assert!(refused("bert_mean", 3).contains("has 2 layers, so there is no layer 3"));
    assert!(refused("modernbert", 2).contains("ModernBERT"));
}

#[test]
fn a_model_of_inference_keeps_its_labels_and_scores_by_entailment() {
    let mut model =
        PairClassifier::load(&files("xlm_roberta_nli"), &LoadOptions::default()).unwrap();
    assert_eq!(model.labels(), ["contradiction", "entailment", "neutral"]);
    let pairs = [("w1 w2", "w3"), ("w4", "w5 w6 w7")];
    let logits = model.logits(&pairs).unwrap();
    let scores = model.score(&pairs).unwrap();
    for (row, score) in logits.iter().zip(scores) {
        let others = (row[0].exp() + row[2].exp()).ln();
        assert!((score - (row[1] - others)).abs() < 1e-4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever else is in the batch and however it is divided.
    #[test]
    fn a_text_s_vector_does_not_depend_on_the_batch(
        name in prop::sample::select(EMBEDDERS.to_vec()),
        lengths in prop::collection::vec(0_usize..90, 1..9),
        budget in 1_usize..300,
    ) {
        let mut model = TextEmbedder::load(&files(name), &LoadOptions::default()).unwrap();
        let texts: Vec<String> = lengths
            .iter()
            .enumerate()
            .map(|(salt, length)| {
                let words: Vec<String> =
                    (0..*length).map(|i| format!("w{}", (i * 7 + salt) % 60)).collect();
                words.join(" ")
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut together = vec![Vec::new(); texts.len()];
        model
            .encode(&texts, TextRole::Passage, Some(budget), &mut |event| {
                if let EncoderEvent::Rows { indices, values } = event {
                    for (index, row) in indices.iter().zip(values.chunks_exact(32)) {
                        together[*index] = row.to_vec();
                    }
                }
            })
            .unwrap();
        for (text, together) in texts.iter().zip(&together) {
            let alone = model.embed(&[*text], TextRole::Passage).unwrap();
            prop_assert_eq!(&alone[0], together);
        }
    }
}

#[test]
fn identities_differ_where_vectors_do() {
    let identities: BTreeSet<String> = EMBEDDERS
        .iter()
        .map(|name| {
            let model = TextEmbedder::load(&files(name), &LoadOptions::default()).unwrap();
            model.identity().to_owned()
        })
        .collect();
    assert_eq!(identities.len(), EMBEDDERS.len());
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(directory("bert_mean").join(file), copy.path().join(file)).unwrap();
    }
    let model = ModelSpec {
        provider: Provider::Hf,
        name: copy.path().display().to_string(),
        revision: None,
        dtype: Dtype::Auto,
        base_url: None,
    };
    let files = hub::locate(&model, None).unwrap();
    let copy = TextEmbedder::load(&files, &LoadOptions::default()).unwrap();
    let identity = copy.identity();
    assert!(
        !identities.contains(identity),
        "the same weights without prompts are not the same: {identity}"
    );
    let hash = identity.split(' ').next().unwrap();
    assert!(identities.iter().any(|other| other.starts_with(hash)));
}

#[test]
fn what_can_not_be_loaded_is_one_sentence_with_the_place() {
    let fails = |files: &ModelFiles, word: &str| {
        let Err(failure) = TextEmbedder::load(files, &LoadOptions::default()) else {
            panic!("{word}: it was loaded");
        };
        assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
        assert!(!failure.message.contains('\n'), "{failure}");
    };
    let with_config = |text: &'static str| {
        let mut files = files("bert_mean");
        files.config = Some(hub::FileSource::Embedded(text.as_bytes()));
        files
    };
    fails(&with_config(r#"{"model_type": "t5"}"#), "t5");
    fails(&with_config(r#"{"model_type": "t5"}"#), "modernbert");
    fails(&with_config(r#"{"model_type": "bert"}"#), "hidden_size");
    fails(&with_config("[}"), "config.json");
    let mut mixed = files("bert_mean");
    mixed.weights = files("mpnet").weights;
    fails(&mixed, "encoder.layer.0.attention");
    let mut wide = files("bert_mean");
    wide.sentence.modules = Some(hub::FileSource::Embedded(
        br#"[{"type": "a.Transformer"}, {"type": "a.Pooling"}, {"type": "a.LSTM"}]"#,
    ));
    fails(&wide, "LSTM");
    let Err(headless) = PairClassifier::load(&files("bert_mean"), &LoadOptions::default()) else {
        panic!("it has no head");
    };
    assert!(headless.message.contains("classifier"), "{headless}");
}

#[test]
fn minilm_gives_the_reference_s_tokens_and_vectors() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/minilm_ref.json");
    let Ok(bytes) = fs::read(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let files = match hub::locate(&embedding_model("minilm").unwrap(), None) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("skipped: {error}; or run `make fixtures-minilm`");
            return;
        }
    };
    let reference: Value = serde_json::from_slice(&bytes).unwrap();
    let items = reference["items"].as_array().unwrap();
    let texts: Vec<&str> = items
        .iter()
        .map(|item| item["text"].as_str().unwrap())
        .collect();
    let mut model = TextEmbedder::load(&files, &LoadOptions::default()).unwrap();
    let vectors = model.embed(&texts, TextRole::Passage).unwrap();
    let mut lowest = 1.0_f32;
    for (item, vector) in items.iter().zip(&vectors) {
        let text = item["text"].as_str().unwrap();
        let want: Vec<u32> = serde_json::from_value(item["input_ids"].clone()).unwrap();
        let tokens = model.tokens(text, TextRole::Passage).unwrap();
        assert_eq!(tokens, want, "{text}");
        let want: Vec<f32> = serde_json::from_value(item["embedding"].clone()).unwrap();
        let cosine: f32 = vector.iter().zip(&want).map(|(a, b)| a * b).sum();
        assert!(cosine >= 0.99999, "{cosine} for {text}");
        let apart = vector.iter().zip(&want).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{text}");
        lowest = lowest.min(cosine);
    }
    eprintln!("the lowest cosine of {} is {lowest}", items.len());
}
