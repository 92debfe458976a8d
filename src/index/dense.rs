//! Search by meaning: passages as vectors of an embedding model.
//!
//! The vector of a passage is that of its text without its title, as the
//! published references have it. Vectors of models that normalise are compared
//! by cosine, which then is the inner product.

use super::{
    BuildProgress, Cache, IndexError, Site,
    corpus::Corpus,
    cutting::Cutting,
    embedding::embed,
    error::{broken, io_error},
    graph::{self, Graph},
    hit::{Hit, Side},
    nearest::{Access, ROUNDING, Scored, exact_score, nearest},
    passages::{self, Passages, SearchedTexts},
    progress::{Tell, report},
    store::{key, publish_resumable, read_manifest, set_aside, write_manifest},
    vectors::{Precision, Shape, VectorWriter, Vectors},
};
use crate::domain::{Encoders, Passage, RetrieverSpec, TextRole};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Changes when the same passage would be given to the model as another text.
const TEXT_FORM: &str = "text/1";
/// Passages that are embedded, and kept, at a time.
const BATCH: usize = 512;
/// Vectors of larger corpora are kept in their index only.
const MOST_CACHED: usize = 250_000;
/// More than was asked for is fetched, so that equal scores at the border are
/// seen and settled by id.
const EXTRA: usize = 16;

/// How vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Automatic,
    Exact,
    Approximate,
}

impl Method {
    pub fn of(spec: &RetrieverSpec) -> Result<Self, IndexError> {
        match spec.options.get("index_type").and_then(Value::as_str) {
            None => Ok(Self::Automatic),
            Some("flat") => Ok(Self::Exact),
            Some("hnsw") => Ok(Self::Approximate),
            Some(other) => Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: format!("index_type {other} is not available; write flat or hnsw"),
            }),
        }
    }
}

fn precision(spec: &RetrieverSpec) -> Precision {
    match spec.options.get("vector_dtype").and_then(Value::as_str) {
        Some("f16") => Precision::F16,
        _ => Precision::F32,
    }
}

/// An open index of vectors.
pub(super) struct Dense {
    path: PathBuf,
    name: String,
    model: String,
    /// The embedding model's identity when it was built.
    embedding: String,
    passages: Passages,
    vectors: Vectors,
    graph: Option<Graph>,
}

/// Opens the vectors of a corpus, and makes them where they are not there.
pub(super) fn open(
    spec: &RetrieverSpec,
    corpus: &Corpus,
    corpus_identity: &str,
    cutting: &Cutting,
    site: &mut Site<'_>,
) -> Result<Dense, IndexError> {
    let method = Method::of(spec)?;
    let precision = precision(spec);
    let model = spec.embedding.as_deref().unwrap_or_default();
    let embedder = site.encoders.embedder(model).map_err(IndexError::Encoder)?;
    let shape = Shape {
        dimension: embedder.dimension(),
        precision,
    };
    let embedding = embedder.identity().to_owned();
    let name = format!(
        "dense-{}",
        key(&[
            corpus_identity,
            &cutting.identity(),
            &embedding,
            precision.as_str(),
            TEXT_FORM,
        ])
    );
    let place = site.cache_dir.join(&name);
    let is_whole = |place: &Path| Vectors::open(place).is_ok() && Passages::open(place).is_ok();
    if place.is_dir() && !is_whole(&place) {
        set_aside(&place)?;
    }
    if !place.is_dir() {
        let texts = passages::prepare(corpus, corpus_identity, cutting, site.cache_dir, site.tell)?;
        let description = json!({
            "kind": "dense",
            "corpus": corpus.path,
            "corpus_identity": corpus_identity,
            "chunking": cutting.identity(),
            "model": model,
            "embedding": embedding,
            "dimension": shape.dimension,
            "precision": precision.as_str(),
        });
        let Site {
            cache_dir,
            encoders,
            tell,
            cache,
            ..
        } = site;
        let build = Build {
            model,
            texts: &texts,
            shape,
            description,
        };
        publish_resumable(cache_dir, &name, *tell, |dir, tell| {
            build.run(dir, &mut **encoders, *cache, tell)
        })?;
    }
    Dense::open(&place)?.searched_by(method, site.cache_dir, site.tell)
}

struct Build<'b> {
    model: &'b str,
    texts: &'b Path,
    shape: Shape,
    description: Value,
}

