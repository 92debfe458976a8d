use super::{
    Cache, IndexError, Tell,
    bm25::Bm25,
    corpus::Corpus,
    cutting::Cutting,
    dense::{Dense, Method},
    hit::{Hit, Side},
    store::read_manifest,
};
use crate::{
    domain::{Encoders, Failure, Passage, RetrieverKind, RetrieverSpec},
    retrieval::{Chunking, TokenBorders, reciprocal_rank_fusion, weighted_fusion},
};
use serde_json::Value;
use std::{collections::HashMap, ops::ControlFlow, path::Path, sync::Arc};

/// Of reciprocal rank fusion where the study names none.
const RRF_K: f64 = 60.0;
/// Of weighted fusion where the study names none.
const ALPHA: f64 = 0.5;
/// Passages of each side that are fused, at least: what is found does not
/// depend on how much of it is asked for.
pub const DEPTH: usize = 100;

/// Gives the tokens of an embedding model, by the name that studies use.
pub type Tokens<'a> = dyn FnMut(&str) -> Result<Arc<dyn TokenBorders>, Failure> + 'a;

/// What opening and building needs beside the retriever.
pub struct Site<'a> {
    /// Where indexes are kept.
    pub cache_dir: &'a Path,
    /// Embedding models.
    pub encoders: &'a mut dyn Encoders,
    /// Their tokens, for chunks that are measured in them.
    pub tokens: &'a mut Tokens<'a>,
    /// Vectors that were computed before.
    pub cache: Option<&'a Cache>,
    /// Hears of progress.
    pub tell: &'a mut Tell<'a>,
}

/// How two rankings become one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fusion {
    ReciprocalRanks {
        k: f64,
    },
    /// `alpha` is the weight of the vectors.
    Weighted {
        alpha: f64,
    },
}

impl Fusion {
    fn of(spec: &RetrieverSpec) -> Result<Self, IndexError> {
        let number = |key: &str| spec.options.get(key).and_then(Value::as_f64);
        let word = |key: &str| spec.options.get(key).and_then(Value::as_str);
        if word("sparse_method").is_some_and(|method| method != "bm25") {
            return Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: "sparse_method tfidf is not available; write bm25".to_owned(),
            });
        }
        // A weight says that scores are weighed.
        let weighted = match word("fusion") {
            Some(fusion) => fusion == "weighted",
            None => number("alpha").is_some() && number("rrf_k").is_none(),
        };
        Ok(match weighted {
            true => Self::Weighted {
                alpha: number("alpha").unwrap_or(ALPHA),
            },
            false => Self::ReciprocalRanks {
                k: number("rrf_k").unwrap_or(RRF_K),
            },
        })
    }

    fn identity(self) -> String {
        match self {
            Self::ReciprocalRanks { k } => format!("rrf {k}"),
            Self::Weighted { alpha } => format!("weighted {alpha}"),
        }
    }
}

enum Search {
    Words(Box<Bm25>),
    Vectors(Box<Dense>),
    Both {
        words: Box<Bm25>,
        vectors: Box<Dense>,
        fusion: Fusion,
    },
}

/// An open index.
pub struct Index {
    search: Search,
    identity: String,
    /// The model that queries are embedded with, as the study calls it.
    embedding: Option<String>,
}

/// Opens the index that `spec` asks for, and builds first what of it is not
/// there yet.
///
/// A relative `corpus` starts from the current directory; whoever knows better
/// resolves it before. Several processes may do this at once.
///
/// # Errors
/// When the corpus is missing or malformed, the disk or the embedding model
/// fails, or something that is asked for is not available.
pub fn open(spec: &RetrieverSpec, site: &mut Site<'_>) -> Result<Index, IndexError> {
    refuse_constants(spec)?;
    if spec.kind == RetrieverKind::Gold {
        return Err(no_index(spec));
    }
    let fusion = Fusion::of(spec)?;
    let tokens = tokens(spec, site)?;
    let cutting = Cutting::of(spec, tokens)?;
    let corpus = Corpus::find(spec)?;
    let corpus_identity = corpus.checksum()?;
    let words = |site: &mut Site<'_>| {
        super::bm25::open(
            &corpus,
            &corpus_identity,
            &cutting.passages,
            site.cache_dir,
            site.tell,
        )
        .map(Box::new)
    };
    let vectors = |site: &mut Site<'_>| {
        super::dense::open(spec, &corpus, &corpus_identity, &cutting, site).map(Box::new)
    };
    let search = match spec.kind {
        RetrieverKind::Bm25 => Search::Words(words(site)?),
        RetrieverKind::Dense | RetrieverKind::Hierarchical => Search::Vectors(vectors(site)?),
        RetrieverKind::Hybrid => Search::Both {
            words: words(site)?,
            vectors: vectors(site)?,
            fusion,
        },
        RetrieverKind::Gold => return Err(no_index(spec)),
    };
    Ok(Index::new(search, spec.embedding.clone()))
}

