use super::failure::Failure;
use serde::{Deserialize, Serialize};

/// How answers are decoded. Part of an experiment's identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// Tokens at most per answer.
    pub max_new_tokens: usize,
    /// 0 means greedy.
    pub temperature: f64,
    /// Nucleus sampling mass; `None` means all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The sampling generator of a question is seeded with (seed, idx), so
    /// that neither batch composition nor a restart changes an answer.
    pub seed: u64,
    /// Decoding ends before the first of these texts.
    #[serde(default)]
    pub stop: Vec<String>,
}

impl Default for GenerationSettings {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            temperature: 0.0,
            top_p: None,
            seed: 42,
            stop: Vec::new(),
        }
    }
}

/// One prompt to be completed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// The question's idx; replies carry it.
    pub idx: usize,
    /// The system message, for models that have a chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The user message, or the plain text for models without a template.
    pub prompt: String,
    /// Leave the chat template out even where the model has one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Where the prompt's passages stand in it, best first: the bytes from and
    /// to which each may be left out together with all after it. A prompt that
    /// does not fit into the model's window loses the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passages: Vec<(usize, usize)>,
}

impl GenerationRequest {
    /// The request without the last `number` of its passages.
    #[must_use]
    pub fn without_last(&self, number: usize) -> Self {
        let kept = self.passages.len().saturating_sub(number);
        let mut shorter = self.clone();
        if let (Some((start, _)), Some((_, end))) = (self.passages.get(kept), self.passages.last())
        {
            shorter.prompt.replace_range(*start..*end, "");
            shorter.passages.truncate(kept);
        }
        shorter
    }
}

/// Why decoding of one prompt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so (EOS) or a stop text appeared.
    Stop,
    /// `max_new_tokens` or the context window was reached.
    Length,
}

/// The completion of one prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// The text without the prompt, special tokens and stop texts.
    pub text: String,
    /// Prompt tokens, template included.
    pub tokens_in: usize,
    /// Generated tokens, EOS excluded.
    pub tokens_out: usize,
    /// Why it ended.
    pub finish: FinishReason,
    /// Passages that did not fit into the window, from the end of the ranking.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passages_cut: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What a generator tells while a batch runs.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// Tokens were really computed since the last event: this and finished
    /// items are the only things that count as progress. It comes after the
    /// items of the same step, which it ends.
    Progress {
        /// Tokens since the last event, prompt or generated.
        tokens: usize,
    },
    /// One prompt is complete.
    Done {
        /// The request's idx.
        idx: usize,
        /// Its completion.
        generated: Generated,
    },
    /// One prompt can not be completed; the batch goes on without it.
    Failed {
        /// The request's idx.
        idx: usize,
        /// Why; its class is `bad_item`.
        failure: Failure,
    },
}

/// A model that completes prompts in batches.
pub trait Generator {
    /// Completes all `requests` as one batch and tells each result as soon as
    /// it is there. Results come in any order.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Items told before it stay valid.
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
        settings: &GenerationSettings,
        tell: &mut dyn FnMut(GenerationEvent),
    ) -> Result<(), Failure>;

    /// Gives back memory that only an earlier batch needed.
    ///
    /// # Errors
    /// When the device no longer answers.
    fn release_caches(&mut self) -> Result<(), Failure>;

    /// What was loaded, for `metadata.json`: tensors' types, bits, bytes.
    fn describe(&self) -> serde_json::Value;
}
