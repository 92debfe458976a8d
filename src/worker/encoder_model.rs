use super::protocol::{Load, Role};
use crate::{
    domain::{Failure, FailureClass, TextRole},
    hub,
    inference::{EncoderEvent, LoadOptions, PairClassifier, RowSearch, TextEmbedder, TokenMatcher},
};
use serde_json::Value;

/// An encoder that a worker serves.
pub enum EncoderModel {
    Embedder(Box<TextEmbedder>),
    Scorer(Box<PairClassifier>),
    Matcher(Box<TokenMatcher>),
    Searcher(Box<RowSearch>),
}

/// What an encoder is asked for together.
pub enum EncoderBatch {
    Texts(Vec<String>, TextRole),
    Pairs(Vec<(String, String)>),
    /// Vectors one after another, how many there are, and rows wanted of each.
    Queries(Vec<f32>, usize, usize),
}

impl EncoderBatch {
    /// Texts or pairs.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts, _) => texts.len(),
            Self::Pairs(pairs) => pairs.len(),
            Self::Queries(_, count, _) => *count,
        }
    }

    /// The first `count` of them.
    #[cfg(feature = "failpoints")]
    pub fn first(&self, count: usize) -> Self {
        match self {
            Self::Texts(texts, role) => {
                Self::Texts(texts.iter().take(count).cloned().collect(), *role)
            }
            Self::Pairs(pairs) => Self::Pairs(pairs.iter().take(count).cloned().collect()),
            Self::Queries(queries, all, limit) => {
                let width = queries.len() / all.max(&1);
                Self::Queries(queries[..width * count].to_vec(), count, *limit)
            }
        }
    }
}

impl EncoderModel {
    /// Loads the encoder of a role; `Role::Generator` is none.
    pub fn load(load: &Load) -> Result<Self, Failure> {
        let permanent = |message: String| Failure::new(FailureClass::Permanent, message);
        let options = LoadOptions {
            dtype: load.model.dtype,
            device: load.device.parse().map_err(permanent)?,
            ..LoadOptions::default()
        };
        if let Role::Searcher { vectors } = &load.role {
            return RowSearch::load(vectors, options.device)
                .map(|search| Self::Searcher(Box::new(search)));
        }
        let files = hub::locate(&load.model, load.base.as_deref())?;
        match load.role {
            Role::Embedder => {
                TextEmbedder::load(&files, &options).map(|model| Self::Embedder(Box::new(model)))
            }
            Role::Scorer => {
                PairClassifier::load(&files, &options).map(|model| Self::Scorer(Box::new(model)))
            }
            Role::Matcher { layer } => TokenMatcher::load(&files, layer, &options)
                .map(|model| Self::Matcher(Box::new(model))),
            Role::Generator | Role::Searcher { .. } => {
                Err(permanent(format!("{} is no encoder", load.model)))
            }
        }
    }

    /// What is reported of the model.
    pub fn describe(&self) -> Value {
        match self {
            Self::Embedder(model) => model.describe(),
            Self::Scorer(model) => model.describe(),
            Self::Matcher(model) => model.describe(),
            Self::Searcher(search) => search.describe(),
        }
    }

    /// Encodes a batch that fits the role.
    pub fn encode(
        &mut self,
        batch: &EncoderBatch,
        budget: Option<usize>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        match (self, batch) {
            (Self::Embedder(model), EncoderBatch::Texts(texts, role)) => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                model.encode(&texts, *role, budget, tell)
            }
            (Self::Scorer(model), EncoderBatch::Pairs(pairs)) => {
                model.encode(&borrowed(pairs), budget, tell)
            }
            (Self::Matcher(model), EncoderBatch::Pairs(pairs)) => {
                model.encode(&borrowed(pairs), budget, tell)
            }
            (Self::Searcher(search), EncoderBatch::Queries(queries, count, limit)) => {
                search.nearest(queries, *count, *limit, tell)
            }
            _ => Err(Failure::new(
                FailureClass::Permanent,
                "the model is loaded for another role",
            )),
        }
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs
        .iter()
        .map(|(first, second)| (first.as_str(), second.as_str()))
        .collect()
}
