//! What a token is, for chunks that are measured in them.

use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation;

/// Where the tokens of a text stand.
pub trait TokenBorders: Send + Sync {
    /// The tokens in order, in bytes of `text`; each starts at or after the
    /// start of the one before, and on a character.
    fn borders(&self, text: &str) -> Vec<Range<usize>>;

    /// What decides them. Equal identities give equal borders.
    fn identity(&self) -> &str;
}

/// Words and punctuation marks (Unicode's word boundaries): the tokens of
/// whoever has no tokenizer.
pub(super) fn words(text: &str) -> Vec<Range<usize>> {
    text.split_word_bound_indices()
        .filter(|(_, word)| !word.trim().is_empty())
        .map(|(start, word)| start..start + word.len())
        .collect()
}
