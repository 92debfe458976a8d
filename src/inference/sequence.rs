use super::{prefix::Prefix, sampling::Sampler, text::TextModel};
use crate::domain::{FinishReason, Generated, GenerationSettings};

/// One prompt on its way to an answer.
pub struct Sequence {
    /// The request's idx.
    pub idx: usize,
    /// Where its keys and values are.
    pub slot: usize,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Tokens, prompt and answer, that are in the cache.
    pub past: usize,
    /// What of them is still to be copied from another sequence.
    pub prefix: Option<Prefix>,
    /// Tokens that it may have in all.
    pub capacity: usize,
    answer: Vec<u32>,
    text: StreamedText,
}

impl Sequence {
    /// A prompt that nothing was computed of.
    pub fn new(idx: usize, prompt: Vec<u32>, capacity: usize) -> Self {
        Self {
            idx,
            slot: 0,
            prompt,
            past: 0,
            prefix: None,
            capacity,
            answer: Vec::new(),
            text: StreamedText::default(),
        }
    }

    /// The token that the next forward pass continues from.
    pub fn last_token(&self) -> u32 {
        self.answer
            .last()
            .or(self.prompt.last())
            .copied()
            .unwrap_or(0)
    }

    /// The answer's tokens.
    pub fn into_answer(self) -> Vec<u32> {
        self.answer
    }

    /// The token that a sampler draws from these logits.
    pub fn draw(&self, sampler: &Sampler, logits: &[f32]) -> u32 {
        sampler.draw(logits, self.idx, self.answer.len())
    }

    /// Takes the next token; the answer, if it is complete now.
    pub fn push(
        &mut self,
        token: u32,
        text: &TextModel,
        settings: &GenerationSettings,
    ) -> Option<Generated> {
        if text.is_end(token) {
            return Some(self.finish(text, settings, FinishReason::Stop));
        }
        self.answer.push(token);
        let stopped = !settings.stop.is_empty()
            && self.text.push(&self.answer, text)
            && self.text.has_any(&settings.stop);
        if stopped {
            return Some(self.finish(text, settings, FinishReason::Stop));
        }
        if self.answer.len() >= settings.max_new_tokens
            || self.prompt.len() + self.answer.len() >= self.capacity
        {
            return Some(self.finish(text, settings, FinishReason::Length));
        }
        None
    }

    fn finish(
        &self,
        text: &TextModel,
        settings: &GenerationSettings,
        finish: FinishReason,
    ) -> Generated {
        let mut whole = text.decode(&self.answer);
        let end = settings
            .stop
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| whole.find(stop.as_str()))
            .min();
        let finish = match end {
            Some(end) => {
                whole.truncate(end);
                FinishReason::Stop
            }
            None => finish,
        };
        Generated {
            text: whole,
            tokens_in: self.prompt.len(),
            tokens_out: self.answer.len(),
            finish,
            passages_cut: 0,
        }
    }
}

/// The text of an answer while it grows, decoded piece by piece.
#[derive(Default)]
pub(super) struct StreamedText {
    text: String,
    /// Bytes of the text that were searched for stop texts.
    searched: usize,
    /// Decoding starts at this token, so that what a token looks like may
    /// depend on the one before it.
    from: usize,
    /// Tokens whose text is complete.
    read: usize,
}

impl StreamedText {
    /// Decodes what is new; false while a character is incomplete.
    pub(super) fn push(&mut self, answer: &[u32], text: &TextModel) -> bool {
        let before = text.decode_raw(&answer[self.from..self.read]);
        let all = text.decode_raw(&answer[self.from..]);
        // A character whose last bytes are still to come.
        if all.ends_with(char::REPLACEMENT_CHARACTER) && answer.len() - self.read < 8 {
            return false;
        }
        match all.strip_prefix(before.as_str()) {
            Some(new) => self.text.push_str(new),
            None => self.text = text.decode(answer),
        }
        self.from = self.read;
        self.read = answer.len();
        true
    }

    /// The text so far.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn has_any(&mut self, stops: &[String]) -> bool {
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        let mut start = self.searched.saturating_sub(longest).min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        self.searched = self.text.len();
        stops
            .iter()
            .any(|stop| !stop.is_empty() && self.text[start..].contains(stop.as_str()))
    }
}
