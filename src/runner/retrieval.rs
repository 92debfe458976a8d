use super::resources::Resources;
#[cfg(feature = "inference")]
use super::tokens::tokens;
#[cfg(not(feature = "inference"))]
use crate::retrieval::TokenBorders;
use crate::{
    domain::{Encoders, ExperimentSpec, Failure, FailureClass, Passage, RetrieverSpec},
    index::{
        self, BuildProgress, Cache, DEPTH, Index, IndexError, Query, Ranking, Shelves, Site, Wanted,
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Progress is a remark at most this often.
const REMARK_EVERY: Duration = Duration::from_secs(15);

/// Hears remarks; `Break` stops what is being built or searched.
pub type Remark<'a> = dyn FnMut(Option<&str>) -> ControlFlow<()> + 'a;

/// What experiments have in common that find the same: their rankings are made
/// once, as long as the longest needs them, and cut down for the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Search {
    /// The retriever, without its name.
    retriever: String,
    reranker: Option<String>,
    /// Passages that are looked at; more are looked at when more are wanted.
    depth: usize,
}

impl Search {
    fn of(spec: &ExperimentSpec, retriever: &RetrieverSpec) -> Self {
        Self {
            retriever: key(retriever),
            reranker: reranker(spec),
            depth: length(spec).max(DEPTH),
        }
    }

    /// The question counts where a reranker reads it.
    fn key(&self, query: &Query<'_>) -> String {
        match self.reranker.is_some() && query.question != query.text {
            true => format!("{}\0{}", query.text, query.question),
            false => query.text.to_owned(),
        }
    }
}

/// The name of a retriever does not decide what it finds.
fn key(retriever: &RetrieverSpec) -> String {
    let nameless = RetrieverSpec {
        name: String::new(),
        ..retriever.clone()
    };
    serde_json::to_string(&nameless).unwrap_or_default()
}

fn reranker(spec: &ExperimentSpec) -> Option<String> {
    let model = spec.options.get("reranker")?.get("model")?;
    model.as_str().map(str::to_owned)
}

/// Passages that a reranker gets to see; without one, those of the prompt.
fn candidates(spec: &ExperimentSpec) -> usize {
    let top_k = spec.top_k.unwrap_or(0);
    let fetch_k = spec.options.get("fetch_k").and_then(|k| k.as_u64());
    fetch_k.map_or(top_k, |fetch_k| top_k.max(fetch_k as usize))
}

/// Passages that a ranking must have.
fn length(spec: &ExperimentSpec) -> usize {
    match reranker(spec) {
        Some(_) => candidates(spec),
        None => spec.top_k.unwrap_or(0),
    }
}

/// Open indexes and what they found: a grid asks each question of the same
/// index again and again.
///
/// Indexes live below the directory `place`, shared by all studies. All lanes
/// of a run share one shelf.
pub struct Shelf {
    place: PathBuf,
    cache: Option<Cache>,
    encoders: Box<dyn Encoders + Send>,
    open: HashMap<String, Result<Arc<Index>, Failure>>,
    found: HashMap<Search, HashMap<String, Ranking>>,
    /// Searches that failed: hundreds of experiments do not try again.
    failed: HashMap<Search, Failure>,
    /// By search, the longest ranking that an experiment of the study needs.
    longest: HashMap<Search, usize>,
}

impl Shelf {
    /// A shelf without an index yet, for these experiments. Models come from
    /// `encoders`.
    pub fn new(
        place: PathBuf,
        specs: &[ExperimentSpec],
        encoders: Box<dyn Encoders + Send>,
    ) -> Self {
        let mut longest: HashMap<Search, usize> = HashMap::new();
        for spec in specs {
            if let Some(retriever) = &spec.retriever {
                let known = longest.entry(Search::of(spec, retriever)).or_default();
                *known = (*known).max(length(spec));
            }
        }
        Self {
            place,
            cache: None,
            encoders,
            open: HashMap::new(),
            found: HashMap::new(),
            failed: HashMap::new(),
            longest,
        }
    }

    /// Sees to it that a retriever's index is there, building it where it is
    /// not. `remark` hears how that goes on. Returns the index's identity.
    ///
    /// # Errors
    /// When the corpus is missing or malformed, or a model or the disk fails;
    /// the answer is kept, so that hundreds of experiments do not try again.
    pub fn prepare(
        &mut self,
        retriever: &RetrieverSpec,
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<String, Failure> {
        let index = self.index(retriever, resources, remark)?;
        Ok(index.identity().to_owned())
    }

    /// The identity of a retriever's index, if it is open.
    pub fn identity(&self, retriever: &RetrieverSpec) -> Option<String> {
        let index = self.open.get(&key(retriever))?.as_ref().ok()?;
        Some(index.identity().to_owned())
    }

    fn index(
        &mut self,
        retriever: &RetrieverSpec,
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<Arc<Index>, Failure> {
        let key = key(retriever);
        if let Some(known) = self.open.get(&key) {
            return known.clone();
        }
        if self.cache.is_none() {
            match Cache::open(&self.place) {
                Ok(cache) => self.cache = Some(cache),
                Err(error) => {
                    let _ = remark(Some(&format!("nothing is cached: {error}")));
                }
            }
        }
        let mut resolved = retriever.clone();
        match corpus(&retriever.corpus, resources, remark) {
            Ok(path) => resolved.corpus = path.display().to_string(),
            Err(failure) => {
                self.open.insert(key, Err(failure.clone()));
                return Err(failure);
            }
        }
        let opened = self.open_index(&resolved, &retriever.corpus, resources, remark);
        let opened = match opened {
            // Not an answer: the next run goes on with it.
            Err(IndexError::Interrupted) => return Err(IndexError::Interrupted.into()),
            Err(error) => Err(Failure::from(error)),
            Ok(index) => {
                // What only `ragicamp index` shows is no reason to fail.
                let remembered = Shelves::new(&self.place).remember(&resolved, &index);
                if let Ok(Some(before)) = remembered {
                    let _ = remark(Some(&format!(
                        "the name {} meant the index {} so far, and means {} from now on",
                        retriever.name,
                        before.join(", "),
                        index.directories().join(", ")
                    )));
                }
                Ok(Arc::new(index))
            }
        };
        self.open.insert(key, opened.clone());
        opened
    }

    fn open_index(
        &mut self,
        retriever: &RetrieverSpec,
        corpus: &str,
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<Index, IndexError> {
        let mut said = false;
        let mut waits = false;
        let mut last = Instant::now();
        let mut tell = |progress: BuildProgress| {
            if let BuildProgress::Started { .. } = progress
                && !said
            {
                said = true;
                return remark(Some(&format!(
                    "building the index {} of {corpus}",
                    retriever.name
                )));
            }
            // It is told again and again, and is news only once.
            let is_news =
                progress == BuildProgress::Waiting && !std::mem::replace(&mut waits, true);
            match words(&progress) {
                Some((words, is_due)) if is_due || is_news || last.elapsed() >= REMARK_EVERY => {
                    last = Instant::now();
                    remark(Some(&format!("{}: {words}", retriever.name)))
                }
                _ => remark(None),
            }
        };
        let mut tokens = |model: &str| tokens(model, resources.bases());
        index::open(
            retriever,
            &mut Site {
                cache_dir: &self.place,
                encoders: &mut *self.encoders,
                tokens: &mut tokens,
                cache: self.cache.as_ref(),
                tell: &mut tell,
            },
        )
    }

    /// Makes the rankings that experiments like this one will ask for, all at
    /// once, as far as they are not there. `remark` hears how that goes on.
    ///
    /// # Errors
    /// As [`Self::prepare`], and when the search itself fails.
    pub fn rank(
        &mut self,
        spec: &ExperimentSpec,
        queries: &[Query<'_>],
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<(), Failure> {
        let Some(retriever) = &spec.retriever else {
            return Ok(());
        };
        let search = Search::of(spec, retriever);
        let found = self.found.get(&search);
        let missing: BTreeSet<Query<'_>> = queries
            .iter()
            .filter(|query| found.is_none_or(|found| !found.contains_key(&search.key(query))))
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.failed.get(&search) {
            return Err(failure.clone());
        }
        let index = self.index(retriever, resources, remark)?;
        let missing: Vec<Query<'_>> = missing.into_iter().collect();
        let longest = self.longest.get(&search).copied().unwrap_or_default();
        let wanted = Wanted {
            limit: longest.max(length(spec)),
            reranker: search.reranker.clone(),
        };
        let mut last = Instant::now();
        let rankings = index::rank(
            &index,
            &missing,
            &wanted,
            &mut *self.encoders,
            self.cache.as_ref(),
            &mut |done| {
                if last.elapsed() < REMARK_EVERY {
                    return remark(None);
                }
                last = Instant::now();
                remark(Some(&format!(
                    "{}: passages for {done} of {} questions",
                    retriever.name,
                    missing.len()
                )))
            },
        );
        let rankings = match rankings {
            Ok(rankings) => rankings,
            Err(error) => {
                let is_answer = !matches!(error, IndexError::Interrupted);
                let failure = Failure::from(error);
                if is_answer {
                    self.failed.insert(search, failure.clone());
                }
                return Err(failure);
            }
        };
        let keys: Vec<String> = missing.iter().map(|query| search.key(query)).collect();
        let found = self.found.entry(search).or_default();
        found.extend(keys.into_iter().zip(rankings));
        Ok(())
    }

    /// The passages for a query that was ranked, best first, at most the
    /// experiment's `top_k`; none for an experiment without retrieval.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn passages(
        &self,
        spec: &ExperimentSpec,
        query: Query<'_>,
    ) -> Result<Vec<Passage>, Failure> {
        let (Some(retriever), Some(top_k)) = (&spec.retriever, spec.top_k) else {
            return Ok(Vec::new());
        };
        let search = Search::of(spec, retriever);
        let found = self.found.get(&search);
        let ranking = found.and_then(|found| found.get(&search.key(&query)));
        let index = self.open.get(&key(retriever));
        let (Some(ranking), Some(Ok(index))) = (ranking, index) else {
            return Err(Failure::new(
                FailureClass::Permanent,
                "a bug in ragicamp: passages were asked for before they were ranked",
            ));
        };
        let hits = ranking.best(top_k, candidates(spec));
        let passages: Result<Vec<_>, _> = hits.iter().map(|hit| index.passage(hit)).collect();
        Ok(passages?)
    }

    /// Gives up the models that were needed for retrieval, and their memory.
    pub fn release_models(&mut self) {
        self.encoders.release();
    }
}

/// Where a corpus is, downloaded where it is one of the hub.
fn corpus(name: &str, resources: &Resources, remark: &mut Remark<'_>) -> Result<PathBuf, Failure> {
    let found = resources.corpus(name, &mut |progress| {
        let begun = progress.filter(|progress| progress.bytes == 0);
        let words = begun.map(|progress| {
            format!(
                "corpus {name}: fetching {} ({} MB)",
                progress.file,
                progress.total / 1_000_000
            )
        });
        // A download can not be stopped here; the next step can.
        let _ = remark(words.as_deref());
    });
    found.map_err(|why| {
        let message = format!("corpus '{name}': {why}");
        Failure::new(FailureClass::Permanent, message)
    })
}

/// What a build says of itself, and whether that can not wait.
fn words(progress: &BuildProgress) -> Option<(String, bool)> {
    match progress {
        BuildProgress::Started { .. } | BuildProgress::Finished { .. } => None,
        BuildProgress::Waiting => Some((
            "another process is building this index; waiting for it".to_owned(),
            false,
        )),
        BuildProgress::Indexed { passages, .. } => Some((format!("{passages} passages"), false)),
        BuildProgress::Embedded { done, total } => Some((
            format!("{done} of {total} passages have their vectors"),
            false,
        )),
        BuildProgress::Linked { done, total } => {
            Some((format!("{done} of {total} vectors are in the graph"), false))
        }
        BuildProgress::Recall { recall, queries } => Some((
            format!(
                "approximate search finds {:.1} % of the 10 nearest of {queries} vectors",
                recall * 100.0
            ),
            true,
        )),
    }
}

/// Without tokenizers in the build, no model's tokens are known.
#[cfg(not(feature = "inference"))]
fn tokens(model: &str, _bases: &[PathBuf]) -> Result<Arc<dyn TokenBorders>, Failure> {
    Err(Failure::new(
        FailureClass::Permanent,
        format!("the tokens of {model}: this program was built without the feature inference"),
    ))
}
