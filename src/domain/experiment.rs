use super::generation::GenerationSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, num::NonZeroU32};

/// With or without retrieval; the first word of an experiment's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentKind {
    /// The model alone.
    Direct,
    /// The model with retrieved passages.
    Rag,
}

/// How a question becomes calls of the model and the retriever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// One generation.
    DirectLlm,
    /// Retrieve once, then one generation.
    FixedRag,
    /// Retrieve and ask until the context suffices.
    IterativeRag,
    /// The model decides whether to retrieve.
    SelfRag,
}

/// Where a model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// `hf:org/name` on the hub, or `hf:./directory`.
    Hf,
    /// `gguf:path`.
    Gguf,
    /// `openai:name`: any server that speaks that API.
    Openai,
    /// `embedded:reader`: the model that comes with the program.
    Embedded,
    /// `vllm:name`: known from other tools' studies, not available here.
    Vllm,
}

impl Provider {
    /// The word before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hf => "hf",
            Self::Gguf => "gguf",
            Self::Openai => "openai",
            Self::Embedded => "embedded",
            Self::Vllm => "vllm",
        }
    }

    /// Whether one cell per quantisation makes sense.
    pub const fn has_quantization(self) -> bool {
        matches!(self, Self::Hf | Self::Embedded)
    }
}

/// The type that weights are computed in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// f32 on a CPU; the weights' own type on a GPU.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

/// How weights are quantised on load.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Quantization {
    /// Full precision.
    #[default]
    #[serde(rename = "none")]
    None,
    /// `8bit`: Q8_0.
    #[serde(rename = "8bit")]
    Int8,
    /// `4bit`: Q4_K.
    #[serde(rename = "4bit")]
    Int4,
}

impl Quantization {
    /// The word used in studies, names and artifacts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "8bit",
            Self::Int4 => "4bit",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A model, as a study names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Where it comes from.
    pub provider: Provider,
    /// What follows the colon, without `@revision`.
    pub name: String,
    /// Branch, tag or commit on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Computation type.
    #[serde(default)]
    pub dtype: Dtype,
    /// Base URL of an OpenAI-compatible server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider.as_str(), self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// A question with its answer, shown in a few-shot prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptExample {
    /// The question.
    pub question: String,
    /// Its answer.
    pub answer: String,
}

/// A prompt template, resolved for one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// Its name in the study.
    pub name: String,
    /// System message, sent as such where the model has a chat template and
    /// put before the text where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Text without retrieval; holds `{question}`, and `{examples}` if used.
    pub direct: String,
    /// Text with retrieval; holds `{context}` and `{question}`.
    pub with_context: String,
    /// One passage of the context; holds `{rank}`, `{title}`, `{text}`.
    pub passage: String,
    /// One example; holds `{question}` and `{answer}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// The examples for this dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<PromptExample>,
}

/// Which keys of a local file hold what.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldMap {
    /// The question's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The gold answers' key: a string, or a list of strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    /// The id's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The key of the supporting passages' ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supporting: Option<String>,
    /// The key of the passages that the question is about: a text, or a list
    /// of texts. Read only where it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// A dataset, as a study names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Its name in the study and in experiment names.
    pub name: String,
    /// A local file; `None` means a dataset known by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The split, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Branch, tag or commit on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Key mapping for local files.
    #[serde(default)]
    pub fields: FieldMap,
    /// Questions are drawn with this seed, not taken from the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_seed: Option<u64>,
}

/// The kind of search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrieverKind {
    /// Lexical search.
    Bm25,
    /// Embedding search.
    Dense,
    /// Both, fused.
    Hybrid,
    /// Search children, return parents.
    Hierarchical,
    /// No search: each question's own passages, as its dataset has them.
    Gold,
}

/// A retriever, as a study names it. `options` hold what the kind needs
/// beyond the common fields, verbatim, so that identity never loses a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrieverSpec {
    /// Its name in the study and in experiment names.
    pub name: String,
    /// The kind of search.
    pub kind: RetrieverKind,
    /// The corpus: a known name, or a local path.
    pub corpus: String,
    /// Embedding model, for the kinds that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
    /// Chunking strategy: `none`, `fixed`, `sentence`, `recursive`, `token`.
    pub chunking: String,
    /// Chunk size in characters.
    pub chunk_size: usize,
    /// Characters that neighbouring chunks share.
    pub chunk_overlap: usize,
    /// Further settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

/// One cell of the grid: everything that decides what is computed.
///
/// Serialising it gives the canonical form behind [`ExperimentSpec::hash`];
/// a new field must be skipped while it has its default, or every existing
/// study would change its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentSpec {
    /// Readable and unique in its study. Not part of the hash.
    pub name: String,
    /// With or without retrieval.
    pub kind: ExperimentKind,
    /// How questions become calls.
    pub agent: AgentKind,
    /// The model.
    pub model: ModelSpec,
    /// How its weights are quantised.
    pub quantization: Quantization,
    /// The prompt, text included.
    pub prompt: Prompt,
    /// The dataset.
    pub dataset: DatasetSpec,
    /// The retriever, for RAG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retriever: Option<RetrieverSpec>,
    /// Passages in the prompt, for RAG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// How answers are decoded.
    pub generation: GenerationSettings,
    /// Settings of agents, rerankers and query transforms, verbatim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

impl ExperimentSpec {
    /// Whether questions are answered from passages of their own, so that
    /// nothing is searched.
    pub fn reads_own_passages(&self) -> bool {
        let retriever = self.retriever.as_ref();
        retriever.is_some_and(|retriever| retriever.kind == RetrieverKind::Gold)
    }

    /// SHA-256 of the canonical JSON without the name: keys sorted at every
    /// level, no blanks. 64 hex digits.
    pub fn hash(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or(Value::Null);
        if let Value::Object(map) = &mut value {
            map.shift_remove("name");
        }
        let mut text = String::new();
        write_canonical(&value, &mut text);
        Sha256::digest(text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Experiments with equal keys can share a loaded model.
    pub fn load_key(&self) -> (ModelSpec, Quantization) {
        (self.model.clone(), self.quantization)
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// A batch size, or the wish that the program finds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// From free memory, weights and prompt lengths.
    Auto,
    /// This many questions.
    Fixed(usize),
}

/// After how many consecutive failures an experiment is aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// Never abort.
    Never,
    /// After this many.
    After(NonZeroU32),
}

/// Settings that steer a run and are not part of any identity.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSettings {
    /// Questions per experiment; `None` means all.
    pub num_questions: Option<usize>,
    /// Batch size to start with.
    pub batch_size: BatchSize,
    /// Batches are halved down to this.
    pub min_batch_size: usize,
    /// When to give up on an experiment.
    pub max_consecutive_failures: Threshold,
    /// Seconds without a token or an item until a batch counts as hung.
    pub batch_timeout_s: f64,
    /// Seconds a model may take to load.
    pub load_timeout_s: f64,
    /// Seconds an experiment may take in all.
    pub experiment_timeout_s: Option<f64>,
    /// Metrics to compute.
    pub metrics: Vec<String>,
    /// False: complete cells are done again.
    pub skip_existing: bool,
    /// Render `predictions.json` at checkpoints, not only at the end.
    pub save_intermediate: bool,
}
