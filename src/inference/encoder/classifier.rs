use super::{
    config::EncoderConfig,
    head::Head,
    identity,
    packing::TextPack,
    runner::{EncoderEvent, Part, Runner, collect, longest_text, values},
};
use crate::{
    domain::{Failure, FailureClass, PairScorer},
    hub::ModelFiles,
    inference::{LoadOptions, linear::float_name},
};
use candle_core::DType;
use serde_json::{Value, json};

/// A cross-encoder: a pair of texts to one logit per label. Rerankers have one
/// label, models of natural language inference three.
pub struct PairClassifier {
    runner: Runner,
    head: Head,
    identity: String,
}

impl PairClassifier {
    /// Loads a model.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the file, key or tensor
    /// that is wrong; the device's failure when it has no room.
    pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Self, Failure> {
        let (runner, head) = Runner::load(files, options, None, Part::WithHead)?;
        let head = head.ok_or_else(|| {
            Failure::new(
                FailureClass::Permanent,
                format!("{} has no head", files.label),
            )
        })?;
        let (tokens, dtype) = (runner.text.max_tokens(), runner.dtype_name());
        Ok(Self {
            identity: identity_of(&runner.source, tokens, dtype),
            runner,
            head,
        })
    }

    /// The identity and the labels of a model in 32 bits, which are what its
    /// files say without its weights being loaded.
    ///
    /// # Errors
    /// As [`PairClassifier::load`], for what is wrong beside the weights.
    pub fn told_by_files(files: &ModelFiles) -> Result<(String, Vec<String>), Failure> {
        let config = EncoderConfig::of_files(files)?;
        let tokens = longest_text(files, &config, None)?;
        let source = identity::source(files)?;
        let identity = identity_of(&source, tokens, float_name(DType::F32));
        Ok((identity, config.labels))
    }

    /// Classifies pairs, at most `budget` tokens at once where one is given,
    /// and tells logits as soon as they are there, in any order.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Logits told before it stay valid.
    pub fn encode(
        &mut self,
        pairs: &[(&str, &str)],
        budget: Option<usize>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.trim(), b.trim())).collect();
        let head = &self.head;
        let wanted = |pack: &TextPack| head.reads_first().then(|| pack.first_rows());
        self.runner.run(
            pairs,
            budget,
            wanted,
            &|model, x, pack| values(&head.logits(model, &x, &pack.pack)?),
            tell,
        )
    }

    /// The logits of pairs, in order, one per label.
    ///
    /// # Errors
    /// As [`PairClassifier::encode`], and the failure of a pair.
    pub fn logits(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> {
        collect(pairs.len(), |tell| self.encode(pairs, None, tell))
    }

    /// The labels, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.runner.model.config().labels
    }

    /// What is reported of the model: identity, labels, device.
    pub fn describe(&self) -> Value {
        self.runner.describe(json!({
            "identity": self.identity,
            "labels": self.labels(),
        }))
    }
}

/// What decides a model's logits.
fn identity_of(source: &str, tokens: usize, dtype: &str) -> String {
    format!("{source} tokens={tokens} dtype={dtype}")
}

impl PairScorer for PairClassifier {
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure> {
        let logits = self.logits(pairs)?;
        crate::domain::relevance(self.labels(), &logits)
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}
