use super::{super::tokenizer, sentence::json};
use crate::{
    domain::{Failure, FailureClass},
    hub::ModelFiles,
};
use rayon::prelude::*;
use serde_json::Value;
use tokenizers::{
    EncodeInput, PreTokenizerWrapper, Tokenizer, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

/// A text, or a pair of texts, as an encoder gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special ones included.
    pub ids: Vec<u32>,
    /// The segment of each token.
    pub segments: Vec<u32>,
}

/// From texts to the tokens of an encoder.
pub struct EncoderText {
    tokenizer: Tokenizer,
    vocab: usize,
    max_tokens: usize,
}

impl EncoderText {
    /// Reads the tokenizer. Texts are cut after `max_tokens` tokens, and after
    /// what the tokenizer's own configuration allows.
    ///
    /// # Errors
    /// One sentence (class `permanent`) when it is missing or damaged.
    pub fn load(files: &ModelFiles, vocab: usize, max_tokens: usize) -> Result<Self, Failure> {
        let label = &files.label;
        let wrong = |message: String| Failure::new(FailureClass::Permanent, message);
        let Some(source) = &files.tokenizer else {
            return Err(wrong(format!("{label} has no tokenizer.json")));
        };
        let mut tokenizer = tokenizer::parse(&source.read()?).map_err(|error| {
            wrong(format!(
                "the tokenizer.json of {label} can not be used: {error}"
            ))
        })?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length: max_tokens,
                // Of a pair, the longer text is cut first.
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))
            .map_err(|error| wrong(format!("the tokenizer.json of {label}: {error}")))?;
        Ok(Self {
            tokenizer,
            vocab,
            max_tokens,
        })
    }

    /// What `tokenizer_config.json` says of the longest text; `None` where it
    /// says nothing, or something beyond reason, which means the same.
    pub fn model_max_length(files: &ModelFiles) -> Result<Option<usize>, Failure> {
        let config = json(
            &files.label,
            "tokenizer_config.json",
            files.tokenizer_config.as_ref(),
        )?;
        Ok(config
            .get("model_max_length")
            .and_then(Value::as_u64)
            .filter(|length| *length < 1 << 32)
            .and_then(|length| usize::try_from(length).ok()))
    }

    /// Tokens in a text at most.
    pub const fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Whether tokens are made of bytes, so that a word's token is another one
    /// after a space.
    pub fn is_byte_level(&self) -> bool {
        let is_one = |one: &PreTokenizerWrapper| matches!(one, PreTokenizerWrapper::ByteLevel(_));
        match self.tokenizer.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::Sequence(all)) => all.as_ref().iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        }
    }

    /// Turns texts or pairs into tokens, on all threads.
    pub fn encode<'s, T: Into<EncodeInput<'s>> + Send>(
        &self,
        texts: Vec<T>,
    ) -> Vec<Result<Tokens, Failure>> {
        texts
            .into_par_iter()
            .map(|text| self.encode_one(text.into()))
            .collect()
    }

    fn encode_one(&self, text: EncodeInput<'_>) -> Result<Tokens, Failure> {
        let bad = |message: String| Failure::new(FailureClass::BadItem, message);
        let encoding = tokenizer::encode(&self.tokenizer, text, true)
            .map_err(|error| bad(format!("the text can not be tokenised: {error}")))?;
        let ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            return Err(bad("the text has no tokens".to_owned()));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab) {
            return Err(bad(format!(
                "the tokenizer gave the token {id}, but the model has {} tokens",
                self.vocab
            )));
        }
        Ok(Tokens {
            segments: encoding.get_type_ids().to_vec(),
            ids,
        })
    }
}
