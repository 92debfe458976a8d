//! From queries to rankings: their vectors, the search, and the reranker.

use super::{
    Cache, DEPTH, Index, IndexError, cache::KeptRanking, embedding::embed, hit::Hit, query::Query,
};
use crate::domain::{Encoders, Failure, FailureClass, Passage, TextRole};
use std::ops::ControlFlow;

/// Questions that are worked on, and kept, at a time.
const BATCH: usize = 128;
/// The same where a cross-encoder reads every passage of them.
const RERANKED_BATCH: usize = 16;

/// What is wanted of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Passages per question.
    pub limit: usize,
    /// The cross-encoder that scores them all again.
    pub reranker: Option<String>,
}

/// The passages of a question, in the order of the search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    hits: Vec<Hit>,
    /// The reranker's score of each; empty without one.
    reranked: Vec<f32>,
}

impl Ranking {
    /// The `top_k` best: of the whole ranking, or with a reranker those of the
    /// first `candidates` that it likes best. So one ranking serves every
    /// `top_k` and `fetch_k` up to its length.
    pub fn best(&self, top_k: usize, candidates: usize) -> Vec<Hit> {
        let mut hits: Vec<Hit> = match self.reranked.is_empty() {
            true => self.hits.clone(),
            false => {
                let scored = self.hits.iter().zip(&self.reranked).take(candidates);
                let mut hits: Vec<Hit> = scored
                    .map(|(hit, score)| Hit {
                        score: f64::from(*score),
                        ..hit.clone()
                    })
                    .collect();
                hits.sort_by(Hit::order);
                hits
            }
        };
        hits.truncate(top_k);
        hits
    }
}

