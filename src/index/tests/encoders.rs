//! Encoders that need no model: words hashed into a few numbers.

use crate::{
    domain::{
        Embedder, Encoders, Failure, FailureClass, NearestRows, PairScorer, TextRole, VectorFile,
    },
    retrieval::TokenBorders,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

const DIMENSION: usize = 1_024;

/// An embedding model whose texts are bags of words, and a cross-encoder that
/// counts the words that a query and a passage share.
pub struct Fake {
    /// Texts that were embedded.
    pub embedded: usize,
    /// Pairs that were scored.
    pub scored: usize,
    /// Models that were asked for since they were given up.
    pub loaded: usize,
    /// What the models call themselves.
    pub identity: String,
    /// Something else than the index that searches vectors.
    pub device: Option<FakeDevice>,
}

/// Searches the vectors of a file one by one.
#[derive(Default)]
pub struct FakeDevice {
    /// Those of the file.
    pub vectors: Vec<Vec<f32>>,
    /// Queries that it searched for.
    pub searched: usize,
    /// Whether it fails.
    pub is_broken: bool,
    /// Rows that it leaves out of what it finds.
    pub left_out: usize,
}

impl FakeDevice {
    fn load(&mut self, file: &VectorFile) {
        assert!(!file.half);
        let bytes = std::fs::read(&file.path).unwrap();
        let numbers = bytes[file.start as usize..].as_chunks::<4>().0.iter();
        let numbers: Vec<f32> = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        self.vectors = numbers
            .chunks(file.dimension)
            .map(<[f32]>::to_vec)
            .collect();
        assert_eq!(self.vectors.len(), file.rows);
    }
}

impl NearestRows for FakeDevice {
    fn nearest(
        &mut self,
        queries: &[Vec<f32>],
        limit: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>, Failure> {
        if self.is_broken {
            return Err(Failure::new(FailureClass::Oom, "no room"));
        }
        self.searched += queries.len();
        let nearest = |query: &Vec<f32>| {
            let products = self.vectors.iter().map(|vector| {
                let products = vector.iter().zip(query).map(|(a, b)| a * b);
                products.sum::<f32>()
            });
            let mut rows: Vec<(u32, f32)> = (0..).zip(products).collect();
            rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            rows.truncate(limit - self.left_out);
            rows
        };
        Ok(queries.iter().map(nearest).collect())
    }
}

impl Fake {
    pub fn new() -> Self {
        Self {
            embedded: 0,
            scored: 0,
            loaded: 0,
            identity: "fake/1".to_owned(),
            device: None,
        }
    }
}

fn bag(text: &str) -> Vec<f32> {
    let mut bag = vec![0.0_f32; DIMENSION];
    for word in words(text) {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        bag[(hasher.finish() % DIMENSION as u64) as usize] += 1.0;
    }
    let length = bag.iter().map(|n| n * n).sum::<f32>().sqrt().max(1e-6);
    bag.iter().map(|n| n / length).collect()
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Embedder for Fake {
    fn embed(&mut self, texts: &[&str], _role: TextRole) -> Result<Vec<Vec<f32>>, Failure> {
        self.embedded += texts.len();
        Ok(texts.iter().map(|text| bag(text)).collect())
    }

    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

impl PairScorer for Fake {
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure> {
        self.scored += pairs.len();
        Ok(pairs
            .iter()
            .map(|(query, passage)| {
                let there = words(passage);
                words(query)
                    .iter()
                    .filter(|word| there.contains(word))
                    .count() as f32
            })
            .collect())
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

impl Encoders for Fake {
    fn embedder(&mut self, model: &str) -> Result<&mut dyn Embedder, Failure> {
        self.loaded += 1;
        match model {
            "fake" => Ok(self),
            _ => Err(Failure::new(
                FailureClass::Permanent,
                format!("there is no model {model}"),
            )),
        }
    }

    fn scorer(&mut self, _model: &str) -> Result<&mut dyn PairScorer, Failure> {
        self.loaded += 1;
        Ok(self)
    }

    fn vectors(
        &mut self,
        model: &str,
        file: &VectorFile,
        queries: usize,
    ) -> Option<&mut dyn NearestRows> {
        let device = self.device.as_mut()?;
        assert_eq!((model, queries), ("fake", 20));
        device.load(file);
        Some(device)
    }

    fn release(&mut self) {
        self.loaded = 0;
    }
}

/// Every letter is a token.
pub struct Letters;

impl TokenBorders for Letters {
    fn borders(&self, text: &str) -> Vec<Range<usize>> {
        text.char_indices()
            .filter(|(_, c)| !c.is_whitespace())
            .map(|(start, c)| start..start + c.len_utf8())
            .collect()
    }

    fn identity(&self) -> &str {
        "letters"
    }
}