fn no_index(spec: &RetrieverSpec) -> IndexError {
    IndexError::Unavailable {
        retriever: spec.name.clone(),
        what: "it gives each question its own passages, so there is no index".to_owned(),
    }
}

fn tokens(
    spec: &RetrieverSpec,
    site: &mut Site<'_>,
) -> Result<Option<Arc<dyn TokenBorders>>, IndexError> {
    let counts_tokens = Chunking::of(spec).is_ok_and(|chunking| chunking.counts_tokens());
    match &spec.embedding {
        Some(model) if counts_tokens => {
            // Whoever gives the model sees to it that its files are here.
            site.encoders.embedder(model).map_err(IndexError::Encoder)?;
            (site.tokens)(model).map(Some).map_err(IndexError::Encoder)
        }
        _ => Ok(None),
    }
}

/// BM25's constants are those of the search engine.
fn refuse_constants(spec: &RetrieverSpec) -> Result<(), IndexError> {
    for (key, fixed) in [("k1", 1.2), ("b", 0.75)] {
        let wanted = spec.options.get(key).and_then(Value::as_f64);
        if let Some(wanted) = wanted.filter(|wanted| (wanted - fixed).abs() > 1e-9) {
            return Err(IndexError::Unavailable {
                retriever: spec.name.clone(),
                what: format!("{key} is {fixed} and can not be {wanted}; remove the key"),
            });
        }
    }
    Ok(())
}

impl Index {
    fn new(search: Search, embedding: Option<String>) -> Self {
        let identity = match &search {
            Search::Words(words) => words.name(),
            Search::Vectors(vectors) => vectors.name().to_owned(),
            Search::Both {
                words,
                vectors,
                fusion,
            } => format!(
                "{}, {}, {}",
                words.name(),
                vectors.name(),
                fusion.identity()
            ),
        };
        Self {
            search,
            identity,
            embedding,
        }
    }

    /// Opens a retriever whose directories are known, without a look at its
    /// corpus.
    ///
    /// # Errors
    /// When a directory is missing or broken.
    pub fn reopen(
        cache_dir: &Path,
        spec: &RetrieverSpec,
        directories: &[String],
    ) -> Result<Self, IndexError> {
        let place = |kind: &str| {
            let directory = directories.iter().find(|name| name.starts_with(kind));
            cache_dir.join(directory.map_or(kind, String::as_str))
        };
        let words = || Bm25::open(&place("bm25-")).map(Box::new);
        let vectors = || {
            let method = Method::of(spec)?;
            Dense::open(&place("dense-"))?
                .searched_by(method, cache_dir, &mut |_| ControlFlow::Continue(()))
                .map(Box::new)
        };
        let search = match spec.kind {
            RetrieverKind::Bm25 => Search::Words(words()?),
            RetrieverKind::Dense | RetrieverKind::Hierarchical => Search::Vectors(vectors()?),
            RetrieverKind::Hybrid => Search::Both {
                words: words()?,
                vectors: vectors()?,
                fusion: Fusion::of(spec)?,
            },
            RetrieverKind::Gold => return Err(no_index(spec)),
        };
        Ok(Self::new(search, spec.embedding.clone()))
    }

    /// Opens what is in one directory of `cache_dir`, by its name.
    ///
    /// # Errors
    /// When it is broken, or nothing that can be searched.
    pub fn at(cache_dir: &Path, directory: &str) -> Result<Self, IndexError> {
        let place = cache_dir.join(directory);
        let manifest = read_manifest(&place)?;
        match manifest["kind"].as_str() {
            Some("bm25") => Ok(Self::new(
                Search::Words(Box::new(Bm25::open(&place)?)),
                None,
            )),
            Some("dense") => {
                let dense = Dense::open(&place)?;
                let model = dense.model().to_owned();
                Ok(Self::new(Search::Vectors(Box::new(dense)), Some(model)))
            }
            other => Err(super::error::broken(
                &place,
                format!(
                    "this is {}, which is a part of others and is not searched itself",
                    other.unwrap_or("nothing that is known")
                ),
            )),
        }
    }

