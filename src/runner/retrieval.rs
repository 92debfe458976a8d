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
#[cfg(not(feature = "inference"))]
use std::sync::Arc;
use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::PathBuf,
    rc::Rc,
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
    transform: Option<String>,
    reranker: Option<String>,
    /// Passages that are looked at; more are looked at when more are wanted.
    depth: usize,
}

impl Search {
    fn of(spec: &ExperimentSpec, retriever: &RetrieverSpec) -> Self {
        Self {
            retriever: key(retriever),
            transform: text(spec, "query_transform", None),
            reranker: text(spec, "reranker", Some("model")),
            depth: length(spec).max(DEPTH),
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

fn text(spec: &ExperimentSpec, option: &str, below: Option<&str>) -> Option<String> {
    let mut value = spec.options.get(option)?;
    if let Some(key) = below {
        value = value.get(key)?;
    }
    value.as_str().map(str::to_owned)
}

/// Passages that a reranker gets to see; without one, those of the prompt.
fn candidates(spec: &ExperimentSpec) -> usize {
    let top_k = spec.top_k.unwrap_or(0);
    let fetch_k = spec.options.get("fetch_k").and_then(|k| k.as_u64());
    fetch_k.map_or(top_k, |fetch_k| top_k.max(fetch_k as usize))
}

/// Passages that a ranking must have.
fn length(spec: &ExperimentSpec) -> usize {
    match spec.options.contains_key("reranker") {
        true => candidates(spec),
        false => spec.top_k.unwrap_or(0),
    }
}

/// Open indexes and what they found: a grid asks each question of the same
/// index again and again.
///
/// Indexes live below the directory `cache`, shared by all studies.
pub struct Shelf {
    place: PathBuf,
    cache: Option<Cache>,
    encoders: Box<dyn Encoders>,
    open: HashMap<String, Result<Rc<Index>, Failure>>,
    found: HashMap<Search, HashMap<String, Ranking>>,
    /// Searches that failed: hundreds of experiments do not try again.
    failed: HashMap<Search, Failure>,
    /// By search, the longest ranking that an experiment of the study needs.
    longest: HashMap<Search, usize>,
}

impl Shelf {
    /// A shelf without an index yet, for these experiments. Models come from
    /// `encoders`.
    pub fn new(place: PathBuf, specs: &[ExperimentSpec], encoders: Box<dyn Encoders>) -> Self {
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

    fn index(
        &mut self,
        retriever: &RetrieverSpec,
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<Rc<Index>, Failure> {
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
        resolved.corpus = resources.resolve(&retriever.corpus).display().to_string();
        let opened = self.open_index(&resolved, &retriever.corpus, resources, remark);
        let opened = match opened {
            // Not an answer: the next run goes on with it.
            Err(IndexError::Interrupted) => return Err(IndexError::Interrupted.into()),
            Err(error) => Err(Failure::from(error)),
            Ok(index) => {
                // What only `index list` shows is no reason to fail.
                let _ = Shelves::new(&self.place).remember(&resolved, &index);
                Ok(Rc::new(index))
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
            match words(&progress) {
                Some((words, is_due)) if is_due || last.elapsed() >= REMARK_EVERY => {
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

    /// Makes the rankings of questions that experiments like this one will ask
    /// for, all at once, as far as they are not there. `remark` hears how that
    /// goes on.
    ///
    /// # Errors
    /// As [`Self::prepare`], and when the search itself fails.
    pub fn rank(
        &mut self,
        spec: &ExperimentSpec,
        questions: &[&str],
        resources: &Resources,
        remark: &mut Remark<'_>,
    ) -> Result<(), Failure> {
        let Some(retriever) = &spec.retriever else {
            return Ok(());
        };
        let search = Search::of(spec, retriever);
        let found = self.found.get(&search);
        let missing: BTreeMap<&str, ()> = questions
            .iter()
            .filter(|question| found.is_none_or(|found| !found.contains_key(**question)))
            .map(|question| (*question, ()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.failed.get(&search) {
            return Err(failure.clone());
        }
        let index = self.index(retriever, resources, remark)?;
        let queries: Vec<Query> = missing
            .keys()
            .map(|question| Query::plain(question))
            .collect();
        let wanted = Wanted {
            limit: self
                .longest
                .get(&search)
                .copied()
                .unwrap_or_default()
                .max(length(spec)),
            reranker: search.reranker.clone(),
            transform: search.transform.clone(),
        };
        let mut last = Instant::now();
        let rankings = index::rank(
            &index,
            &queries,
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
                    queries.len()
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
        let found = self.found.entry(search).or_default();
        for (query, ranking) in queries.into_iter().zip(rankings) {
            found.insert(query.question, ranking);
        }
        Ok(())
    }

    /// The passages for a question that was ranked, best first, at most the
    /// experiment's `top_k`; none for an experiment without retrieval.
    ///
    /// # Errors
    /// When the index can not be read.
    pub fn passages(&self, spec: &ExperimentSpec, question: &str) -> Result<Vec<Passage>, Failure> {
        let (Some(retriever), Some(top_k)) = (&spec.retriever, spec.top_k) else {
            return Ok(Vec::new());
        };
        let ranking = self
            .found
            .get(&Search::of(spec, retriever))
            .and_then(|found| found.get(question));
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

/// What a build says of itself, and whether that can not wait.
fn words(progress: &BuildProgress) -> Option<(String, bool)> {
    match progress {
        BuildProgress::Started { .. } | BuildProgress::Finished { .. } => None,
        BuildProgress::Waiting => Some((
            "another process is building this index; waiting for it".to_owned(),
            true,
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
