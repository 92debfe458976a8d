use super::resources::Resources;
use crate::{
    domain::{ExperimentSpec, Failure, FailureClass, Passage, Retriever},
    index,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Open indexes and what they found: a grid asks each question of the same
/// index again and again.
///
/// Indexes live below the directory `cache`, shared by all studies.
pub struct Shelf {
    cache: PathBuf,
    open: HashMap<String, Box<dyn Retriever>>,
    found: HashMap<(String, String), Rc<Vec<Passage>>>,
    /// The largest `top_k` of the study: retrieved once, cut down after.
    largest: usize,
}

impl Shelf {
    /// A shelf without an index yet, for these experiments.
    pub fn new(cache: PathBuf, specs: &[ExperimentSpec]) -> Self {
        Self {
            cache,
            open: HashMap::new(),
            found: HashMap::new(),
            largest: specs
                .iter()
                .filter_map(|spec| spec.top_k)
                .max()
                .unwrap_or(0),
        }
    }

    /// Sees to it that the experiment's index is there, building it where it
    /// is not; nothing to do for an experiment without retrieval. `tell`
    /// hears when a build begins.
    ///
    /// # Errors
    /// When the corpus is missing or malformed, or the disk fails.
    pub fn prepare(
        &mut self,
        spec: &ExperimentSpec,
        resources: &Resources,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let Some(retriever) = &spec.retriever else {
            return Ok(());
        };
        let index = serde_json::to_string(retriever).unwrap_or_default();
        if !self.open.contains_key(&index) {
            let opened = open(spec, &self.cache, resources, tell)?;
            self.open.insert(index, opened);
        }
        Ok(())
    }

    /// The passages for a question, best first, at most the experiment's
    /// `top_k`; none for an experiment without retrieval.
    ///
    /// # Errors
    /// As [`Self::prepare`], and when the search itself fails.
    pub fn retrieve(
        &mut self,
        spec: &ExperimentSpec,
        question: &str,
        resources: &Resources,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Vec<Passage>, Failure> {
        let (Some(retriever), Some(top_k)) = (&spec.retriever, spec.top_k) else {
            return Ok(Vec::new());
        };
        let index = serde_json::to_string(retriever).unwrap_or_default();
        let key = (index, question.to_owned());
        let passages = match self.found.get(&key) {
            Some(passages) => Rc::clone(passages),
            None => {
                self.prepare(spec, resources, tell)?;
                let passages = match self.open.get(&key.0) {
                    Some(opened) => opened.retrieve(question, self.largest.max(top_k))?,
                    None => Vec::new(),
                };
                let passages = Rc::new(passages);
                self.found.insert(key, Rc::clone(&passages));
                passages
            }
        };
        Ok(passages.iter().take(top_k).cloned().collect())
    }
}

fn open(
    spec: &ExperimentSpec,
    cache: &Path,
    resources: &Resources,
    tell: &mut dyn FnMut(&str),
) -> Result<Box<dyn Retriever>, Failure> {
    let Some(retriever) = &spec.retriever else {
        return Err(Failure::new(
            FailureClass::Permanent,
            "the experiment has no retriever",
        ));
    };
    let mut resolved = retriever.clone();
    let corpus = resources
        .corpus(&retriever.corpus, &mut |progress| {
            if let Some(progress) = progress.filter(|progress| progress.bytes == 0) {
                tell(&format!(
                    "corpus {}: fetching {} ({} MB)",
                    retriever.corpus,
                    progress.file,
                    progress.total / 1_000_000
                ));
            }
        })
        .map_err(|why| {
            let message = format!("corpus '{}': {why}", retriever.corpus);
            Failure::new(FailureClass::Permanent, message)
        })?;
    resolved.corpus = corpus.display().to_string();
    let mut said = false;
    index::open(&resolved, cache, &mut |_progress| {
        if !said {
            said = true;
            tell(&format!(
                "building the index {} of {}",
                retriever.name, retriever.corpus
            ));
        }
    })
    .map_err(Failure::from)
}
