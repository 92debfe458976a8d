//! The words of the program: plain data and the traits between rooms.
//!
//! Nothing here reads a file, a clock or a device. Every other room knows this
//! one, and this one knows nobody.

mod encoders;
mod event;
mod experiment;
mod failure;
mod generation;
mod prediction;
mod question;
mod retrieval;
mod scoring_models;

pub use encoders::{
    EMBEDDING_MODELS, RERANKING_MODELS, embedding_model, relevance, reranking_model,
};
pub use event::{Event, Phase};
pub use experiment::{
    AgentKind, BatchSize, DatasetSpec, Dtype, ExperimentKind, ExperimentSpec, FieldMap, ModelSpec,
    Prompt, PromptExample, Provider, Quantization, RetrieverKind, RetrieverSpec, RunSettings,
    Threshold,
};
pub use failure::{Failure, FailureClass, Recovery};
pub use generation::{
    FinishReason, Generated, GenerationEvent, GenerationRequest, GenerationSettings, Generator,
};
pub use prediction::{Outcome, Prediction};
pub use question::Question;
pub use retrieval::{
    Embedder, Encoders, NearestRows, PairScorer, Passage, Retrieved, TextRole, VectorFile,
};
pub use scoring_models::{
    INFERENCE_MODELS, ScoringModel, ScoringModels, TOKEN_MODELS, TokenModel, inference_model,
};
