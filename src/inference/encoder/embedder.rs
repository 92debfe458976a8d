use super::{
    config::EncoderConfig,
    identity,
    packing::TextPack,
    runner::{EncoderEvent, Part, Runner, collect, longest_text, values},
    sentence::{Pooling, SentenceConfig},
};
use crate::{
    domain::{Embedder, Failure, TextRole},
    hub::ModelFiles,
    inference::{LoadOptions, linear::float_name},
};
use candle_core::DType;
use rayon::prelude::*;
use serde_json::{Value, json};

/// The smallest length that a vector is divided by.
const TINY: f32 = 1e-12;

/// An embedding model: a text to a vector, as sentence-transformers makes it.
pub struct TextEmbedder {
    runner: Runner,
    config: SentenceConfig,
    identity: String,
}

impl TextEmbedder {
    /// Loads a model.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the file, key or tensor
    /// that is wrong; the device's failure when it has no room.
    pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Self, Failure> {
        let config = SentenceConfig::of_files(files)?;
        let (runner, _) = Runner::load(files, options, config.max_tokens, Part::All)?;
        let (tokens, dtype) = (runner.text.max_tokens(), runner.dtype_name());
        Ok(Self {
            identity: identity_of(&config, &runner.source, tokens, dtype),
            runner,
            config,
        })
    }

    /// The identity and the dimension of a model in 32 bits, which are what its
    /// files say without its weights being loaded.
    ///
    /// # Errors
    /// As [`TextEmbedder::load`], for what is wrong beside the weights.
    pub fn told_by_files(files: &ModelFiles) -> Result<(String, usize), Failure> {
        let config = SentenceConfig::of_files(files)?;
        let encoder = EncoderConfig::of_files(files)?;
        let tokens = longest_text(files, &encoder, config.max_tokens)?;
        let source = identity::source(files)?;
        let identity = identity_of(&config, &source, tokens, float_name(DType::F32));
        Ok((identity, encoder.hidden))
    }

    /// Embeds texts, at most `budget` tokens at once where one is given, and
    /// tells vectors as soon as they are there, in any order.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Vectors told before it stay valid.
    pub fn encode(
        &mut self,
        texts: &[&str],
        role: TextRole,
        budget: Option<usize>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        let texts: Vec<String> = texts.iter().map(|text| self.prepared(text, role)).collect();
        let skipped = self.skipped(role);
        let config = &self.config;
        let hidden = self.runner.model.config().hidden;
        let wanted = |pack: &TextPack| match config.pooling {
            Pooling::First => Some(pack.first_rows()),
            Pooling::Last => Some(pack.last_rows()),
            _ => None,
        };
        self.runner.run(
            texts,
            budget,
            wanted,
            &|_, x, pack| {
                let mut vectors = pooled(&values(&x)?, pack, hidden, config.pooling, skipped);
                if config.normalize {
                    vectors.par_chunks_mut(hidden).for_each(normalize);
                }
                Ok(vectors)
            },
            tell,
        )
    }

    /// The tokens of a text in a role, special ones included.
    ///
    /// # Errors
    /// Why this text can not be used; class `bad_item`.
    pub fn tokens(&self, text: &str, role: TextRole) -> Result<Vec<u32>, Failure> {
        let mut tokens = self.runner.text.encode(vec![self.prepared(text, role)]);
        match tokens.pop() {
            Some(tokens) => tokens.map(|tokens| tokens.ids),
            None => Ok(Vec::new()),
        }
    }

    /// What is reported of the model: identity, dimension, device.
    pub fn describe(&self) -> Value {
        self.runner.describe(json!({
            "identity": self.identity,
            "dimension": self.dimension(),
            "pooling": self.config.pooling.to_string(),
            "normalize": self.config.normalize,
            "query_prefix": self.config.query_prefix,
            "passage_prefix": self.config.passage_prefix,
        }))
    }

    fn prepared(&self, text: &str, role: TextRole) -> String {
        let text = format!("{}{text}", self.config.prefix(role));
        let text = text.trim();
        match self.config.lower {
            true => text.to_lowercase(),
            false => text.to_owned(),
        }
    }

    /// Tokens at the start of each text that pooling leaves out.
    fn skipped(&self, role: TextRole) -> usize {
        if self.config.pool_prefix || self.config.prefix(role).is_empty() {
            return 0;
        }
        // All of the prefix's tokens but the one that ends it.
        self.tokens("", role)
            .map_or(0, |tokens| tokens.len().saturating_sub(1))
    }
}

impl Embedder for TextEmbedder {
    fn embed(&mut self, texts: &[&str], role: TextRole) -> Result<Vec<Vec<f32>>, Failure> {
        collect(texts.len(), |tell| self.encode(texts, role, None, tell))
    }

    fn dimension(&self) -> usize {
        self.runner.model.config().hidden
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

/// What decides a model's vectors.
fn identity_of(config: &SentenceConfig, source: &str, tokens: usize, dtype: &str) -> String {
    format!(
        "{source} pooling={} prefix_pooled={} normalized={} lower={} tokens={tokens} dtype={dtype} query={:?} passage={:?}",
        config.pooling,
        config.pool_prefix,
        config.normalize,
        config.lower,
        config.query_prefix,
        config.passage_prefix,
    )
}

/// The vector of each text from the rows of its tokens; one row each where the
/// pooling wanted only that.
fn pooled(
    rows: &[f32],
    pack: &TextPack,
    hidden: usize,
    pooling: Pooling,
    skipped: usize,
) -> Vec<f32> {
    if let Pooling::First | Pooling::Last = pooling {
        return rows.to_vec();
    }
    let mut out = vec![0.0; pack.indices.len() * hidden];
    out.par_chunks_mut(hidden)
        .zip(&pack.pack.spans)
        .for_each(|(vector, span)| {
            let from = span.start + skipped.min(span.len - 1);
            let count = span.start + span.len - from;
            let rows = rows[from * hidden..(from + count) * hidden].chunks_exact(hidden);
            if pooling == Pooling::Max {
                vector.fill(f32::NEG_INFINITY);
                for row in rows {
                    for (best, value) in vector.iter_mut().zip(row) {
                        // Not `max`, which passes over what is no number.
                        *best = if *value <= *best { *best } else { *value };
                    }
                }
                return;
            }
            for row in rows {
                vector.iter_mut().zip(row).for_each(|(sum, y)| *sum += y);
            }
            let count = count as f32;
            let divisor = match pooling {
                Pooling::MeanSqrt => count.sqrt(),
                _ => count,
            };
            vector.iter_mut().for_each(|sum| *sum /= divisor);
        });
    out
}

fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    let length = length.max(TINY);
    vector.iter_mut().for_each(|value| *value /= length);
}