/// Ranks passages for every query. `tell` hears how many are done.
///
/// # Errors
/// When the index can not be read, a model fails, or `tell` wants to stop.
pub fn rank(
    index: &Index,
    queries: &[Query<'_>],
    wanted: &Wanted,
    encoders: &mut dyn Encoders,
    cache: Option<&Cache>,
    tell: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Ranking>, IndexError> {
    let in_all = queries.len();
    let search = identity(index, wanted, encoders)?;
    let mut rankings = Vec::with_capacity(queries.len());
    let batch = match wanted.reranker {
        Some(_) => RERANKED_BATCH,
        None => BATCH,
    };
    for queries in queries.chunks(batch) {
        let keys: Vec<String> = queries.iter().map(|query| key(query, wanted)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let kept = match cache {
            Some(cache) => cache.rankings(&search, &keys),
            None => vec![None; queries.len()],
        };
        let kept: Vec<Option<Ranking>> = kept
            .into_iter()
            .map(|kept| usable(index, kept?, wanted))
            .collect();
        let missing: Vec<usize> = (0..queries.len())
            .filter(|at| kept[*at].is_none())
            .collect();
        let asked: Vec<Query<'_>> = missing.iter().map(|at| queries[*at]).collect();
        let made = match asked.is_empty() {
            true => Vec::new(),
            false => search_and_rerank(index, &asked, wanted, encoders, cache, in_all)?,
        };
        if let Some(cache) = cache {
            let keys: Vec<&str> = missing.iter().map(|at| keys[*at]).collect();
            let kept = made.iter().map(|ranking| KeptRanking {
                limit: wanted.limit,
                hits: ranking.hits.clone(),
                reranked: ranking.reranked.clone(),
            });
            cache.keep_rankings(&search, &keys, &kept.collect::<Vec<_>>());
        }
        let mut made = made.into_iter();
        for kept in kept {
            rankings.extend(kept.or_else(|| made.next()));
        }
        if tell(rankings.len()).is_break() {
            return Err(IndexError::Interrupted);
        }
    }
    Ok(rankings)
}

/// What decides a ranking beside the query.
fn identity(
    index: &Index,
    wanted: &Wanted,
    encoders: &mut dyn Encoders,
) -> Result<String, IndexError> {
    if let (Some(model), Some(built_with)) = (index.embedding(), index.embedding_identity()) {
        let embedder = encoders.embedder(model).map_err(IndexError::Encoder)?;
        if embedder.identity() != built_with {
            return Err(IndexError::Encoder(Failure::new(
                FailureClass::Permanent,
                format!(
                    "the index was built with {built_with} and {model} is {} now; build it again",
                    embedder.identity()
                ),
            )));
        }
    }
    let mut identity = format!("{}; depth {}", index.identity(), wanted.limit.max(DEPTH));
    if let Some(reranker) = &wanted.reranker {
        let scorer = encoders.scorer(reranker).map_err(IndexError::Encoder)?;
        identity.push_str(&format!("; reranker {}", scorer.identity()));
    }
    Ok(identity)
}

/// The question counts where a reranker reads it.
fn key(query: &Query<'_>, wanted: &Wanted) -> String {
    match wanted.reranker.is_some() && query.question != query.text {
        true => format!("{}\0{}", query.text, query.question),
        false => query.text.to_owned(),
    }
}

/// A kept ranking, where it is long enough and of this index.
fn usable(index: &Index, kept: KeptRanking, wanted: &Wanted) -> Option<Ranking> {
    let is_long_enough = kept.limit >= wanted.limit || kept.hits.len() < kept.limit;
    let is_scored = wanted.reranker.is_none() || kept.reranked.len() == kept.hits.len();
    let first_is_there = kept
        .hits
        .first()
        .is_none_or(|hit| index.passage(hit).is_ok());
    (is_long_enough && is_scored && first_is_there).then_some(Ranking {
        hits: kept.hits,
        reranked: kept.reranked,
    })
}

fn search_and_rerank(
    index: &Index,
    queries: &[Query<'_>],
    wanted: &Wanted,
    encoders: &mut dyn Encoders,
    cache: Option<&Cache>,
    in_all: usize,
) -> Result<Vec<Ranking>, IndexError> {
    let texts: Vec<&str> = queries.iter().map(|query| query.text).collect();
    let vectors = match index.embedding() {
        Some(model) => {
            let embedder = encoders.embedder(model).map_err(IndexError::Encoder)?;
            embed(embedder, &texts, TextRole::Query, cache)?
        }
        None => Vec::new(),
    };
    let found = index.search(&texts, &vectors, wanted.limit, encoders, in_all)?;
    let mut rankings: Vec<Ranking> = found
        .into_iter()
        .map(|hits| Ranking {
            hits,
            reranked: Vec::new(),
        })
        .collect();
    if let Some(model) = &wanted.reranker {
        rerank(index, queries, &mut rankings, model, encoders)?;
    }
    Ok(rankings)
}

/// Scores every passage of every ranking, all in one call: the cross-encoder
/// makes its batches by length.
fn rerank(
    index: &Index,
    queries: &[Query<'_>],
    rankings: &mut [Ranking],
    model: &str,
    encoders: &mut dyn Encoders,
) -> Result<(), IndexError> {
    let mut passages: Vec<(&str, Passage)> = Vec::new();
    for (query, ranking) in queries.iter().zip(rankings.iter()) {
        for hit in &ranking.hits {
            passages.push((query.question, index.passage(hit)?));
        }
    }
    if passages.is_empty() {
        return Ok(());
    }
    let pairs: Vec<(&str, &str)> = passages
        .iter()
        .map(|(question, passage)| (*question, passage.text.as_str()))
        .collect();
    let scorer = encoders.scorer(model).map_err(IndexError::Encoder)?;
    let scores = scorer.score(&pairs).map_err(IndexError::Encoder)?;
    if scores.len() != pairs.len() || !scores.iter().all(|score| score.is_finite()) {
        return Err(IndexError::Encoder(Failure::new(
            FailureClass::Permanent,
            format!("the reranker {model} gave no score for some passages"),
        )));
    }
    let mut scores = scores.into_iter();
    for ranking in rankings {
        ranking.reranked = scores.by_ref().take(ranking.hits.len()).collect();
    }
    Ok(())
}
