//! Cutting documents into passages.

use super::tokens::TokenBorders;
use crate::domain::RetrieverSpec;
use std::{fmt, ops::Range, sync::Arc};
use text_splitter::{ChunkConfig, TextSplitter};
use thiserror::Error;
use unicode_segmentation::UnicodeSegmentation;

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all: a passage is a document.
    None,
    /// After so many characters, wherever that is.
    Fixed,
    /// Between sentences; a sentence longer than a chunk is cut as fixed.
    Sentence,
    /// At the most meaningful border that fits: paragraphs, lines, sentences,
    /// words, characters.
    Recursive,
    /// After so many tokens, before a word where there is one to begin with.
    /// Sizes are in tokens.
    Token,
}

/// Why a chunking can not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChunkingError {
    /// The strategy is not known.
    #[error(
        "retriever '{retriever}': chunking '{strategy}' is unknown; there are none, fixed, sentence, recursive, token"
    )]
    Unknown {
        /// The retriever's name.
        retriever: String,
        /// The strategy in the study.
        strategy: String,
    },
    /// The sizes contradict each other.
    #[error(
        "retriever '{retriever}': chunk_overlap {overlap} must be smaller than chunk_size {size}"
    )]
    Sizes {
        /// The retriever's name.
        retriever: String,
        /// Characters (or tokens) per chunk.
        size: usize,
        /// Characters (or tokens) that neighbours share.
        overlap: usize,
    },
    /// What is searched would not fit what is returned.
    #[error(
        "retriever '{retriever}': child_chunk_size {child} must not be larger than parent_chunk_size {parent}"
    )]
    Children {
        /// The retriever's name.
        retriever: String,
        /// Size of what is searched.
        child: usize,
        /// Size of what is returned.
        parent: usize,
    },
}

/// A strategy with its sizes.
#[derive(Clone)]
pub struct Chunking {
    strategy: Strategy,
    size: usize,
    overlap: usize,
    /// What a token is; words where nobody says.
    tokens: Option<Arc<dyn TokenBorders>>,
}

impl fmt::Debug for Chunking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunking({})", self.identity())
    }
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The document's id when the document is one chunk; otherwise that id,
    /// `#` and the chunk's number from 0.
    pub id: String,
    /// Where it stands in the document, in bytes.
    pub range: Range<usize>,
    /// The text there.
    pub text: &'a str,
}

impl Chunking {
    /// The chunking of a retriever.
    ///
    /// # Errors
    /// When its strategy is unknown or its sizes contradict each other.
    pub fn of(spec: &RetrieverSpec) -> Result<Self, ChunkingError> {
        let retriever = spec.name.clone();
        let strategy = match spec.chunking.as_str() {
            "none" => Strategy::None,
            "fixed" => Strategy::Fixed,
            "sentence" => Strategy::Sentence,
            "recursive" => Strategy::Recursive,
            "token" => Strategy::Token,
            other => {
                return Err(ChunkingError::Unknown {
                    retriever,
                    strategy: other.to_owned(),
                });
            }
        };
        let (size, overlap) = (spec.chunk_size, spec.chunk_overlap);
        Self::new(strategy, size, overlap).ok_or(ChunkingError::Sizes {
            retriever,
            size,
            overlap,
        })
    }

    /// `None` when `overlap` is not smaller than `size`; both in characters,
    /// or in tokens. They mean nothing for [`Strategy::None`].
    pub fn new(strategy: Strategy, size: usize, overlap: usize) -> Option<Self> {
        if strategy == Strategy::None {
            return Some(Self {
                strategy,
                size: 0,
                overlap: 0,
                tokens: None,
            });
        }
        (overlap < size).then_some(Self {
            strategy,
            size,
            overlap,
            tokens: None,
        })
    }

