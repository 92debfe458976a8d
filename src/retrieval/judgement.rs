//! How good rankings are, where it is known which documents are relevant.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Depth of MRR and nDCG.
const DEPTH: usize = 10;

/// Which documents are relevant to which queries, and how much (BEIR's qrels).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgements {
    by_query: HashMap<String, HashMap<String, f64>>,
}

/// Means over the queries that have a relevant document.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RankingScores {
    /// Such queries.
    pub queries: usize,
    /// Share of the relevant documents among the first 1.
    #[serde(rename = "recall@1")]
    pub recall_1: f64,
    /// Among the first 5.
    #[serde(rename = "recall@5")]
    pub recall_5: f64,
    /// Among the first 10.
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    /// 1 / rank of the first relevant document of the first 10, else 0.
    #[serde(rename = "mrr@10")]
    pub mrr_10: f64,
    /// Normalised discounted cumulative gain of the first 10: linear gain,
    /// log2(rank + 1), ideal over all judged documents (as trec_eval).
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
}

impl Judgements {
    /// Reads `query-id  corpus-id  score`, separated by tabs, with or without
    /// a line of headings; also TREC's four columns. Scores up to 0 mean not
    /// relevant.
    ///
    /// # Errors
    /// The number of the first line that is neither, from 1, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut judgements = Self::default();
        for (number, line) in text.lines().enumerate() {
            let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
            let (query, document, score) = match cells[..] {
                [""] => continue,
                [query, document, score] | [query, _, document, score] => (query, document, score),
                _ => {
                    let message = "not query-id, corpus-id and score, separated by tabs";
                    return Err((number + 1, message.to_owned()));
                }
            };
            match score.parse::<f64>() {
                Ok(score) if score > 0.0 => {
                    let relevant = judgements.by_query.entry(query.to_owned()).or_default();
                    relevant.insert(document.to_owned(), score);
                }
                Ok(_) => {}
                Err(_) if number == 0 => {}
                Err(_) => return Err((number + 1, format!("the score '{score}' is no number"))),
            }
        }
        Ok(judgements)
    }

    /// Whether something is relevant to this query.
    pub fn judges(&self, query: &str) -> bool {
        self.by_query.contains_key(query)
    }

    /// The documents that are relevant to one of these queries.
    pub fn documents<'q>(&self, queries: impl IntoIterator<Item = &'q str>) -> BTreeSet<&str> {
        queries
            .into_iter()
            .filter_map(|query| self.by_query.get(query))
            .flat_map(|relevant| relevant.keys().map(String::as_str))
            .collect()
    }

    /// Judges rankings of passage ids, best first, by query. Where documents
    /// were cut into chunks, a chunk counts as its document
    /// (`document#number`), which counts where it comes first. Queries without
    /// a relevant document are left out.
    pub fn scores(
        &self,
        rankings: &BTreeMap<String, Vec<String>>,
        are_chunks: bool,
    ) -> RankingScores {
        let mut sums = RankingScores::default();
        for (query, ranking) in rankings {
            let Some(relevant) = self.by_query.get(query) else {
                continue;
            };
            let documents = documents(ranking, relevant, are_chunks);
            let recall = |k: usize| {
                let first = documents.iter().take(k);
                first.filter(|id| relevant.contains_key(**id)).count() as f64
                    / relevant.len() as f64
            };
            let gains = documents.iter().take(DEPTH);
            let gains: Vec<f64> = gains
                .map(|id| relevant.get(*id).copied().unwrap_or(0.0))
                .collect();
            let mut ideal: Vec<f64> = relevant.values().copied().collect();
            ideal.sort_by(|a, b| b.total_cmp(a));
            ideal.truncate(DEPTH);
            let first = gains.iter().position(|gain| *gain > 0.0);
            sums.queries += 1;
            sums.recall_1 += recall(1);
            sums.recall_5 += recall(5);
            sums.recall_10 += recall(10);
            sums.mrr_10 += first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64);
            sums.ndcg_10 += discounted(&gains) / discounted(&ideal);
        }
        let count = sums.queries.max(1) as f64;
        RankingScores {
            queries: sums.queries,
            recall_1: sums.recall_1 / count,
            recall_5: sums.recall_5 / count,
            recall_10: sums.recall_10 / count,
            mrr_10: sums.mrr_10 / count,
            ndcg_10: sums.ndcg_10 / count,
        }
    }
}

fn discounted(gains: &[f64]) -> f64 {
    let gains = gains.iter().enumerate();
    let gains = gains.map(|(rank, gain)| gain / ((rank + 2) as f64).log2());
    // The sum of nothing is -0.
    gains.sum::<f64>() + 0.0
}

/// The ids of documents in their order, each once.
fn documents<'a>(
    ranking: &'a [String],
    relevant: &HashMap<String, f64>,
    are_chunks: bool,
) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    ranking
        .iter()
        .map(|id| {
            // An id may hold a # of its own.
            match are_chunks && !relevant.contains_key(id) {
                true => document_of(id),
                false => id.as_str(),
            }
        })
        .filter(|id| seen.insert(*id))
        .collect()
}

/// The document that a chunk is of: `document#number`.
pub fn document_of(id: &str) -> &str {
    match id.rsplit_once('#') {
        Some((document, number))
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            document
        }
        _ => id,
    }
}
