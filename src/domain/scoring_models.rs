use super::{
    ModelSpec,
    encoders::{model, named},
};

/// Encoders that metrics compare tokens with, by the short names of studies.
pub const TOKEN_MODELS: [(&str, &str); 9] = [
    ("roberta-large", "FacebookAI/roberta-large"),
    ("roberta-base", "FacebookAI/roberta-base"),
    ("bert-base-uncased", "google-bert/bert-base-uncased"),
    ("bert-large-uncased", "google-bert/bert-large-uncased"),
    (
        "bert-base-multilingual-cased",
        "google-bert/bert-base-multilingual-cased",
    ),
    ("bert-base-chinese", "google-bert/bert-base-chinese"),
    ("xlm-roberta-base", "FacebookAI/xlm-roberta-base"),
    ("xlm-roberta-large", "FacebookAI/xlm-roberta-large"),
    ("scibert", "allenai/scibert_scivocab_uncased"),
];

/// The layer whose vectors agreed best with people's judgement, by the last
/// part of a model's name: what the package `bert-score` 0.3.13 takes.
const LAYERS: [(&str, usize); 12] = [
    ("roberta-large", 17),
    ("roberta-large-mnli", 19),
    ("roberta-base", 10),
    ("bert-base-uncased", 9),
    ("bert-large-uncased", 18),
    ("bert-base-multilingual-cased", 9),
    ("bert-base-chinese", 8),
    ("xlm-roberta-base", 9),
    ("xlm-roberta-large", 17),
    ("mpnet-base", 8),
    ("scibert_scivocab_uncased", 8),
    ("scibert_scivocab_cased", 9),
];

/// Models of natural language inference by the short names of studies.
pub const INFERENCE_MODELS: [(&str, &str); 3] = [
    ("minilm", "cross-encoder/nli-MiniLM2-L6-H768"),
    ("roberta-base", "cross-encoder/nli-roberta-base"),
    ("roberta-large", "FacebookAI/roberta-large-mnli"),
];

/// The model that gives a metric's scores on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScoringModel {
    /// Whose tokens are compared.
    Tokens,
    /// What says whether a passage entails a claim.
    Inference,
}

impl ScoringModel {
    /// The model of a metric; `None` for one that needs none.
    pub fn of(metric: &str) -> Option<Self> {
        match metric {
            "bertscore" | "bertscore_precision" | "bertscore_recall" => Some(Self::Tokens),
            "faithfulness" | "hallucination" => Some(Self::Inference),
            _ => None,
        }
    }
}

/// The models that give scores of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoringModels {
    /// For `bertscore`: whose tokens are compared.
    pub tokens: TokenModel,
    /// For `faithfulness` and `hallucination`: what says whether a passage
    /// entails a claim.
    pub inference: ModelSpec,
}

/// An encoder, and the layer whose vectors are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenModel {
    /// The encoder.
    pub model: ModelSpec,
    /// The layer, from 1.
    pub layer: usize,
}

impl ScoringModels {
    /// The model that is asked.
    pub const fn get(&self, which: ScoringModel) -> &ModelSpec {
        match which {
            ScoringModel::Tokens => &self.tokens.model,
            ScoringModel::Inference => &self.inference,
        }
    }
}

impl Default for ScoringModels {
    /// RoBERTa large at its 17th layer, as `bert-score` has it for English, and
    /// the smallest model of inference.
    fn default() -> Self {
        Self {
            tokens: TokenModel {
                model: named(TOKEN_MODELS[0].1),
                layer: LAYERS[0].1,
            },
            inference: named(INFERENCE_MODELS[0].1),
        }
    }
}

impl TokenModel {
    /// The encoder of a name that studies use, and its layer; without one, the
    /// layer that is known to do best.
    ///
    /// # Errors
    /// One sentence that says what can be written.
    pub fn new(name: &str, layer: Option<usize>) -> Result<Self, String> {
        let model = model(name, "encoder", &TOKEN_MODELS)?;
        let last = model.name.rsplit('/').next().unwrap_or(&model.name);
        let known = LAYERS.iter().find(|(known, _)| *known == last);
        match layer.or(known.map(|(_, layer)| *layer)) {
            Some(layer) => Ok(Self { model, layer }),
            None => Err(format!(
                "nobody has said which layer of {model} agrees best with people: write a layer \
                 too, such as two thirds of how many it has"
            )),
        }
    }
}

/// The model of natural language inference of a name that studies use.
///
/// # Errors
/// One sentence that says what can be written.
pub fn inference_model(name: &str) -> Result<ModelSpec, String> {
    model(name, "model of inference", &INFERENCE_MODELS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_layer_of_a_known_model_need_not_be_named() {
        let layer = |name: &str, layer| TokenModel::new(name, layer).map(|model| model.layer);
        assert_eq!(layer("roberta-large", None), Ok(17));
        assert_eq!(layer("hf:roberta-large", None), Ok(17));
        assert_eq!(layer("google-bert/bert-base-uncased@main", None), Ok(9));
        assert_eq!(layer("roberta-large", Some(3)), Ok(3));
        assert_eq!(layer("hf:./my/model", Some(4)), Ok(4));
        let unsaid = layer("hf:./my/model", None).unwrap_err();
        assert!(unsaid.contains("write a layer"), "{unsaid}");
        let unknown = layer("bleurt", None).unwrap_err();
        assert!(unknown.contains("roberta-large"), "{unknown}");
    }

    #[test]
    fn the_models_of_a_study_that_names_none_are_those_of_the_short_names() {
        let models = ScoringModels::default();
        assert_eq!(Ok(models.tokens), TokenModel::new("roberta-large", None));
        assert_eq!(Ok(models.inference), inference_model("minilm"));
    }
}
