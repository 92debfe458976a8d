#![allow(clippy::unwrap_used)]

mod caches;
mod encoders;
mod meaning;
mod reference;
mod resuming;
mod shelving;
mod words;

#[allow(clippy::duplicate_mod, reason = "Each test module stands for itself.")]
#[path = "../../../tests/support/parquet_table.rs"]
mod parquet_table;

use super::*;
use crate::domain::{Encoders, Passage, RetrieverKind, RetrieverSpec};
use encoders::Fake;
use parquet_table::write_parquet;
use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

fn shared(file: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let dir = std::env::var_os("RAGICAMP_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = dir.join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

fn spec(kind: RetrieverKind, corpus: &Path, chunking: &str) -> RetrieverSpec {
    RetrieverSpec {
        name: "mine".into(),
        kind,
        corpus: corpus.to_str().unwrap().into(),
        embedding: (kind != RetrieverKind::Bm25).then(|| "fake".into()),
        chunking: chunking.into(),
        chunk_size: 40,
        chunk_overlap: 0,
        options: Default::default(),
    }
}

/// A corpus file in a fresh directory, and indexes beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(corpus: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("corpus.jsonl"), corpus).unwrap();
        Self { dir }
    }

    /// So many documents, each with a word of its own, one of its ten and one
    /// that all have.
    fn with_documents(count: usize) -> Self {
        let corpus: String = (0..count)
            .map(|i| {
                let ten = i % 10;
                format!("{{\"id\":\"p{i:04}\",\"text\":\"word{i} ten{ten} common\"}}\n")
            })
            .collect();
        Self::new(&corpus)
    }

    fn corpus(&self) -> PathBuf {
        self.dir.path().join("corpus.jsonl")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn spec(&self, kind: RetrieverKind, chunking: &str) -> RetrieverSpec {
        spec(kind, &self.corpus(), chunking)
    }

    /// Opens the index and says what was built.
    fn open(&self, spec: &RetrieverSpec) -> Result<(Index, Vec<&'static str>), IndexError> {
        self.open_with(spec, &mut Fake::new())
    }

    fn open_with(
        &self,
        spec: &RetrieverSpec,
        encoders: &mut dyn Encoders,
    ) -> Result<(Index, Vec<&'static str>), IndexError> {
        let mut built = Vec::new();
        let index = self.open_telling(spec, encoders, &mut |progress| {
            if let BuildProgress::Finished { kind, .. } = progress {
                built.push(kind);
            }
            ControlFlow::Continue(())
        })?;
        Ok((index, built))
    }

    fn open_telling(
        &self,
        spec: &RetrieverSpec,
        encoders: &mut dyn Encoders,
        tell: &mut Tell<'_>,
    ) -> Result<Index, IndexError> {
        open(
            spec,
            &mut Site {
                cache_dir: &self.cache(),
                encoders,
                tokens: &mut |_| Ok(std::sync::Arc::new(encoders::Letters)),
                cache: None,
                tell: &mut |progress| tell(progress),
            },
        )
    }

    /// Directories of indexes.
    fn indexes(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".locks")
            .collect();
        names.sort();
        names
    }
}

fn find(index: &Index, query: &str, limit: usize) -> Vec<Passage> {
    let ranking = rankings(index, &[query], limit, &mut Fake::new()).remove(0);
    let hits = ranking.best(limit, limit);
    hits.iter().map(|hit| index.passage(hit).unwrap()).collect()
}

fn rankings(
    index: &Index,
    queries: &[&str],
    limit: usize,
    encoders: &mut dyn Encoders,
) -> Vec<Ranking> {
    let queries: Vec<Query> = queries.iter().map(|query| Query::plain(query)).collect();
    let wanted = Wanted {
        limit,
        reranker: None,
    };
    rank(index, &queries, &wanted, encoders, None, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap()
}

fn ids(passages: &[Passage]) -> Vec<&str> {
    passages.iter().map(|passage| passage.id.as_str()).collect()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const THREE: &str = r#"{"id":"a","title":"Rivers","text":"The Warbora is a river of 336 km."}
{"_id":"b","text":"Nora Marfin plays the piano."}

{"id":3,"title":"","contents":"Nothing of the river."}
"#;
