use super::prefix::Prefix;

/// The tokens that one sequence brings to a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the sequence's keys and values are kept.
    pub slot: usize,
    /// Tokens of the sequence that are in the cache already.
    pub past: usize,
    /// The first row in the pack.
    pub start: usize,
    /// Rows in the pack.
    pub len: usize,
    /// Tokens that the sequence may have in all.
    pub capacity: usize,
    /// What of its past is to be copied first.
    pub prefix: Option<Prefix>,
}

/// The tokens of several sequences, one after the other without padding:
/// the input of one forward pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// Token ids, `[rows]`.
    pub tokens: Vec<u32>,
    /// Which rows are whose.
    pub spans: Vec<Span>,
    /// Rows whose logits are wanted, ascending.
    pub wanted: Vec<u32>,
}

impl Pack {
    /// Appends tokens to a sequence that has `past` tokens in its slot.
    pub fn push(&mut self, slot: usize, past: usize, capacity: usize, tokens: &[u32]) {
        self.spans.push(Span {
            slot,
            past,
            start: self.tokens.len(),
            len: tokens.len(),
            capacity,
            prefix: None,
        });
        self.tokens.extend_from_slice(tokens);
    }

    /// Lets the last sequence begin with a copy.
    pub fn begin_with(&mut self, prefix: Prefix) {
        if let Some(span) = self.spans.last_mut() {
            span.prefix = Some(prefix);
        }
    }

    /// Asks for the logits of the last row.
    pub fn want_last(&mut self) {
        if let Some(last) = self.tokens.len().checked_sub(1) {
            self.wanted.push(last as u32);
        }
    }

    /// Tokens in the pack.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