impl Build<'_> {
    fn run(
        mut self,
        dir: &Path,
        encoders: &mut dyn Encoders,
        cache: Option<&Cache>,
        tell: &mut Tell<'_>,
    ) -> Result<(), IndexError> {
        let started = Instant::now();
        for name in passages::FILES {
            take_over(&self.texts.join(name), &dir.join(name))?;
        }
        let described = read_manifest(self.texts)?;
        let total = described["searched"].as_u64().unwrap_or(0);
        let cache = cache.filter(|_| total as usize <= MOST_CACHED);
        let mut writer = VectorWriter::open(dir, self.shape)?;
        let mut texts = SearchedTexts::from(dir, writer.rows())?;
        let embedder = encoders.embedder(self.model).map_err(IndexError::Encoder)?;
        loop {
            let done = writer.rows() as u64;
            report(tell, BuildProgress::Embedded { done, total })?;
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(text) = texts.next()?
            {
                batch.push(text);
            }
            if batch.is_empty() {
                break;
            }
            let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
            writer.append(&embed(embedder, &batch, TextRole::Passage, cache)?)?;
            fail::fail_point!("index::embedded");
        }
        if writer.rows() as u64 != total {
            return Err(broken(dir, "it has other passages than were counted"));
        }
        writer.finish()?;
        for key in ["documents", "empty_documents", "passages", "searched"] {
            self.description[key] = described[key].clone();
        }
        write_manifest(dir, self.description)?;
        report(
            tell,
            BuildProgress::Finished {
                kind: "dense",
                passages: described["passages"].as_u64().unwrap_or(0),
                empty_documents: described["empty_documents"].as_u64().unwrap_or(0),
                seconds: started.elapsed().as_secs_f64(),
            },
        )
    }
}

/// Makes a published file stand in another index too, without a copy where the
/// file system can do that.
fn take_over(from: &Path, to: &Path) -> Result<(), IndexError> {
    if !from.exists() {
        return Ok(());
    }
    if to.exists() {
        fs::remove_file(to).map_err(io_error(to))?;
    }
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(|_| ()))
        .map_err(io_error(to))
}

