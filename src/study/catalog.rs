use crate::domain::Prompt;

/// The retriever that searches nothing, by its type and its usual name.
pub(super) const GOLD: &str = "gold";

/// Whether something that is known can be used in this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Available,
    /// It can not; existing studies name it all the same.
    Unavailable {
        /// Why, as one clause without a full stop.
        reason: String,
    },
}

/// A name that a study may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownName {
    /// The name as studies write it.
    pub name: String,
    /// Whether it can be used.
    pub availability: Availability,
}

impl KnownName {
    /// A name that works.
    pub fn available(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            availability: Availability::Available,
        }
    }

    /// A name that is known and does not work, with the reason as one clause.
    pub fn unavailable(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            availability: Availability::Unavailable {
                reason: reason.into(),
            },
        }
    }
}

/// What the rest of the program knows by name. Whoever parses a study hands
/// one in, so that this room needs to know no other.
///
/// What is unavailable warns and fails its own cells (or, for a metric, stays
/// uncomputed); what is not listed at all is an error. The methods with a body
/// describe the program as it is and are there to be overridden.
pub trait Catalog {
    /// Datasets that need no path.
    fn datasets(&self) -> Vec<KnownName>;

    /// Metrics.
    fn metrics(&self) -> Vec<KnownName>;

    /// Prompt templates.
    fn prompts(&self) -> Vec<KnownName>;

    /// A prompt template with the examples for a dataset; `None` for a name
    /// that [`Catalog::prompts`] does not list as available.
    fn prompt(&self, name: &str, dataset: &str) -> Option<Prompt>;

    /// An environment variable, for paths such as `~/data` and `$DATA/nq.jsonl`.
    /// Without a body of one's own none is set.
    fn variable(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Words before the colon of a model.
    fn providers(&self) -> Vec<KnownName> {
        vec![
            KnownName::available("hf"),
            KnownName::available("gguf"),
            KnownName::available("openai"),
            KnownName::available("embedded"),
            KnownName::unavailable(
                "vllm",
                "models behind vllm: are served by another tool; hf: runs the same weights here",
            ),
        ]
    }

    /// Models that come with the program: what follows `embedded:`.
    fn embedded_models(&self) -> Vec<KnownName> {
        vec![KnownName::available("reader")]
    }

    /// Agents.
    fn agents(&self) -> Vec<KnownName> {
        ["direct_llm", "fixed_rag", "iterative_rag", "self_rag"]
            .map(KnownName::available)
            .into()
    }

    /// Kinds of retrievers.
    fn retriever_kinds(&self) -> Vec<KnownName> {
        ["bm25", "dense", "hybrid", "hierarchical", GOLD]
            .into_iter()
            .map(KnownName::available)
            .collect()
    }

    /// Corpora that need no path: Wikipedia in simple English, and in English.
    fn corpora(&self) -> Vec<KnownName> {
        vec![KnownName::available("simple"), KnownName::available("en")]
    }

    /// Rerankers, by the short names of studies; `none` is always known.
    fn rerankers(&self) -> Vec<KnownName> {
        [
            "bge",
            "bge-base",
            "bge-large",
            "bge-v2",
            "ms-marco",
            "ms-marco-large",
        ]
        .into_iter()
        .map(KnownName::available)
        .collect()
    }

    /// Query transforms; `none` is always known.
    fn query_transforms(&self) -> Vec<KnownName> {
        ["hyde", "multiquery"].map(KnownName::available).into()
    }
}

/// A catalog's names, asked for once per study.
pub(super) struct Names<'c> {
    pub catalog: &'c dyn Catalog,
    pub datasets: Vec<KnownName>,
    pub metrics: Vec<KnownName>,
    pub prompts: Vec<KnownName>,
    pub providers: Vec<KnownName>,
    pub embedded_models: Vec<KnownName>,
    pub agents: Vec<KnownName>,
    pub retriever_kinds: Vec<KnownName>,
    pub corpora: Vec<KnownName>,
    pub rerankers: Vec<KnownName>,
    pub query_transforms: Vec<KnownName>,
}

impl<'c> Names<'c> {
    pub fn of(catalog: &'c dyn Catalog) -> Self {
        Self {
            catalog,
            datasets: catalog.datasets(),
            metrics: catalog.metrics(),
            prompts: catalog.prompts(),
            providers: catalog.providers(),
            embedded_models: catalog.embedded_models(),
            agents: catalog.agents(),
            retriever_kinds: catalog.retriever_kinds(),
            corpora: catalog.corpora(),
            rerankers: catalog.rerankers(),
            query_transforms: catalog.query_transforms(),
        }
    }
}
