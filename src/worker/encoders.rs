use super::{
    encoder_client::{Batch, EncoderClient},
    on_demand::{EmbedderOnDemand, ScorerOnDemand},
    parent::Spawn,
    protocol::{Request, Role},
    searcher::SearchingWorker,
};
use crate::domain::{
    Embedder, Encoders, Failure, FailureClass, ModelSpec, NearestRows, PairScorer, TextRole,
    TokenModel, VectorFile, embedding_model, relevance, reranking_model,
};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// How encoders are run.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// How to start a worker, and where its output goes.
    pub spawn: Spawn,
    /// `cpu`, `cuda`, `cuda:N` or `auto`.
    pub device: String,
    /// The one GPU that the workers see, where they do not see all.
    pub visible: Option<String>,
    /// Directory against which relative model paths are resolved.
    pub base: Option<PathBuf>,
    /// How long a model may take to load.
    pub load_timeout: Duration,
    /// How long a worker may make no progress: no layer, no text.
    pub batch_timeout: Duration,
}

/// Encoders in workers of their own, one process per model, started when a
/// model first has something to encode.
///
/// Use it on a thread that lives as long as the workers: on Linux they ask to
/// be killed when the thread that started them ends. Dropping it, or
/// [`Encoders::release`], ends them.
pub struct EncoderWorkers {
    settings: EncoderSettings,
    embedders: BTreeMap<String, EmbedderOnDemand>,
    scorers: BTreeMap<String, ScorerOnDemand>,
    matchers: BTreeMap<(ModelSpec, usize), MatchingWorker>,
    /// What failed once is not tried again.
    searchers: BTreeMap<VectorFile, Option<SearchingWorker>>,
}

impl EncoderWorkers {
    /// No model yet.
    pub const fn new(settings: EncoderSettings) -> Self {
        Self {
            settings,
            embedders: BTreeMap::new(),
            scorers: BTreeMap::new(),
            matchers: BTreeMap::new(),
            searchers: BTreeMap::new(),
        }
    }

    /// The directory against which the paths of models asked for from now on
    /// are resolved.
    pub fn set_base(&mut self, base: Option<PathBuf>) {
        self.settings.base = base;
    }

    /// A cross-encoder with its labels and logits, as [`Encoders::scorer`].
    ///
    /// # Errors
    /// When the model is missing or not supported.
    pub fn classifier(&mut self, model: &str) -> Result<&mut ScorerOnDemand, Failure> {
        if !self.scorers.contains_key(model) {
            let scorer = ScorerOnDemand::new(&self.settings, model)?;
            self.scorers.insert(model.to_owned(), scorer);
        }
        match self.scorers.get_mut(model) {
            Some(scorer) => Ok(scorer),
            None => Err(gone(model)),
        }
    }

    /// What compares texts token by token.
    ///
    /// # Errors
    /// When the model is missing or can not be loaded.
    pub fn matcher(&mut self, tokens: &TokenModel) -> Result<&mut MatchingWorker, Failure> {
        let key = (tokens.model.clone(), tokens.layer);
        if !self.matchers.contains_key(&key) {
            let matcher = MatchingWorker::start(&self.settings, tokens)?;
            self.matchers.insert(key.clone(), matcher);
        }
        match self.matchers.get_mut(&key) {
            Some(matcher) => Ok(matcher),
            None => Err(gone(&tokens.model.to_string())),
        }
    }
}

impl Encoders for EncoderWorkers {
    fn embedder(&mut self, model: &str) -> Result<&mut dyn Embedder, Failure> {
        if !self.embedders.contains_key(model) {
            let embedder = EmbedderOnDemand::new(&self.settings, model)?;
            self.embedders.insert(model.to_owned(), embedder);
        }
        match self.embedders.get_mut(model) {
            Some(embedder) => Ok(embedder),
            None => Err(gone(model)),
        }
    }

    fn scorer(&mut self, model: &str) -> Result<&mut dyn PairScorer, Failure> {
        self.classifier(model)
            .map(|scorer| scorer as &mut dyn PairScorer)
    }

    fn vectors(
        &mut self,
        model: &str,
        file: &VectorFile,
        _queries: usize,
    ) -> Option<&mut dyn NearestRows> {
        if !self.searchers.contains_key(file) {
            let searcher = SearchingWorker::start(&self.settings, model, file)
                .inspect_err(|failure| {
                    tracing::warn!("{model}'s vectors are searched on the processor: {failure}");
                })
                .ok();
            self.searchers.insert(file.clone(), searcher);
        }
        let known = self.searchers.get_mut(file)?;
        if known.as_ref().is_some_and(SearchingWorker::has_failed) {
            *known = None;
        }
        known
            .as_mut()
            .map(|searcher| searcher as &mut dyn NearestRows)
    }

    fn release(&mut self) {
        self.searchers.clear();
        self.embedders.clear();
        self.scorers.clear();
        self.matchers.clear();
    }
}

fn gone(model: &str) -> Failure {
    Failure::new(FailureClass::Permanent, format!("{model} is not loaded"))
}

