use super::{
    config::token_ids,
    gguf::GgufText,
    template::{self, ChatTemplate},
    tokenizer,
};
use crate::{
    domain::{Failure, FailureClass, GenerationRequest},
    hub::{FileSource, ModelFiles},
};
use serde_json::Value;
use tokenizers::Tokenizer;

/// Between text and tokens: tokenizer, chat template and end tokens.
pub struct TextModel {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    bos: Option<u32>,
    eos: Vec<u32>,
    vocab: usize,
}

impl TextModel {
    /// Reads the tokenizer's files.
    ///
    /// # Errors
    /// One sentence (class `permanent`) when one is missing or damaged.
    pub fn load(files: &ModelFiles, config_eos: &[u32], vocab: usize) -> Result<Self, Failure> {
        let label = &files.label;
        let Some(source) = &files.tokenizer else {
            return Err(permanent(format!("{label} has no tokenizer.json")));
        };
        let mut tokenizer = tokenizer::parse(&source.read()?).map_err(|error| {
            permanent(format!(
                "the tokenizer.json of {label} can not be used: {error}"
            ))
        })?;
        // Prompts are never cut or filled behind anybody's back.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| permanent(format!("the tokenizer.json of {label}: {error}")))?;
        let config = json(
            label,
            "tokenizer_config.json",
            files.tokenizer_config.as_ref(),
        )?;
        let generation = json(
            label,
            "generation_config.json",
            files.generation_config.as_ref(),
        )?;
        let bos_text = template::special_token(&config, "bos_token");
        let eos_text = template::special_token(&config, "eos_token");
        let id = |text: &Option<String>| text.as_ref().and_then(|text| tokenizer.token_to_id(text));
        let mut eos = token_ids(generation.get("eos_token_id"));
        eos.extend_from_slice(config_eos);
        eos.extend(id(&eos_text));
        eos.sort_unstable();
        eos.dedup();
        let source = match &files.chat_template {
            Some(file) => Some(String::from_utf8_lossy(&file.read()?).into_owned()),
            None => template::of_tokenizer_config(&config),
        };
        let bos = id(&bos_text);
        let template = source
            .map(|source| {
                ChatTemplate::new(
                    source,
                    bos_text.unwrap_or_default(),
                    eos_text.unwrap_or_default(),
                )
            })
            .transpose()
            .map_err(|message| permanent(format!("{label}: {message}")))?;
        Ok(Self {
            tokenizer,
            template,
            bos,
            eos,
            vocab,
        })
    }

    /// What a GGUF file says about text.
    ///
    /// # Errors
    /// One sentence (class `permanent`) when tokenizer or template can not be
    /// used.
    pub fn of_gguf(label: &str, text: GgufText, vocab: usize) -> Result<Self, Failure> {
        let bytes = text.tokenizer.to_string();
        let mut tokenizer = tokenizer::parse(bytes.as_bytes()).map_err(|error| {
            permanent(format!(
                "{label} has a tokenizer (tokenizer.ggml.*) that can not be used: {error}"
            ))
        })?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| permanent(format!("the tokenizer of {label}: {error}")))?;
        let bos = text
            .bos
            .as_ref()
            .and_then(|text| tokenizer.token_to_id(text));
        let template = text
            .template
            .map(|source| {
                ChatTemplate::new(
                    source,
                    text.bos.unwrap_or_default(),
                    text.eos.unwrap_or_default(),
                )
            })
            .transpose()
            .map_err(|message| permanent(format!("{label}: tokenizer.chat_template: {message}")))?;
        Ok(Self {
            tokenizer,
            template,
            bos,
            eos: text.ends,
            vocab,
        })
    }

    /// Whether prompts go through a chat template.
    pub const fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Whether a token ends the answer.
    pub fn is_end(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// The tokens of a request's prompt; every id is below the vocabulary's
    /// size.
    ///
    /// # Errors
    /// Why this prompt can not be used; class `bad_item`.
    pub fn encode(&self, request: &GenerationRequest) -> Result<Vec<u32>, Failure> {
        let bad = |message: String| Failure::new(FailureClass::BadItem, message);
        let template = self.template.as_ref().filter(|_| !request.raw);
        let (text, add_special) = match (template, &request.system) {
            (Some(template), system) => (
                template
                    .render(system.as_deref(), &request.prompt)
                    .map_err(bad)?,
                // The template writes all special tokens itself.
                false,
            ),
            (None, Some(system)) => (format!("{system}\n\n{}", request.prompt), true),
            (None, None) => (request.prompt.clone(), true),
        };
        let encoding = tokenizer::encode(&self.tokenizer, text, add_special)
            .map_err(|error| bad(format!("the prompt can not be tokenised: {error}")))?;
        let mut tokens = encoding.get_ids().to_vec();
        if let (Some(bos), [first, second, ..]) = (self.bos, tokens.as_slice())
            && *first == bos
            && *second == bos
        {
            tokens.remove(0);
        }
        if tokens.is_empty() {
            return Err(bad("the prompt has no tokens".to_owned()));
        }
        self.check(&tokens)?;
        Ok(tokens)
    }

    /// Checks that every id is in the vocabulary: an id beyond it would be
    /// read from outside of the embedding table.
    ///
    /// # Errors
    /// The id and the vocabulary's size; class `bad_item`.
    pub fn check(&self, tokens: &[u32]) -> Result<(), Failure> {
        match tokens.iter().find(|id| **id as usize >= self.vocab) {
            Some(id) => Err(Failure::new(
                FailureClass::BadItem,
                format!(
                    "the tokenizer gave the token {id}, but the model has {} tokens",
                    self.vocab
                ),
            )),
            None => Ok(()),
        }
    }

    /// The text of generated tokens, without special tokens and without the
    /// torn last character of an answer that was cut.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut text = self.decode_raw(tokens);
        while text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        text
    }

    /// The text of tokens, special ones left out.
    pub fn decode_raw(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, true).unwrap_or_default()
    }
}

fn json(label: &str, name: &str, file: Option<&FileSource>) -> Result<Value, Failure> {
    match file {
        None => Ok(Value::Null),
        Some(file) => serde_json::from_slice(&file.read()?)
            .map_err(|error| permanent(format!("the {name} of {label} is no JSON: {error}"))),
    }
}

fn permanent(message: String) -> Failure {
    Failure::new(FailureClass::Permanent, message)
}
