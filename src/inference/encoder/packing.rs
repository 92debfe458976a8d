use super::{super::pack::Pack, text::Tokens};
use std::cmp::Reverse;

/// Texts that go through the model together.
#[derive(Debug, Default)]
pub struct TextPack {
    /// Their tokens, one text after the other.
    pub pack: Pack,
    /// The segment of each token.
    pub segments: Vec<u32>,
    /// Which text is which, in the order of the pack's spans.
    pub indices: Vec<usize>,
}

impl TextPack {
    /// The first row of each text.
    pub fn first_rows(&self) -> Vec<u32> {
        self.pack
            .spans
            .iter()
            .map(|span| span.start as u32)
            .collect()
    }

    /// The last row of each text.
    pub fn last_rows(&self) -> Vec<u32> {
        self.pack
            .spans
            .iter()
            .map(|span| (span.start + span.len - 1) as u32)
            .collect()
    }
}

/// Divides texts into packs of at most `budget` tokens, the longest first, so
/// that the worst need for memory comes first and neighbours are of one
/// length. A text that is longer than the budget is alone.
pub fn packs(texts: &[(usize, Tokens)], budget: usize) -> Vec<TextPack> {
    let mut order: Vec<&(usize, Tokens)> = texts.iter().collect();
    order.sort_by_key(|(_, tokens)| Reverse(tokens.ids.len()));
    let mut packs: Vec<TextPack> = Vec::new();
    for (index, tokens) in order {
        let len = tokens.ids.len();
        let fits = packs
            .last()
            .is_some_and(|last| last.pack.rows() + len <= budget);
        if !fits {
            packs.push(TextPack::default());
        }
        if let Some(last) = packs.last_mut() {
            last.pack.push(last.indices.len(), 0, len, &tokens.ids);
            last.segments.extend_from_slice(&tokens.segments);
            last.indices.push(*index);
        }
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(index: usize, length: usize) -> (usize, Tokens) {
        let tokens = Tokens {
            ids: vec![1; length],
            segments: vec![0; length],
        };
        (index, tokens)
    }

    #[test]
    fn packs_hold_the_budget_and_every_text_once() {
        let texts: Vec<_> = [3, 50, 7, 7, 1, 20]
            .into_iter()
            .enumerate()
            .map(|(index, length)| text(index, length))
            .collect();
        let packs = packs(&texts, 30);
        let rows: Vec<usize> = packs.iter().map(|pack| pack.pack.rows()).collect();
        assert_eq!(rows, [50, 27, 11]);
        let indices: Vec<usize> = packs.iter().flat_map(|p| p.indices.clone()).collect();
        assert_eq!(indices, [1, 5, 2, 3, 0, 4]);
        assert_eq!(packs[1].first_rows(), [0, 20]);
    }
}