/// An embedding model in a worker.
pub struct EmbeddingWorker {
    client: EncoderClient,
    identity: String,
    dimension: usize,
}

impl EmbeddingWorker {
    /// Starts a worker that loads the model of a name that studies use.
    ///
    /// # Errors
    /// When there is no such name, the model is missing or can not be loaded.
    pub fn start(settings: &EncoderSettings, model: &str) -> Result<Self, Failure> {
        let model = embedding_model(model)
            .map_err(|message| Failure::new(FailureClass::Permanent, message))?;
        let client = EncoderClient::start(settings, Role::Embedder, model)?;
        let dimension = client.description().get("dimension");
        Ok(Self {
            identity: identity(&client)?,
            dimension: dimension
                .and_then(Value::as_u64)
                .and_then(|dimension| usize::try_from(dimension).ok())
                .ok_or_else(|| unsaid("dimension"))?,
            client,
        })
    }

    /// The worker's process id; `None` while there is none.
    pub fn pid(&self) -> Option<u32> {
        self.client.pid()
    }

    /// What the worker says of the model: device, precision, pooling, limits.
    pub const fn description(&self) -> &Value {
        self.client.description()
    }
}

impl Embedder for EmbeddingWorker {
    fn embed(&mut self, texts: &[&str], role: TextRole) -> Result<Vec<Vec<f32>>, Failure> {
        self.client.encode(&Texts { texts, role })
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

/// A cross-encoder in a worker.
pub struct ScoringWorker {
    client: EncoderClient,
    identity: String,
    labels: Vec<String>,
}

impl ScoringWorker {
    /// Starts a worker that loads the cross-encoder of a name.
    ///
    /// # Errors
    /// As [`EmbeddingWorker::start`].
    pub fn start(settings: &EncoderSettings, model: &str) -> Result<Self, Failure> {
        let model = reranking_model(model)
            .map_err(|message| Failure::new(FailureClass::Permanent, message))?;
        let client = EncoderClient::start(settings, Role::Scorer, model)?;
        let labels = client.description().get("labels").and_then(Value::as_array);
        let labels = labels.ok_or_else(|| unsaid("labels"))?;
        Ok(Self {
            identity: identity(&client)?,
            labels: labels
                .iter()
                .filter_map(|label| label.as_str().map(str::to_owned))
                .collect(),
            client,
        })
    }

    /// The labels, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The logits of pairs, in order, one per label.
    ///
    /// # Errors
    /// A failure of the batch.
    pub fn logits(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> {
        self.client.encode(&Pairs(pairs))
    }
}

impl PairScorer for ScoringWorker {
    fn score(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Failure> {
        let logits = self.logits(pairs)?;
        relevance(&self.labels, &logits)
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

/// An encoder in a worker that compares texts token by token.
pub struct MatchingWorker {
    client: EncoderClient,
}

impl MatchingWorker {
    /// Starts a worker that loads an encoder up to a layer.
    ///
    /// # Errors
    /// When the model is missing or can not be loaded.
    pub fn start(settings: &EncoderSettings, tokens: &TokenModel) -> Result<Self, Failure> {
        let layer = tokens.layer;
        let client = EncoderClient::start(settings, Role::Matcher { layer }, tokens.model.clone())?;
        Ok(Self { client })
    }

    /// Precision, recall and F1 of pairs of a text and its reference, in order.
    ///
    /// # Errors
    /// A failure of the batch.
    pub fn scores(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<Vec<f32>>, Failure> {
        self.client.encode(&Pairs(pairs))
    }
}

fn identity(client: &EncoderClient) -> Result<String, Failure> {
    let identity = client.description().get("identity").and_then(Value::as_str);
    identity
        .map(str::to_owned)
        .ok_or_else(|| unsaid("identity"))
}

fn unsaid(what: &str) -> Failure {
    Failure::new(
        FailureClass::Permanent,
        format!("the worker did not say the model's {what}"),
    )
}

struct Texts<'a> {
    texts: &'a [&'a str],
    role: TextRole,
}

impl Batch for Texts<'_> {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn bytes(&self, index: usize) -> usize {
        self.texts[index].len()
    }

    fn beginning(&self, index: usize) -> &str {
        self.texts[index]
    }

    fn request(&self, epoch: u64, indices: &[usize], budget: Option<usize>) -> Request {
        Request::Embed {
            epoch,
            texts: indices
                .iter()
                .map(|index| self.texts[*index].to_owned())
                .collect(),
            role: self.role,
            budget,
        }
    }
}

struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl Batch for Pairs<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self, index: usize) -> usize {
        self.0[index].0.len() + self.0[index].1.len()
    }

    fn beginning(&self, index: usize) -> &str {
        self.0[index].1
    }

    fn request(&self, epoch: u64, indices: &[usize], budget: Option<usize>) -> Request {
        let owned = |index: &usize| {
            let (first, second) = self.0[*index];
            (first.to_owned(), second.to_owned())
        };
        Request::Score {
            epoch,
            pairs: indices.iter().map(owned).collect(),
            budget,
        }
    }
}
