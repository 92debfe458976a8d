use super::floats::Floats;
use crate::domain::{
    Failure, Generated, GenerationRequest, GenerationSettings, ModelSpec, Quantization, TextRole,
    VectorFile,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

/// What a model is loaded for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// To answer prompts.
    #[default]
    Generator,
    /// To turn texts into vectors.
    Embedder,
    /// To score pairs of texts.
    Scorer,
    /// To compare pairs of texts token by token, by the vectors of a layer.
    Matcher {
        /// The layer, from 1.
        layer: usize,
    },
    /// To search vectors that the model made.
    Searcher {
        /// Where they are.
        vectors: VectorFile,
    },
}

/// What a worker is to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// What for.
    #[serde(default)]
    pub role: Role,
    /// The model.
    pub model: ModelSpec,
    /// How its weights are quantised.
    pub quantization: Quantization,
    /// `cpu`, `cuda`, `cuda:N` or `auto`.
    pub device: String,
    /// Workers that share the device's memory, this one included.
    pub sharers: NonZeroUsize,
    /// Directory against which relative model paths are resolved.
    pub base: Option<PathBuf>,
    /// Directory below which quantised weights are kept.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// How long a batch may go on without a sign of progress.
    #[serde(default)]
    pub batch_timeout: Option<Duration>,
}

/// From the supervisor to the worker, one JSON value a line.
///
/// The kind is the object's key, not a field beside others: then a line is
/// parsed in one pass, without a copy of its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Write standard output and error to this file from now on.
    Log {
        /// Absolute path; appended to.
        path: PathBuf,
    },
    /// Load a model; answered by `ready` or `load_failed`.
    Load(Load),
    /// Answer these prompts as one batch.
    Generate {
        /// Goes with every reply.
        epoch: u64,
        /// The prompts.
        requests: Vec<GenerationRequest>,
        /// How to decode.
        settings: GenerationSettings,
    },
    /// Turn these texts into vectors.
    Embed {
        /// Goes with every reply.
        epoch: u64,
        /// The texts.
        texts: Vec<String>,
        /// What they are to the model.
        role: TextRole,
        /// Tokens at once at most; `None` leaves it to the worker.
        budget: Option<usize>,
    },
    /// Classify or compare these pairs of texts.
    Score {
        /// Goes with every reply.
        epoch: u64,
        /// The pairs.
        pairs: Vec<(String, String)>,
        /// As for `embed`.
        budget: Option<usize>,
    },
    /// Search the vectors for the rows nearest to these.
    Nearest {
        /// Goes with every reply.
        epoch: u64,
        /// How many queries there are.
        count: usize,
        /// Their vectors, one after another.
        queries: Floats,
        /// Rows for each.
        limit: usize,
    },
    /// Say how large a batch of such prompts may be; answered by `batch_size`.
    BatchSize {
        /// The prompts to come, or a sample of the longest of them.
        requests: Vec<GenerationRequest>,
        /// How they will be decoded.
        settings: GenerationSettings,
    },
    /// Give back cached memory; answered by `released`.
    ReleaseCaches,
    /// End.
    Shutdown,
}

/// From the worker to the supervisor, one JSON value a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The model is loaded.
    Ready {
        /// Seconds it took.
        seconds: f64,
        /// Device, tensors' types, bits and bytes, for `metadata.json`.
        description: Value,
    },
    /// The model can not be loaded.
    LoadFailed {
        /// Why.
        failure: Failure,
    },
    /// Tokens were computed.
    Progress {
        /// The batch's epoch.
        epoch: u64,
        /// Tokens since the last reply.
        tokens: usize,
    },
    /// Some texts or pairs of a batch are done.
    Encoded {
        /// The batch's epoch.
        epoch: u64,
        /// Which ones, by their place in the batch.
        indices: Vec<usize>,
        /// Their vectors, logits or scores one after the other.
        values: Floats,
    },
    /// A prompt is complete.
    Item {
        /// The batch's epoch.
        epoch: u64,
        /// The question's idx.
        idx: usize,
        /// The completion.
        generated: Generated,
    },
    /// A prompt can not be completed, or a text not encoded.
    ItemFailed {
        /// The batch's epoch.
        epoch: u64,
        /// The question's idx, or the text's place in the batch.
        idx: usize,
        /// Why.
        failure: Failure,
    },
    /// The batch came to its end.
    BatchDone {
        /// The batch's epoch.
        epoch: u64,
    },
    /// The batch failed as a whole.
    BatchFailed {
        /// The batch's epoch.
        epoch: u64,
        /// Why.
        failure: Failure,
    },
    /// How large a batch may be.
    BatchSize {
        /// Prompts.
        size: usize,
    },
    /// Cached memory was given back.
    Released,
}
