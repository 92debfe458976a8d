use super::{
    packing::{TextPack, packs},
    runner::{EncoderEvent, Part, Runner, collect, hand_out, values},
    text::Tokens,
};
use crate::{
    domain::Failure,
    hub::ModelFiles,
    inference::{LoadOptions, classify},
};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Values that a dot product sums side by side.
const LANES: usize = 8;

/// Compares two texts token by token: BERTScore (Zhang et al., ICLR 2020,
/// <https://arxiv.org/abs/1904.09675>) without idf weights and without a
/// baseline, as the package `bert-score` 0.3.13 computes it.
///
/// Each token of one text is matched with the token of the other whose vector
/// at the chosen layer is the most similar, by cosine. The mean over the first
/// text's tokens is the precision, over the second's the recall. The marks at a
/// text's ends can be matched with, and are not counted.
pub struct TokenMatcher {
    runner: Runner,
    /// The marks that the tokenizer puts around a text.
    marks: Vec<u32>,
    /// The first word is to be like every other, with a space before it.
    leads_with_space: bool,
    layer: usize,
    identity: String,
}

/// A text's vectors, of length one, and which of them count.
struct Matched {
    rows: Vec<f32>,
    counts: Vec<bool>,
}

impl TokenMatcher {
    /// Loads a model up to a layer, which is counted from 1.
    ///
    /// # Errors
    /// One sentence (class `permanent`) that names the file, key or tensor
    /// that is wrong, or says that there is no such layer; the device's failure
    /// when it has no room.
    pub fn load(files: &ModelFiles, layer: usize, options: &LoadOptions) -> Result<Self, Failure> {
        let (runner, _) = Runner::load(files, options, None, Part::Layers(layer))?;
        let marks = match runner.text.encode(vec![""]).pop() {
            Some(Ok(tokens)) => tokens.ids,
            // A tokenizer that makes nothing of nothing puts no marks.
            _ => Vec::new(),
        };
        let identity = format!(
            "{} layer={layer} tokens={} dtype={}",
            runner.source,
            runner.text.max_tokens(),
            runner.dtype_name(),
        );
        Ok(Self {
            leads_with_space: runner.is_roberta() && runner.text.is_byte_level(),
            runner,
            marks,
            layer,
            identity,
        })
    }

