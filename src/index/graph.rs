//! Approximate search: HNSW graphs over the vectors of an index (Malkov and
//! Yashunin 2016, as usearch has it).
//!
//! The vectors are taken in shards that fit a fixed share of memory while they
//! are built; each shard is a file of its own, searched from the map. What the
//! graphs find is scored again from the exact vectors.

use super::{
    BuildProgress, IndexError,
    error::{broken, io_error},
    nearest::{Access, ROUNDING, exact_score, nearest},
    progress::{Tell, report},
    store::{key, publish_resumable, read_manifest, set_aside, write_manifest},
    vectors::Vectors,
};
use rayon::prelude::*;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// From this many vectors on a search is approximate where nobody says which.
pub(super) const AUTOMATIC: usize = 1_000_000;
/// Memory for a shard while it is built.
const SHARD_BYTES: usize = 1_100 << 20;
/// Bytes per vector beside its numbers: links of all levels, about.
const LINK_BYTES: usize = 320;
const CONNECTIVITY: usize = 16;
const EXPANSION_ADD: usize = 128;
const EXPANSION_SEARCH: usize = 256;
/// Vectors added at a time; progress is told between.
const STEP: usize = 2_000;
/// Vectors that are searched for to measure the recall.
const SAMPLE: usize = 100;
const SAMPLE_DEPTH: usize = 10;

/// Graphs over the vectors of one index.
pub(super) struct Graph {
    dir: PathBuf,
    shards: Vec<Index>,
}

/// Opens the graph of an index of vectors, and builds it where it is not
/// there.
pub(super) fn open(
    cache_dir: &Path,
    of: &str,
    vectors: &Vectors,
    tell: &mut Tell<'_>,
) -> Result<Graph, IndexError> {
    open_with(cache_dir, of, vectors, SHARD_BYTES, tell)
}

pub(super) fn open_with(
    cache_dir: &Path,
    of: &str,
    vectors: &Vectors,
    shard_bytes: usize,
    tell: &mut Tell<'_>,
) -> Result<Graph, IndexError> {
    let rows_per_shard = (shard_bytes / (vectors.dimension() * 4 + LINK_BYTES)).max(STEP);
    let form = format!("hnsw/{CONNECTIVITY}/{EXPANSION_ADD}/{rows_per_shard}/1");
    let name = format!("hnsw-{}", key(&[of, &form]));
    let place = cache_dir.join(&name);
    if place.is_dir() {
        if let Ok(graph) = Graph::open(&place, vectors) {
            return Ok(graph);
        }
        set_aside(&place)?;
    }
    publish_resumable(cache_dir, &name, tell, |dir, tell| {
        build(dir, of, &form, vectors, rows_per_shard, tell)
    })?;
    Graph::open(&place, vectors)
}

fn options(dimension: usize) -> IndexOptions {
    IndexOptions {
        dimensions: dimension,
        metric: MetricKind::IP,
        quantization: ScalarKind::F32,
        connectivity: CONNECTIVITY,
        expansion_add: EXPANSION_ADD,
        expansion_search: EXPANSION_SEARCH,
        multi: false,
    }
}

fn shard_name(number: usize) -> String {
    format!("shard-{number:04}")
}