    /// The same, with the tokens of a model instead of words. Means nothing
    /// for a strategy that counts characters.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn TokenBorders>) -> Self {
        if self.counts_tokens() {
            self.tokens = Some(tokens);
        }
        self
    }

    /// Whether sizes are in tokens.
    pub fn counts_tokens(&self) -> bool {
        self.strategy == Strategy::Token
    }

    /// What makes two chunkings equal, for the identity of an index. The last
    /// number changes when the same settings begin to cut differently.
    pub fn identity(&self) -> String {
        let strategy = match self.strategy {
            Strategy::None => return "none".to_owned(),
            Strategy::Fixed => "fixed",
            Strategy::Sentence => "sentence",
            Strategy::Recursive => "recursive",
            Strategy::Token => {
                let of = self.tokens.as_ref().map_or("words", |t| t.identity());
                return format!("token/{}/{}/1 of {of}", self.size, self.overlap);
            }
        };
        format!("{strategy}/{}/{}/1", self.size, self.overlap)
    }

    /// The chunks of a document, in order, without white space around them.
    /// A document of nothing but white space has none, and a chunk that ends
    /// where the one before does says nothing new and is left out.
    pub fn chunks<'a>(&self, document: &str, text: &'a str) -> Vec<Chunk<'a>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for range in self.cut(text) {
            let range = trimmed(text, range);
            let told = ranges.last().map_or(0, |last| last.end);
            if !range.is_empty() && range.end > told {
                ranges.push(range);
            }
        }
        let is_whole = ranges.len() == 1;
        ranges
            .into_iter()
            .enumerate()
            .map(|(number, range)| Chunk {
                id: if is_whole {
                    document.to_owned()
                } else {
                    format!("{document}#{number}")
                },
                text: &text[range.clone()],
                range,
            })
            .collect()
    }

    fn cut(&self, text: &str) -> Vec<Range<usize>> {
        match self.strategy {
            Strategy::None => std::iter::once(0..text.len()).collect(),
            Strategy::Fixed => windows(text, 0..text.len(), self.size, self.overlap),
            Strategy::Sentence => self.sentences(text),
            Strategy::Recursive => {
                // `new` has seen to it that the overlap is smaller.
                let config = ChunkConfig::new(self.size)
                    .with_overlap(self.overlap)
                    .unwrap_or_else(|_| ChunkConfig::new(self.size));
                TextSplitter::new(config)
                    .chunk_indices(text)
                    .map(|(start, chunk)| start..start + chunk.len())
                    .collect()
            }
            Strategy::Token => {
                let borders = match &self.tokens {
                    Some(tokens) => tokens.borders(text),
                    None => super::tokens::words(text),
                };
                token_windows(text, &borders, self.size, self.overlap)
            }
        }
    }

    /// As many whole sentences as fit; the next chunk starts with those last
    /// ones that fit the overlap.
    fn sentences(&self, text: &str) -> Vec<Range<usize>> {
        let units: Vec<(Range<usize>, usize)> = text
            .split_sentence_bound_indices()
            .flat_map(|(start, sentence)| {
                windows(text, start..start + sentence.len(), self.size, 0)
            })
            .map(|range| {
                let characters = text[range.clone()].chars().count();
                (range, characters)
            })
            .collect();
        let mut chunks = Vec::new();
        let mut first = 0;
        while first < units.len() {
            let mut next = first;
            let mut length = 0;
            while next < units.len() && (next == first || length + units[next].1 <= self.size) {
                length += units[next].1;
                next += 1;
            }
            chunks.push(units[first].0.start..units[next - 1].0.end);
            let Some((_, upcoming)) = units.get(next) else {
                break;
            };
            let mut shared = 0;
            let mut start = next;
            while start > first + 1
                && shared + units[start - 1].1 <= self.overlap
                && shared + units[start - 1].1 + upcoming <= self.size
            {
                start -= 1;
                shared += units[start].1;
            }
            first = start;
        }
        chunks
    }
}

/// Windows of `size` characters over a part of `text`, each starting
/// `size - overlap` characters after the one before.
fn windows(text: &str, part: Range<usize>, size: usize, overlap: usize) -> Vec<Range<usize>> {
    let mut borders: Vec<usize> = text[part.clone()]
        .char_indices()
        .map(|(offset, _)| part.start + offset)
        .collect();
    let characters = borders.len();
    borders.push(part.end);
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < characters {
        let end = (start + size).min(characters);
        ranges.push(borders[start]..borders[end]);
        if end == characters {
            break;
        }
        start += size - overlap;
    }
    ranges
}

/// Windows of at most `size` tokens, of which the last `overlap` are shared
/// with the next window. A window ends before a word rather than within one,
/// if that costs it less than half.
fn token_windows(
    text: &str,
    tokens: &[Range<usize>],
    size: usize,
    overlap: usize,
) -> Vec<Range<usize>> {
    let begins_word = |token: usize| {
        let before = text[..tokens[token].start].chars().next_back();
        before.is_none_or(char::is_whitespace)
            || text[tokens[token].clone()].starts_with(char::is_whitespace)
    };
    let mut ranges = Vec::new();
    let mut first = 0;
    while first < tokens.len() {
        let most = (first + size).min(tokens.len());
        let mut end = most;
        if end < tokens.len() {
            let least = first + size.div_ceil(2).max(overlap + 1);
            end = (least..=most)
                .rev()
                .find(|&token| begins_word(token))
                .unwrap_or(most);
        }
        // What no token covers, such as white space, goes with the token
        // before it.
        let to = tokens.get(end).map_or(text.len(), |next| next.start);
        let from = if ranges.is_empty() {
            0
        } else {
            tokens[first].start
        };
        ranges.push(from..to);
        if end == tokens.len() {
            break;
        }
        first = end - overlap;
    }
    ranges
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}