impl Dense {
    /// Opens the vectors in a directory, for exact search.
    pub fn open(place: &Path) -> Result<Self, IndexError> {
        let manifest = read_manifest(place)?;
        let dense = Self {
            path: place.to_owned(),
            name: place
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            model: manifest["model"].as_str().unwrap_or_default().to_owned(),
            embedding: manifest["embedding"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            passages: Passages::open(place)?,
            vectors: Vectors::open(place)?,
            graph: None,
        };
        match dense.passages.searched() == dense.vectors.rows() {
            true => Ok(dense),
            false => Err(broken(place, "it has more passages than vectors, or fewer")),
        }
    }

    /// The same, with a graph where the method wants one, which is built where
    /// it is not there.
    pub fn searched_by(
        mut self,
        method: Method,
        cache_dir: &Path,
        tell: &mut Tell<'_>,
    ) -> Result<Self, IndexError> {
        let is_approximate = match method {
            Method::Automatic => self.vectors.rows() >= graph::AUTOMATIC,
            Method::Exact => false,
            Method::Approximate => true,
        };
        if is_approximate {
            let graph = graph::open(cache_dir, &self.name, &self.vectors, tell)?;
            self.graph = Some(graph);
            self.name.push_str("+hnsw");
        }
        Ok(self)
    }

    /// Its directory's name, and how it is searched.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model, as the study called it when it was built.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The identity of the model that made the vectors.
    pub fn embedding(&self) -> &str {
        &self.embedding
    }

    /// Tells the id of every passage.
    pub fn ids(&self, tell: &mut dyn FnMut(&str)) -> Result<(), IndexError> {
        for row in 0..self.passages.count() {
            tell(&self.passages.id(row as u32)?);
        }
        Ok(())
    }

    /// For every query the `limit` best passages. The vectors are searched
    /// where `encoders` have them, or here; `in_all` queries are to come.
    pub fn search(
        &self,
        queries: &[Vec<f32>],
        limit: usize,
        encoders: &mut dyn Encoders,
        in_all: usize,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let wrong = queries
            .iter()
            .find(|query| query.len() != self.vectors.dimension());
        if let Some(query) = wrong {
            return Err(broken(
                &self.path,
                format!(
                    "its vectors have {} numbers and the query has {}",
                    self.vectors.dimension(),
                    query.len()
                ),
            ));
        }
        let limit = limit.min(self.passages.count());
        if limit == 0 {
            return Ok(vec![Vec::new(); queries.len()]);
        }
        let found = match self.found_on_device(queries, limit + EXTRA, encoders, in_all) {
            Some(found) => found,
            None => self.candidates(queries, limit + EXTRA)?,
        };
        queries
            .par_iter()
            .zip(found)
            .map(|(query, found)| self.settle(query, found, limit))
            .collect()
    }

    /// The rows that a device finds, where one has the vectors and does not
    /// fail: what is found here is the same.
    fn found_on_device(
        &self,
        queries: &[Vec<f32>],
        count: usize,
        encoders: &mut dyn Encoders,
        in_all: usize,
    ) -> Option<Vec<Vec<Scored>>> {
        if self.graph.is_some() {
            return None;
        }
        let vectors = encoders.vectors(&self.model, &self.vectors.file(), in_all)?;
        let count = count.min(self.vectors.rows());
        match vectors.nearest(queries, count) {
            Ok(found)
                if found.len() != queries.len() || found.iter().any(|rows| rows.len() != count) =>
            {
                tracing::warn!(
                    "{} is searched on the processor: the device found too little",
                    self.path.display()
                );
                None
            }
            Ok(found) => Some(
                found
                    .into_iter()
                    .map(|rows| {
                        rows.into_iter()
                            .map(|(row, score)| Scored { row, score })
                            .collect()
                    })
                    .collect(),
            ),
            Err(failure) => {
                tracing::warn!(
                    "{} is searched on the processor: {failure}",
                    self.path.display()
                );
                None
            }
        }
    }

    fn candidates(
        &self,
        queries: &[Vec<f32>],
        count: usize,
    ) -> Result<Vec<Vec<Scored>>, IndexError> {
        let count = count.min(self.vectors.rows());
        match &self.graph {
            None => nearest(&self.vectors, queries, count, Access::Mapped),
            Some(graph) => queries
                .par_iter()
                .map(|query| {
                    let rows = graph.near(query, count)?.into_iter();
                    let mut scored: Vec<Scored> = rows
                        .map(|row| Scored {
                            row,
                            score: self.score(query, row) as f32,
                        })
                        .collect();
                    scored.sort_by(|a, b| b.cmp(a));
                    scored.truncate(count);
                    Ok(scored)
                })
                .collect(),
        }
    }

    fn score(&self, query: &[f32], row: u32) -> f64 {
        let row = row as usize;
        exact_score(&self.vectors.block(row..row + 1), query)
    }

    /// The best `limit` passages among the rows found, and more rows where
    /// those found may not be all that matter: when they are parts of too few
    /// passages, or when equal scores are cut.
    fn settle(
        &self,
        query: &Vec<f32>,
        mut found: Vec<Scored>,
        limit: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let mut count = found.len();
        loop {
            let mut best: HashMap<u32, Scored> = HashMap::new();
            for scored in &found {
                let owner = self.passages.owner(scored.row);
                best.entry(owner)
                    .and_modify(|known| *known = (*known).max(*scored))
                    .or_insert(*scored);
            }
            let mut ranked: Vec<(u32, Scored)> = best.into_iter().collect();
            ranked.sort_by(|(_, a), (_, b)| b.cmp(a));
            let is_all = found.len() >= self.vectors.rows() || found.len() < count;
            let worst = found.last().map_or(f32::NEG_INFINITY, |last| last.score);
            let border = ranked.get(limit - 1).map(|(_, scored)| scored.score);
            if !is_all && border.is_none_or(|border| border - worst <= ROUNDING) {
                count = found.len().saturating_mul(4);
                found = self
                    .candidates(std::slice::from_ref(query), count)?
                    .pop()
                    .unwrap_or_default();
                count = count.min(self.vectors.rows());
                continue;
            }
            let border = border.unwrap_or(f32::NEG_INFINITY) - ROUNDING;
            let mut hits = Vec::with_capacity(limit + EXTRA);
            for (owner, scored) in ranked {
                if scored.score < border {
                    break;
                }
                hits.push(Hit {
                    side: Side::Dense,
                    row: u64::from(owner),
                    id: self.passages.id(owner)?,
                    score: self.score(query, scored.row),
                });
            }
            hits.sort_by(Hit::order);
            hits.truncate(limit);
            return Ok(hits);
        }
    }

    /// A passage that was found.
    pub fn passage(&self, row: u64) -> Result<Passage, IndexError> {
        self.passages.passage(row as u32)
    }
}
