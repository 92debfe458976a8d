//! Prompts that begin alike: what they share is computed once.

use super::sequence::Sequence;

/// Fewer tokens are not worth a copy.
const LEAST: usize = 16;

/// Where keys and values of the first tokens are copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Donor {
    /// A sequence of this batch, which is computed before or in the same pass.
    Slot(usize),
    /// The sequence that was kept of an earlier batch.
    Kept,
}

/// The beginning that a sequence takes from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Whose it is.
    pub donor: Donor,
    /// Its tokens.
    pub len: usize,
}

/// The prompt of the sequence that was kept of an earlier batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPrompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Tokens that the sequence might have had in all.
    pub capacity: usize,
}

/// Orders sequences so that neighbours share as much as possible, and lets
/// each begin with what it shares with the one before, or with the prompt that
/// was kept. Slots are to be given in this order. Returns the tokens saved.
///
/// In this order every token of the tree that the prompts make up is computed
/// once. A prompt's last token is always computed: its logits are wanted.
///
/// `kind` tells which sequences can not share, by their capacity.
pub fn share(
    sequences: &mut [Sequence],
    kept: Option<&KeptPrompt>,
    kind: impl Fn(usize) -> bool,
) -> usize {
    sequences.sort_by(|a, b| {
        let key = |sequence: &Sequence| kind(sequence.capacity);
        (key(a), &a.prompt).cmp(&(key(b), &b.prompt))
    });
    let mut saved = 0;
    for index in 0..sequences.len() {
        let (before, rest) = sequences.split_at_mut(index);
        let Some(sequence) = rest.first_mut() else {
            break;
        };
        let most = sequence.prompt.len().saturating_sub(1);
        let common = |other: &[u32], capacity: usize| {
            if kind(capacity) != kind(sequence.capacity) {
                return 0;
            }
            let alike = other.iter().zip(&sequence.prompt);
            alike.take_while(|(a, b)| a == b).count().min(most)
        };
        let with_kept = kept.map_or(0, |kept| common(&kept.tokens, kept.capacity));
        let with_last = before
            .last()
            .map_or(0, |last| common(&last.prompt, last.capacity));
        let prefix = if with_last > with_kept {
            Prefix {
                donor: Donor::Slot(index - 1),
                len: with_last,
            }
        } else {
            Prefix {
                donor: Donor::Kept,
                len: with_kept,
            }
        };
        if prefix.len >= LEAST {
            saved += prefix.len;
            sequence.past = prefix.len;
            sequence.prefix = Some(prefix);
        }
    }
    saved
}
