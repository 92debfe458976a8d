use crate::domain::{ExperimentSpec, ModelSpec, Quantization};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::{collections::HashMap, num::NonZeroUsize, str::FromStr};

/// Which experiments a run is about, by globs over their names.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

/// A pattern that is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The pattern is broken.
    #[error(
        "the filter '{pattern}' is no pattern: {reason}; write for example '*_8bit' or '!direct_*'"
    )]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The shard is broken.
    #[error("'{0}' is no shard; write for example 1/4, the first of four")]
    Shard(String),
}

impl Filter {
    /// A filter of globs; `!GLOB` excludes. Without a pattern that includes,
    /// everything is included that no pattern excludes.
    ///
    /// # Errors
    /// The first pattern that is no glob.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, FilterError> {
        let (mut include, mut exclude) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut includes = false;
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let (glob, set) = match pattern.strip_prefix('!') {
                Some(glob) => (glob, &mut exclude),
                None => {
                    includes = true;
                    (pattern, &mut include)
                }
            };
            let broken = |reason: String| FilterError::Pattern {
                pattern: pattern.to_owned(),
                reason,
            };
            if glob.is_empty() {
                return Err(broken("it is empty".to_owned()));
            }
            set.add(Glob::new(glob).map_err(|error| broken(error.kind().to_string()))?);
        }
        let build = |builder: GlobSetBuilder| {
            builder.build().map_err(|error| FilterError::Pattern {
                pattern: error.glob().unwrap_or("all of them together").to_owned(),
                reason: error.kind().to_string(),
            })
        };
        Ok(Self {
            include: includes.then(|| build(include)).transpose()?,
            exclude: build(exclude)?,
        })
    }

    /// Whether an experiment of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(name)) && !self.exclude.is_match(name)
    }
}

/// One of several equal parts of a study, as `1/4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    index: usize,
    /// How many parts.
    count: NonZeroUsize,
}

impl Shard {
    /// Part `number` (from 1) of `count`; `None` when there is no such part.
    pub fn new(number: usize, count: usize) -> Option<Self> {
        let count = NonZeroUsize::new(count)?;
        let index = number.checked_sub(1)?;
        (index < count.get()).then_some(Self { index, count })
    }
}

impl FromStr for Shard {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shard = || {
            let (number, count) = text.split_once('/')?;
            Self::new(number.trim().parse().ok()?, count.trim().parse().ok()?)
        };
        shard().ok_or_else(|| FilterError::Shard(text.to_owned()))
    }
}

/// What a run is about: the filter first, then the shard, then the limit. A
/// shard is a stretch of the order, so that few shards share a model.
pub fn select(
    mut experiments: Vec<ExperimentSpec>,
    filter: &Filter,
    shard: Option<Shard>,
    limit: Option<usize>,
) -> Vec<ExperimentSpec> {
    experiments.retain(|experiment| filter.matches(&experiment.name));
    if let Some(Shard { index, count }) = shard {
        let bound = |i: usize| {
            // In u128 no length overflows.
            let product = experiments.len() as u128 * i as u128;
            (product / count.get() as u128) as usize
        };
        let (start, end) = (bound(index), bound(index + 1));
        experiments.truncate(end);
        experiments.drain(..start);
    }
    if let Some(limit) = limit {
        experiments.truncate(limit);
    }
    experiments
}

/// Arranges experiments so that each model is loaded once: those that share a
/// model and quantisation stand together, in order of first appearance, and
/// among themselves stay as they were.
pub fn order_by_model(experiments: &mut [ExperimentSpec]) {
    let mut ranks: HashMap<(ModelSpec, Quantization), usize> = HashMap::new();
    for experiment in experiments.iter() {
        let next = ranks.len();
        ranks.entry(experiment.load_key()).or_insert(next);
    }
    experiments.sort_by_cached_key(|experiment| ranks.get(&experiment.load_key()).copied());
}

/// How often a model is loaded when experiments are run in this order on one
/// device.
pub fn model_loads(experiments: &[ExperimentSpec]) -> usize {
    let changes = experiments
        .windows(2)
        .filter(|pair| {
            pair[0].model != pair[1].model || pair[0].quantization != pair[1].quantization
        })
        .count();
    if experiments.is_empty() {
        0
    } else {
        changes + 1
    }
}