    /// Compares pairs of a text and its reference, at most about `budget`
    /// tokens at once where one is given, and tells precision, recall and F1 of
    /// each as soon as they are there. Neighbours that share a text share the
    /// work for it.
    ///
    /// # Errors
    /// A failure of the batch as a whole. Scores told before it stay valid.
    pub fn encode(
        &mut self,
        pairs: &[(&str, &str)],
        budget: Option<usize>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        let budget = budget.unwrap_or_else(|| self.runner.usual_budget());
        let mut texts: Vec<&str> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut place = |text| {
            *places.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() - 1
            })
        };
        let pairs: Vec<(usize, usize)> = pairs
            .iter()
            .map(|(text, reference)| (place(text.trim()), place(reference.trim())))
            .collect();
        let prepared = texts.iter().map(|text| self.prepared(text)).collect();
        let tokens = self.runner.text.encode(prepared);

        let mut group: Vec<usize> = Vec::new();
        let mut ready: BTreeMap<usize, Tokens> = BTreeMap::new();
        let mut rows = 0;
        for (index, (text, reference)) in pairs.iter().enumerate() {
            let (first, second) = match (&tokens[*text], &tokens[*reference]) {
                (Ok(first), Ok(second)) => (first, second),
                (Err(failure), _) | (_, Err(failure)) => {
                    let failure = failure.clone();
                    tell(EncoderEvent::Failed { index, failure });
                    continue;
                }
            };
            let new = |place: &usize, tokens: &Tokens| match ready.contains_key(place) {
                true => 0,
                false => tokens.ids.len(),
            };
            let more = new(text, first) + new(reference, second);
            if !group.is_empty() && rows + more > budget {
                self.compare(&group, &pairs, &ready, tell)?;
                group.clear();
                ready.clear();
                rows = 0;
            }
            group.push(index);
            for (place, tokens) in [(text, first), (reference, second)] {
                ready.entry(*place).or_insert_with(|| {
                    rows += tokens.ids.len();
                    tokens.clone()
                });
            }
        }
        match group.is_empty() {
            true => Ok(()),
            false => self.compare(&group, &pairs, &ready, tell),
        }
    }

    /// Precision, recall and F1 of pairs, in order.
    ///
    /// # Errors
    /// As [`TokenMatcher::encode`], and the failure of a pair.
    pub fn scores(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> {
        collect(pairs.len(), |tell| self.encode(pairs, None, tell))
    }

    /// What is reported of the model: identity, layer, device.
    pub fn describe(&self) -> Value {
        self.runner.describe(json!({
            "identity": self.identity,
            "layer": self.layer,
        }))
    }

    /// Compares some of the pairs, whose texts are `ready`, in one pass.
    fn compare(
        &mut self,
        group: &[usize],
        pairs: &[(usize, usize)],
        ready: &BTreeMap<usize, Tokens>,
        tell: &mut dyn FnMut(EncoderEvent),
    ) -> Result<(), Failure> {
        let ready: Vec<(usize, Tokens)> = ready
            .iter()
            .map(|(place, tokens)| (*place, tokens.clone()))
            .collect();
        let width = self.runner.model.config().hidden;
        let mut texts: HashMap<usize, Matched> = HashMap::new();
        for pack in packs(&ready, usize::MAX) {
            let rows = self
                .runner
                .model
                .forward(&pack, None, &mut || tell(EncoderEvent::Progress))
                .and_then(|x| values(&x))
                .map_err(|error| classify::in_batch(&error))?;
            texts.extend(self.matched(&pack, &rows, width));
        }
        let scores: Vec<f32> = group
            .par_iter()
            .flat_map_iter(|index| {
                let (text, reference) = pairs[*index];
                match (texts.get(&text), texts.get(&reference)) {
                    (Some(text), Some(reference)) => compared(text, reference, width),
                    // Never: each was put into the pack.
                    _ => [f32::NAN; 3],
                }
            })
            .collect();
        hand_out(group.to_vec(), scores, tell);
        Ok(())
    }

    /// The texts of a pack by their place, from its rows.
    fn matched(&self, pack: &TextPack, rows: &[f32], width: usize) -> Vec<(usize, Matched)> {
        let spans: Vec<_> = pack.indices.iter().zip(&pack.pack.spans).collect();
        spans
            .into_par_iter()
            .map(|(place, span)| {
                let tokens = span.start..span.start + span.len;
                let mut rows = rows[tokens.start * width..tokens.end * width].to_vec();
                for row in rows.chunks_exact_mut(width) {
                    let length = dot(row, row).sqrt();
                    row.iter_mut().for_each(|value| *value /= length);
                }
                let ids = &pack.pack.tokens[tokens];
                let counts = ids.iter().map(|id| !self.marks.contains(id)).collect();
                (*place, Matched { rows, counts })
            })
            .collect()
    }

    fn prepared(&self, text: &str) -> String {
        match self.leads_with_space && !text.is_empty() {
            true => format!(" {text}"),
            false => text.to_owned(),
        }
    }
}

/// Precision, recall and F1 of a text against its reference: 0 where one of
/// them has no token that counts.
fn compared(text: &Matched, reference: &Matched, width: usize) -> [f32; 3] {
    let mut best_of_text = vec![f32::NEG_INFINITY; text.counts.len()];
    let mut best_of_reference = vec![f32::NEG_INFINITY; reference.counts.len()];
    for (row, best) in text.rows.chunks_exact(width).zip(&mut best_of_text) {
        let others = reference.rows.chunks_exact(width);
        for (other, best_of_other) in others.zip(&mut best_of_reference) {
            let cosine = dot(row, other);
            // Not `max`, which passes over what is no number.
            *best = if cosine <= *best { *best } else { cosine };
            *best_of_other = match cosine <= *best_of_other {
                true => *best_of_other,
                false => cosine,
            };
        }
    }
    let precision = mean(&best_of_text, &text.counts);
    let recall = mean(&best_of_reference, &reference.counts);
    let (Some(precision), Some(recall)) = (precision, recall) else {
        return [0.0; 3];
    };
    let sum = precision + recall;
    let f1 = match sum == 0.0 {
        true => 0.0,
        false => 2.0 * precision * recall / sum,
    };
    [precision as f32, recall as f32, f1 as f32]
}

/// The mean of what counts.
fn mean(best: &[f32], counts: &[bool]) -> Option<f64> {
    let counted = || best.iter().zip(counts).filter(|(_, counts)| **counts);
    let number = counted().count();
    let sum: f64 = counted().map(|(best, _)| f64::from(*best)).sum();
    (number > 0).then(|| sum / number as f64)
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (lefts, rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = lefts.remainder().iter().zip(rights.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    let mut sums = [0.0; LANES];
    for (left, right) in lefts.zip(rights) {
        for (sum, (a, b)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}
