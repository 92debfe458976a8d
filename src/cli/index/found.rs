use super::{Where, unknown, wrong};
use crate::{
    cli::CliError,
    domain::{Encoders, Passage},
    index::{Index, Query, Ranking, Shelves, Wanted, rank},
};
use clap::Args;
use std::ops::ControlFlow;

/// How passages are found.
#[derive(Debug, Args)]
pub struct Finding {
    /// A cross-encoder that reorders what is found: bge, ms-marco, or a model on the hub.
    #[arg(long, value_name = "MODEL")]
    reranker: Option<String>,
    /// Passages that the reranker reads [default: 4 times the passages shown]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    fetch_k: Option<u32>,
}

impl Finding {
    /// The `top_k` best passages of each question.
    pub fn find(
        &self,
        name: &str,
        questions: &[Query<'_>],
        top_k: usize,
        depth: usize,
        place: &Where,
    ) -> Result<Found, CliError> {
        let cache_dir = place.cache.path();
        let shelves = Shelves::new(&cache_dir);
        let directories = shelves.resolve(name).map_err(unknown)?;
        let index = match shelves.retriever(name) {
            Some(spec) => Index::reopen(&cache_dir, &spec, &directories),
            None => Index::at(&cache_dir, &directories[0]),
        };
        let index = index.map_err(wrong)?;
        let fetch_k = match self.fetch_k {
            Some(fetch_k) => fetch_k as usize,
            None => top_k.saturating_mul(4),
        };
        let candidates = fetch_k.max(top_k);
        let wanted = Wanted {
            limit: match self.reranker {
                Some(_) => candidates,
                None => depth,
            },
            reranker: self.reranker.clone(),
        };
        let mut encoders = place.encoders(super::here())?;
        let rankings = rank(
            &index,
            questions,
            &wanted,
            &mut encoders,
            place.kept().as_ref(),
            &mut |_| ControlFlow::Continue(()),
        );
        encoders.release();
        Ok(Found {
            index,
            rankings: rankings.map_err(wrong)?,
            candidates,
        })
    }
}

/// What was found for every question.
pub struct Found {
    pub index: Index,
    pub rankings: Vec<Ranking>,
    candidates: usize,
}

impl Found {
    /// The best passages of a question.
    pub fn passages(&self, ranking: &Ranking, top_k: usize) -> Result<Vec<Passage>, CliError> {
        let hits = ranking.best(top_k, self.candidates).into_iter();
        hits.map(|hit| self.index.passage(&hit).map_err(wrong))
            .collect()
    }

    /// Their ids.
    pub fn ids(&self, ranking: &Ranking, top_k: usize) -> Vec<String> {
        let hits = ranking.best(top_k, self.candidates).into_iter();
        hits.map(|hit| hit.id).collect()
    }
}