    /// What is in it and how it is searched: equal identities find the same.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Tells the id of every passage, some more than once.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn ids(&self, tell: &mut dyn FnMut(&str)) -> Result<(), IndexError> {
        match &self.search {
            Search::Words(words) | Search::Both { words, .. } => words.ids(tell),
            Search::Vectors(vectors) => vectors.ids(tell),
        }
    }

    /// Whether its passages are cut out of documents and called after them:
    /// `document#number`.
    ///
    /// # Errors
    /// When its manifest can not be read.
    pub fn has_chunks(&self) -> Result<bool, IndexError> {
        let path = match &self.search {
            Search::Words(words) | Search::Both { words, .. } => words.path(),
            Search::Vectors(vectors) => vectors.path(),
        };
        let manifest = read_manifest(path)?;
        let cutting = manifest["chunking"].as_str().unwrap_or_default();
        // What is searched of a passage does not cut the passage.
        let of_passages = cutting.rsplit_once(" in ").map_or(cutting, |(_, of)| of);
        Ok(of_passages != "none")
    }

    /// The model that queries are embedded with.
    pub fn embedding(&self) -> Option<&str> {
        match self.search {
            Search::Words(_) => None,
            _ => self.embedding.as_deref(),
        }
    }

    /// The identity of the model that made its vectors: queries need the same.
    pub(super) fn embedding_identity(&self) -> Option<&str> {
        match &self.search {
            Search::Words(_) => None,
            Search::Vectors(dense) | Search::Both { vectors: dense, .. } => Some(dense.embedding()),
        }
    }

    /// Names of the directories that it is made of.
    pub fn directories(&self) -> Vec<String> {
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let paths = match &self.search {
            Search::Words(words) => vec![words.path()],
            Search::Vectors(vectors) => vec![vectors.path()],
            Search::Both { words, vectors, .. } => vec![words.path(), vectors.path()],
        };
        paths.into_iter().filter_map(name).collect()
    }

    /// For every query the `limit` best passages, best first, equal scores by
    /// id. `vectors` has the query's vectors where [`Self::embedding`] names a
    /// model; `in_all` queries are to come, these included.
    ///
    /// # Errors
    /// When the index can not be read.
    pub(super) fn search(
        &self,
        queries: &[&str],
        vectors: &[Vec<f32>],
        limit: usize,
        encoders: &mut dyn Encoders,
        in_all: usize,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let depth = limit.max(DEPTH);
        let mut found = match &self.search {
            Search::Words(words) => words.search(queries, limit)?,
            Search::Vectors(dense) => dense.search(vectors, depth, encoders, in_all)?,
            Search::Both {
                words,
                vectors: dense,
                fusion,
            } => {
                let sparse = words.search(queries, depth)?;
                let dense = dense.search(vectors, depth, encoders, in_all)?;
                let both = sparse.iter().zip(&dense);
                both.map(|(sparse, dense)| fused(sparse, dense, *fusion))
                    .collect()
            }
        };
        for hits in &mut found {
            hits.truncate(limit);
        }
        Ok(found)
    }

    /// A passage that was found, with its text.
    ///
    /// # Errors
    /// When the index can not be read, or the hit is of another index.
    pub fn passage(&self, hit: &Hit) -> Result<Passage, IndexError> {
        let passage = match (&self.search, hit.side) {
            (Search::Words(words) | Search::Both { words, .. }, Side::Sparse) => {
                words.passage(hit.row)?
            }
            (Search::Vectors(dense) | Search::Both { vectors: dense, .. }, Side::Dense) => {
                dense.passage(hit.row)?
            }
            _ => return Err(self.stranger(hit)),
        };
        match passage.id == hit.id {
            true => Ok(Passage {
                score: hit.score,
                ..passage
            }),
            false => Err(self.stranger(hit)),
        }
    }

    fn stranger(&self, hit: &Hit) -> IndexError {
        super::error::broken(
            Path::new(&self.identity),
            format!("the passage '{}' is not in it", hit.id),
        )
    }
}

/// One ranking from two, each hit with its sum as its score.
fn fused(sparse: &[Hit], dense: &[Hit], fusion: Fusion) -> Vec<Hit> {
    let sums = match fusion {
        Fusion::ReciprocalRanks { k } => reciprocal_rank_fusion(&[&ids(sparse), &ids(dense)], k),
        Fusion::Weighted { alpha } => weighted_fusion(&scored(dense), &scored(sparse), alpha),
    };
    with_sums(sums, sparse.iter().chain(dense))
}

/// The hits in the order of the sums, which become their scores.
fn with_sums<'a>(sums: Vec<(&str, f64)>, hits: impl Iterator<Item = &'a Hit>) -> Vec<Hit> {
    let hits: HashMap<&str, &Hit> = hits.map(|hit| (hit.id.as_str(), hit)).collect();
    sums.into_iter()
        .filter_map(|(id, score)| {
            hits.get(id).map(|hit| Hit {
                score,
                ..(*hit).clone()
            })
        })
        .collect()
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn scored(hits: &[Hit]) -> Vec<(&str, f64)> {
    hits.iter()
        .map(|hit| (hit.id.as_str(), hit.score))
        .collect()
}