fn build(
    dir: &Path,
    of: &str,
    form: &str,
    vectors: &Vectors,
    rows_per_shard: usize,
    tell: &mut Tell<'_>,
) -> Result<(), IndexError> {
    let started = Instant::now();
    let total = vectors.rows();
    report(
        tell,
        BuildProgress::Linked {
            done: 0,
            total: total as u64,
        },
    )?;
    for (number, first) in (0..total).step_by(rows_per_shard).enumerate() {
        let last = (first + rows_per_shard).min(total);
        let path = dir.join(shard_name(number));
        // A shard has its name when it is whole.
        if path.exists() {
            continue;
        }
        let shard = Index::new(&options(vectors.dimension()))
            .map_err(|error| broken(dir, error.to_string()))?;
        shard
            .reserve_capacity_and_threads(last - first, rayon::current_num_threads() + 1)
            .map_err(|error| broken(dir, error.to_string()))?;
        for start in (first..last).step_by(STEP) {
            let rows = start..(start + STEP).min(last);
            let done = rows.end as u64;
            let block = vectors.read_block(rows.clone())?;
            rows.into_par_iter()
                .zip(block.par_chunks(vectors.dimension()))
                .try_for_each(|(row, vector)| shard.add(row as u64, vector))
                .map_err(|error| broken(dir, error.to_string()))?;
            report(
                tell,
                BuildProgress::Linked {
                    done,
                    total: total as u64,
                },
            )?;
        }
        let unfinished = dir.join(".unfinished");
        shard
            .save(&unfinished.to_string_lossy())
            .map_err(|error| broken(dir, error.to_string()))?;
        fs::File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(io_error(&path))?;
    }
    let graph = Graph::view(dir, vectors)?;
    let (recall, queries) = graph.recall(vectors)?;
    report(tell, BuildProgress::Recall { recall, queries })?;
    let seconds = started.elapsed().as_secs_f64();
    write_manifest(
        dir,
        json!({
            "kind": "hnsw",
            "of": of,
            "form": form,
            "vectors": total,
            "recall@10": recall,
            "recall_queries": queries,
        }),
    )?;
    report(
        tell,
        BuildProgress::Finished {
            kind: "hnsw",
            passages: total as u64,
            empty_documents: 0,
            seconds,
        },
    )
}

impl Graph {
    fn open(dir: &Path, vectors: &Vectors) -> Result<Self, IndexError> {
        read_manifest(dir)?;
        let graph = Self::view(dir, vectors)?;
        let linked: usize = graph.shards.iter().map(Index::size).sum();
        match linked == vectors.rows() {
            true => Ok(graph),
            false => Err(broken(dir, "a shard is missing")),
        }
    }

    fn view(dir: &Path, vectors: &Vectors) -> Result<Self, IndexError> {
        let mut shards = Vec::new();
        loop {
            let path = dir.join(shard_name(shards.len()));
            if !path.exists() {
                break;
            }
            let shard = Index::new(&options(vectors.dimension()))
                .and_then(|shard| shard.view(&path.to_string_lossy()).map(|()| shard))
                .map_err(|error| broken(dir, error.to_string()))?;
            shard.change_expansion_search(EXPANSION_SEARCH);
            shards.push(shard);
        }
        Ok(Self {
            dir: dir.to_owned(),
            shards,
        })
    }

    /// About `limit` of the nearest rows of each shard, in no order.
    pub fn near(&self, query: &[f32], limit: usize) -> Result<Vec<u32>, IndexError> {
        let mut rows = Vec::new();
        for shard in &self.shards {
            let found = shard
                .search(query, limit)
                .map_err(|error| broken(&self.dir, error.to_string()))?;
            rows.extend(found.keys.into_iter().map(|key| key as u32));
        }
        Ok(rows)
    }

    /// How much of the exact search is found, and with how many queries: the
    /// share of the first ten that are as near as the tenth nearest. (Which of
    /// equally near ones are found does not matter.) Vectors of the index
    /// itself ask, spread evenly.
    fn recall(&self, vectors: &Vectors) -> Result<(f64, usize), IndexError> {
        let step = (vectors.rows() / SAMPLE).max(1);
        let mut sample = Vec::new();
        for row in (0..vectors.rows()).step_by(step).take(SAMPLE) {
            sample.push(vectors.read_block(row..row + 1)?);
        }
        let exact = nearest(vectors, &sample, SAMPLE_DEPTH, Access::Read)?;
        let (mut found, mut wanted) = (0, 0);
        for (query, exact) in sample.iter().zip(exact) {
            let Some(last) = exact.last() else { continue };
            let mut near_enough = 0;
            for row in self.near(query, SAMPLE_DEPTH)? {
                let row = row as usize;
                let score = exact_score(&vectors.read_block(row..row + 1)?, query);
                near_enough += usize::from(score as f32 >= last.score - ROUNDING);
            }
            wanted += exact.len();
            found += near_enough.min(exact.len());
        }
        Ok((found as f64 / wanted.max(1) as f64, sample.len()))
    }
}
