//! Every key of a study file, with its meaning: the one table that unknown
//! keys are checked against and that the JSON schema is made from.

/// A key of a mapping.
pub(super) struct Key {
    pub name: &'static str,
    /// One sentence or two, for editors.
    pub doc: &'static str,
    pub shape: Shape,
    pub status: Status,
}

/// Whether a key does something.
pub(super) enum Status {
    Used,
    /// Another name of a key that is used: not suggested.
    Alias,
    /// Known from existing studies; the reason why it does nothing.
    Ignored(&'static str),
}

/// What a value may look like.
pub(super) enum Shape {
    Text,
    Bool,
    /// A whole number of at least this.
    Integer(i64),
    /// A number between these.
    Number(f64, f64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// Seconds, or text such as `2h`.
    Duration,
    /// Anything: the key is ignored.
    Any,
    List(&'static Shape),
    OneOrMany(&'static Shape),
    Nullable(&'static Shape),
    Either(&'static [Shape]),
    /// A mapping that has a definition of its own in the schema.
    Map(&'static str, &'static [Key]),
}

const fn used(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        doc,
        shape,
        status: Status::Used,
    }
}

const fn alias(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        doc,
        shape,
        status: Status::Alias,
    }
}

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key {
        name,
        doc: why,
        shape: Shape::Any,
        status: Status::Ignored(why),
    }
}

const QUANTIZATION: Shape = Shape::Words(&["none", "8bit", "4bit"]);
const NUMBER_OR_AUTO: Shape = Shape::Either(&[Shape::Integer(1), Shape::Words(&["auto"])]);
const MODEL_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("model", MODEL)]);
const DATASET_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("dataset", DATASET)]);
const PROMPT_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("prompt", PROMPT)]);
const RETRIEVER_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("retriever", RETRIEVER)]);
const RERANKER_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("reranker", RERANKER)]);
const AGENT_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("agent", AGENT)]);
const CORPUS_ENTRY: Shape = Shape::Either(&[Shape::Text, Shape::Map("corpus", CORPUS)]);

const MODEL_DOC: &str =
    "hf:org/name, hf:org/name@revision, hf:./directory, gguf:path, openai:name or embedded:reader.";
const GENERATION_DOC: &str = "How answers are decoded. Part of an experiment's identity.";
const TRANSFORM_DOC: &str =
    "What is done to the question before retrieval: none, hyde, multiquery.";

/// The top level.
pub(super) const STUDY: &[Key] = &[
    used(
        "name",
        Shape::Text,
        "The study's name, which is also a directory's.",
    ),
    used("description", Shape::Text, "What the study is about."),
    used(
        "num_questions",
        Shape::Nullable(&Shape::Integer(1)),
        "Questions per experiment, from the top of the dataset; null means all.",
    ),
    used(
        "question_seed",
        Shape::Integer(0),
        "Draws the questions with this seed instead of taking them from the top. A larger num_questions draws the same ones and more.",
    ),
    used(
        "datasets",
        Shape::List(&DATASET_ENTRY),
        "What is asked: names, or mappings with a path.",
    ),
    used(
        "direct",
        Shape::Map("direct", DIRECT),
        "The grid without retrieval: models x quantization x prompts x datasets.",
    ),
    used(
        "rag",
        Shape::Map("rag", RAG),
        "The grid with retrieval: models x quantization x retrievers x top_k_values x prompts x datasets.",
    ),
    used(
        "experiments",
        Shape::List(&Shape::Map("experiment", EXPERIMENT)),
        "Single cells, written by hand. Without a dataset of its own a cell is run on all of them.",
    ),
    used(
        "metrics",
        Shape::List(&Shape::Text),
        "Scores to compute (default: exact_match and f1). Not part of any identity: may be changed later.",
    ),
    used(
        "llm_judge",
        Shape::Map("llm_judge", JUDGE),
        "The model that judges answers.",
    ),
    used(
        "bertscore",
        Shape::Map("bertscore", BERTSCORE),
        "The model whose tokens bertscore compares (default: roberta-large at layer 17).",
    ),
    used(
        "nli",
        Shape::Map("nli", NLI),
        "The model that says for faithfulness and hallucination what passages entail (default: minilm).",
    ),
    used(
        "output_dir",
        Shape::Text,
        "Where artifacts go (default: outputs/NAME).",
    ),
    used(
        "batch_size",
        NUMBER_OR_AUTO,
        "Questions given to the model together (default: 8). It shrinks by itself where memory does not suffice.",
    ),
    used(
        "min_batch_size",
        Shape::Integer(1),
        "Batches are not halved below this (default: 1).",
    ),
    used(
        "max_consecutive_failures",
        Shape::Either(&[Shape::Integer(1), Shape::Words(&["never"])]),
        "Smallest batches that fail in a row until an experiment is given up (default: 5).",
    ),
    used(
        "batch_timeout",
        Shape::Duration,
        "Time without a single token until a batch counts as hung (default: 10m); a request to a \
         server may take a third of it.",
    ),
    used(
        "load_timeout",
        Shape::Duration,
        "Time that a model may take to load (default: 30m).",
    ),
    used(
        "experiment_timeout",
        Shape::Nullable(&Shape::Duration),
        "Time that an experiment may take in all (default: no limit).",
    ),
    used(
        "generation",
        Shape::Map("generation", GENERATION),
        GENERATION_DOC,
    ),
    used("seed", Shape::Integer(0), "The same as generation.seed."),
    used(
        "options",
        Shape::Map("options", OPTIONS),
        "How a run treats what is there already.",
    ),
    used(
        "models",
        Shape::List(&MODEL_ENTRY),
        "A place for an anchored list (models: &models) that direct and rag refer to; the first is the default of hand-written cells.",
    ),
    used(
        "corpus",
        CORPUS_ENTRY,
        "The corpus of retrievers that name none.",
    ),
    used(
        "sampling",
        Shape::Map("sampling", SAMPLING),
        "The same as rag.sampling.",
    ),
    ignored("judgment_type", "it belongs under llm_judge"),
];

pub(super) const DIRECT: &[Key] = &[
    used(
        "enabled",
        Shape::Bool,
        "false leaves this grid out (default: true).",
    ),
    used("models", Shape::List(&MODEL_ENTRY), MODEL_DOC),
    used(
        "prompts",
        Shape::List(&PROMPT_ENTRY),
        "Names of prompts, or mappings (default: default).",
    ),
    used(
        "quantization",
        Shape::List(&QUANTIZATION),
        "none, 8bit, 4bit (default: 4bit). Models of a server and GGUF files make one cell, not one per value.",
    ),
    used(
        "generation",
        Shape::Map("generation", GENERATION),
        "Replaces keys of the study's generation.",
    ),
];

pub(super) const RAG: &[Key] = &[
    used(
        "enabled",
        Shape::Bool,
        "false leaves this grid out (default: true).",
    ),
    used("models", Shape::List(&MODEL_ENTRY), MODEL_DOC),
    used(
        "retrievers",
        Shape::List(&RETRIEVER_ENTRY),
        "Names of the form {corpus}_{embedding}_{strategy}_{chunk_size}, or mappings.",
    ),
    used(
        "retriever_names",
        Shape::List(&Shape::Text),
        "The retrievers of this grid, where it does not use all that are described.",
    ),
    used(
        "top_k_values",
        Shape::List(&Shape::Integer(1)),
        "Passages in the prompt (default: 5).",
    ),
    alias(
        "top_k",
        Shape::OneOrMany(&Shape::Integer(1)),
        "The same as top_k_values.",
    ),
    used(
        "prompts",
        Shape::List(&PROMPT_ENTRY),
        "Names of prompts, or mappings (default: default).",
    ),
    used(
        "quantization",
        Shape::List(&QUANTIZATION),
        "none, 8bit, 4bit (default: 4bit). Models of a server and GGUF files make one cell, not one per value.",
    ),
    used(
        "agent",
        Shape::OneOrMany(&AGENT_ENTRY),
        "fixed_rag (default), iterative_rag, self_rag.",
    ),
    alias(
        "agents",
        Shape::OneOrMany(&AGENT_ENTRY),
        "The same as agent.",
    ),
    used(
        "query_transform",
        Shape::OneOrMany(&Shape::Text),
        TRANSFORM_DOC,
    ),
    used(
        "reranker",
        Shape::OneOrMany(&RERANKER_ENTRY),
        "What reorders the passages: none, or names, or mappings.",
    ),
    used(
        "fetch_k",
        Shape::Integer(1),
        "Passages to fetch for a reranker.",
    ),
    used(
        "fetch_k_multiplier",
        Shape::Integer(1),
        "Passages to fetch for a reranker, as a multiple of top_k (default: 4).",
    ),
    used(
        "corpus",
        CORPUS_ENTRY,
        "The corpus of retrievers that name none.",
    ),
    used(
        "sampling",
        Shape::Map("sampling", SAMPLING),
        "Takes some cells of this grid instead of all.",
    ),
    used(
        "generation",
        Shape::Map("generation", GENERATION),
        "Replaces keys of the study's generation.",
    ),
    ignored(
        "embedding",
        "the program chooses how embeddings are computed",
    ),
];

pub(super) const EXPERIMENT: &[Key] = &[
    used(
        "name",
        Shape::Text,
        "The experiment's name; with several datasets, what its names begin with.",
    ),
    used(
        "hypothesis",
        Shape::Text,
        "What it is to show. Not part of the identity.",
    ),
    used("model", MODEL_ENTRY, MODEL_DOC),
    used(
        "dataset",
        DATASET_ENTRY,
        "The dataset (default: every dataset of the study).",
    ),
    used("prompt", PROMPT_ENTRY, "The prompt (default: default)."),
    used("quantization", QUANTIZATION, "none (default), 8bit, 4bit."),
    alias("quant", QUANTIZATION, "The same as quantization."),
    used(
        "retriever",
        RETRIEVER_ENTRY,
        "The retriever, by name or as a mapping; with one it is a RAG experiment.",
    ),
    used(
        "top_k",
        Shape::Integer(1),
        "Passages in the prompt (default: 5).",
    ),
    used(
        "fetch_k",
        Shape::Integer(1),
        "Passages to fetch for a reranker.",
    ),
    used(
        "agent",
        Shape::Text,
        "direct_llm, fixed_rag, iterative_rag, self_rag (default: by whether there is a retriever).",
    ),
    alias("agent_type", Shape::Text, "The same as agent."),
    used("query_transform", Shape::Text, TRANSFORM_DOC),
    used("reranker", RERANKER_ENTRY, "What reorders the passages."),
    used(
        "reranker_model",
        Shape::Text,
        "The reranker's model, where it is not the usual one.",
    ),
    used(
        "max_iterations",
        Shape::Integer(1),
        "Of iterative_rag: rounds at most.",
    ),
    used(
        "stop_on_sufficient",
        Shape::Bool,
        "Of iterative_rag: stop when the context suffices.",
    ),
    used(
        "retrieval_threshold",
        Shape::Number(0.0, 1.0),
        "Of self_rag: retrieve above this.",
    ),
    used(
        "verify_answer",
        Shape::Bool,
        "Of self_rag: check the answer against the passages.",
    ),
    used(
        "fallback_to_direct",
        Shape::Bool,
        "Of self_rag: answer without passages when they do not help.",
    ),
    used(
        "iterative_rag",
        Shape::Map("agent_settings", AGENT_SETTINGS),
        "Settings of that agent.",
    ),
    used(
        "self_rag",
        Shape::Map("agent_settings", AGENT_SETTINGS),
        "Settings of that agent.",
    ),
    used(
        "batch_size",
        NUMBER_OR_AUTO,
        "Replaces the study's batch_size.",
    ),
    used(
        "min_batch_size",
        Shape::Integer(1),
        "Replaces the study's min_batch_size.",
    ),
    used(
        "metrics",
        Shape::List(&Shape::Text),
        "Replaces the study's metrics.",
    ),
    used(
        "generation",
        Shape::Map("generation", GENERATION),
        "Replaces keys of the study's generation.",
    ),
];

/// What agents can be told; passed on verbatim.
pub(super) const AGENT_SETTINGS: &[Key] = &[
    used(
        "max_iterations",
        Shape::Integer(1),
        "Of iterative_rag: rounds at most.",
    ),
    used(
        "stop_on_sufficient",
        Shape::Bool,
        "Of iterative_rag: stop when the context suffices.",
    ),
    used(
        "retrieval_threshold",
        Shape::Number(0.0, 1.0),
        "Of self_rag: retrieve above this.",
    ),
    used(
        "verify_answer",
        Shape::Bool,
        "Of self_rag: check the answer against the passages.",
    ),
    used(
        "fallback_to_direct",
        Shape::Bool,
        "Of self_rag: answer without passages when they do not help.",
    ),
];

pub(super) const AGENT: &[Key] = &[
    used("type", Shape::Text, "fixed_rag, iterative_rag, self_rag."),
    alias("name", Shape::Text, "The same as type."),
    used(
        "max_iterations",
        Shape::Integer(1),
        "Of iterative_rag: rounds at most.",
    ),
    used(
        "stop_on_sufficient",
        Shape::Bool,
        "Of iterative_rag: stop when the context suffices.",
    ),
    used(
        "retrieval_threshold",
        Shape::Number(0.0, 1.0),
        "Of self_rag: retrieve above this.",
    ),
    used(
        "verify_answer",
        Shape::Bool,
        "Of self_rag: check the answer against the passages.",
    ),
    used(
        "fallback_to_direct",
        Shape::Bool,
        "Of self_rag: answer without passages when they do not help.",
    ),
];

pub(super) const MODEL: &[Key] = &[
    used("name", Shape::Text, "org/name, or the whole provider:name."),
    alias("id", Shape::Text, "The same as name."),
    used(
        "path",
        Shape::Text,
        "A local directory (hf) or file (gguf).",
    ),
    used(
        "provider",
        Shape::Words(&["hf", "gguf", "openai", "embedded", "vllm"]),
        "Where the model comes from, if name does not begin with it.",
    ),
    used("revision", Shape::Text, "Branch, tag or commit on the hub."),
    used(
        "dtype",
        Shape::Words(&[
            "auto", "f32", "float32", "f16", "float16", "bf16", "bfloat16",
        ]),
        "The type that weights are computed in (default: auto).",
    ),
    used("base_url", Shape::Text, "The server of an openai: model."),
];

pub(super) const DATASET: &[Key] = &[
    used(
        "name",
        Shape::Text,
        "The name used in experiment names (default: the file's).",
    ),
    used(
        "path",
        Shape::Text,
        "A local file: JSON lines with question and golden_answers, SQuAD, HotpotQA, CSV, TSV or Parquet.",
    ),
    used(
        "split",
        Shape::Text,
        "The split of a dataset known by name, or configuration/split, as in fullwiki/validation.",
    ),
    used("revision", Shape::Text, "Branch, tag or commit on the hub."),
    used(
        "fields",
        Shape::Map("dataset_fields", DATASET_FIELDS),
        "Which keys of the file hold what; a dot leads into a nested one, as in answers.text.",
    ),
];

pub(super) const DATASET_FIELDS: &[Key] = &[
    used("question", Shape::Text, "The question's key."),
    used(
        "answers",
        Shape::Text,
        "The gold answers' key: text, or a list of texts.",
    ),
    used("id", Shape::Text, "The id's key."),
    used(
        "supporting",
        Shape::Text,
        "The key of the supporting passages' ids.",
    ),
    used(
        "context",
        Shape::Text,
        "The key of the question's own passages, a text or a list of texts: the retriever gold gives them to the model.",
    ),
];

pub(super) const RETRIEVER: &[Key] = &[
    used("name", Shape::Text, "The name used in experiment names."),
    used(
        "type",
        Shape::Words(&["bm25", "dense", "hybrid", "hierarchical", "gold"]),
        "The kind of search; gold searches nothing and gives each question its own passages (fields.context of the dataset).",
    ),
    alias(
        "kind",
        Shape::Words(&["bm25", "dense", "hybrid", "hierarchical", "gold"]),
        "The same as type.",
    ),
    used(
        "corpus",
        CORPUS_ENTRY,
        "simple, en, or the path of JSON lines or Parquet with id, title and text, or of a directory of texts.",
    ),
    used(
        "embedding_model",
        Shape::Text,
        "minilm, mpnet, e5, or a model on the hub.",
    ),
    alias("embedding", Shape::Text, "The same as embedding_model."),
    used(
        "chunking",
        Shape::Words(&["none", "fixed", "sentence", "recursive", "token"]),
        "How documents are cut (default: none for a local corpus, recursive otherwise).",
    ),
    alias(
        "chunking_strategy",
        Shape::Words(&["none", "fixed", "sentence", "recursive", "token"]),
        "The same as chunking.",
    ),
    used(
        "chunk_size",
        Shape::Integer(1),
        "Characters per chunk, or tokens of the embedding model (default: 512).",
    ),
    used(
        "chunk_overlap",
        Shape::Integer(0),
        "Characters, or tokens, that neighbouring chunks share (default: 50).",
    ),
    alias("overlap", Shape::Integer(0), "The same as chunk_overlap."),
    used(
        "alpha",
        Shape::Number(0.0, 1.0),
        "Of hybrid: the weight of the dense side (default: 0.5); without fusion it means weighted.",
    ),
    used(
        "sparse_method",
        Shape::Words(&["bm25", "tfidf"]),
        "Of hybrid: the other side.",
    ),
    used(
        "fusion",
        Shape::Words(&["weighted", "rrf"]),
        "Of hybrid: how both are joined (default: rrf).",
    ),
    used(
        "rrf_k",
        Shape::Integer(1),
        "Of hybrid: the constant of reciprocal rank fusion (default: 60).",
    ),
    used(
        "index_type",
        Shape::Words(&["flat", "hnsw", "ivf", "ivfpq"]),
        "How vectors are searched: flat is exact, hnsw approximate (default: hnsw from a million on).",
    ),
    used(
        "vector_dtype",
        Shape::Words(&["f32", "f16"]),
        "How vectors are stored (default: f32).",
    ),
    used(
        "parent_chunk_size",
        Shape::Integer(1),
        "Of hierarchical: characters of what is returned (default: 1024; whole documents without chunking).",
    ),
    used(
        "child_chunk_size",
        Shape::Integer(1),
        "Of hierarchical: characters of what is searched.",
    ),
    used(
        "parent_overlap",
        Shape::Integer(0),
        "Of hierarchical: overlap of parents.",
    ),
    used(
        "child_overlap",
        Shape::Integer(0),
        "Of hierarchical: overlap of children.",
    ),
    used(
        "k1",
        Shape::Number(0.0, 10.0),
        "Of bm25: how fast repeated words stop to count.",
    ),
    used(
        "b",
        Shape::Number(0.0, 1.0),
        "Of bm25: how much long passages are held back.",
    ),
    ignored(
        "embedding_backend",
        "the program chooses how embeddings are computed",
    ),
];

pub(super) const CORPUS: &[Key] = &[
    used("name", Shape::Text, "simple or en."),
    used(
        "path",
        Shape::Text,
        "JSON lines or Parquet with id, title and text, or a directory of texts.",
    ),
    used(
        "source",
        Shape::Text,
        "A dataset on the hub, such as wikimedia/wikipedia.",
    ),
    used(
        "version",
        Shape::Text,
        "Its configuration, such as 20231101.simple.",
    ),
    used(
        "max_docs",
        Shape::Nullable(&Shape::Integer(1)),
        "The first documents only, as many as this.",
    ),
    used(
        "wikirank_top_k",
        Shape::Nullable(&Shape::Integer(1)),
        "The most important documents only: not available, its experiments fail.",
    ),
    ignored("streaming", "the program chooses how a corpus is read"),
    ignored("num_proc", "the program chooses how a corpus is read"),
    ignored(
        "doc_batch_size",
        "the program chooses how an index is built",
    ),
    ignored(
        "embedding_batch_size",
        "the program chooses how an index is built",
    ),
    ignored(
        "parallel_chunking",
        "the program chooses how an index is built",
    ),
    ignored("chunk_workers", "the program chooses how an index is built"),
];

pub(super) const RERANKER: &[Key] = &[
    used("enabled", Shape::Bool, "false means none."),
    used("name", Shape::Text, "The name used in experiment names."),
    used(
        "model",
        Shape::Text,
        "bge, ms-marco, or a model on the hub.",
    ),
    used(
        "configs",
        Shape::List(&Shape::Any),
        "Several of these mappings.",
    ),
];

pub(super) const PROMPT: &[Key] = &[
    used("name", Shape::Text, "The name used in experiment names."),
    used(
        "system",
        Shape::Text,
        "The system message; may hold {using_context}.",
    ),
    used(
        "direct",
        Shape::Text,
        "The text without retrieval; holds {question}, and {examples} if there are any.",
    ),
    used(
        "with_context",
        Shape::Text,
        "The text with retrieval; holds {context} and {question}.",
    ),
    used(
        "passage",
        Shape::Text,
        "One passage of the context; holds {text}, {rank} and {title}.",
    ),
    used(
        "example",
        Shape::Text,
        "One example; holds {question} and {answer}.",
    ),
    used(
        "examples",
        Shape::List(&Shape::Map("example", EXAMPLE)),
        "Questions with their answers.",
    ),
];

pub(super) const EXAMPLE: &[Key] = &[
    used("question", Shape::Text, "The question."),
    used("answer", Shape::Text, "Its answer."),
];

pub(super) const GENERATION: &[Key] = &[
    used(
        "max_new_tokens",
        Shape::Integer(1),
        "Tokens per answer at most (default: 64).",
    ),
    alias(
        "max_tokens",
        Shape::Integer(1),
        "The same as max_new_tokens.",
    ),
    used(
        "temperature",
        Shape::Number(0.0, 100.0),
        "0 means greedy (default).",
    ),
    used(
        "top_p",
        Shape::Number(0.0, 1.0),
        "Nucleus sampling mass (default: all).",
    ),
    used(
        "seed",
        Shape::Integer(0),
        "Of sampling, per question (default: 42).",
    ),
    used(
        "stop",
        Shape::OneOrMany(&Shape::Text),
        "Answers end before the first of these texts.",
    ),
];

pub(super) const OPTIONS: &[Key] = &[
    used(
        "skip_existing",
        Shape::Bool,
        "false does complete experiments again (default: true).",
    ),
    used(
        "save_intermediate",
        Shape::Bool,
        "Write predictions.json while running, not only at the end (default: true). Nothing is lost either way.",
    ),
    ignored("build_index_if_missing", "a missing index is always built"),
    ignored("cache_embeddings", "embeddings are always cached"),
    ignored("batch_size", "it is a key of the top level"),
    ignored("quantization", "it is a key of direct and rag"),
];

pub(super) const JUDGE: &[Key] = &[
    used("model", MODEL_ENTRY, "The judging model."),
    used(
        "judgment_type",
        Shape::Words(&["binary", "ternary"]),
        "binary (default) or ternary.",
    ),
    alias(
        "type",
        Shape::Words(&["binary", "ternary"]),
        "The same as judgment_type.",
    ),
    used(
        "concurrency",
        Shape::Integer(1),
        "Requests to the judge at once (default: 8).",
    ),
];

pub(super) const BERTSCORE: &[Key] = &[
    used(
        "model",
        Shape::Text,
        "roberta-large, roberta-base, bert-base-uncased, ..., or a BERT, RoBERTa, XLM-R or MPNet as org/name or hf:./directory.",
    ),
    used(
        "layer",
        Shape::Integer(1),
        "The layer whose vectors are compared (default: the one that bert-score takes for this model).",
    ),
];

pub(super) const NLI: &[Key] = &[used(
    "model",
    Shape::Text,
    "minilm, roberta-base, roberta-large, or a cross-encoder with the labels entailment and contradiction as org/name or hf:./directory.",
)];

pub(super) const SAMPLING: &[Key] = &[
    used(
        "mode",
        Shape::Words(&["random", "stratified", "tpe"]),
        "random (default); stratified: every stratum at least once; tpe: each cell is chosen by what the ones before it scored.",
    ),
    used(
        "n_experiments",
        Shape::Integer(1),
        "Cells to take. A larger number takes the same cells and more.",
    ),
    used("seed", Shape::Integer(0), "Which cells (default: 42)."),
    used(
        "optimize_metric",
        Shape::Text,
        "For tpe: the metric that is to become large (default: f1).",
    ),
    used(
        "stratify_by",
        Shape::List(&Shape::Words(STRATA)),
        "What makes a stratum (default: model and retriever).",
    ),
];

/// The words of `stratify_by`.
pub(super) const STRATA: &[&str] = &[
    "model",
    "quantization",
    "retriever",
    "top_k",
    "prompt",
    "dataset",
    "agent",
    "reranker",
    "query_transform",
];

/// The tables, with where they are: for keys in the wrong place.
pub(super) const TABLES: &[(&str, &[Key])] = &[
    ("at the top level", STUDY),
    ("under rag", RAG),
    ("under direct", DIRECT),
    ("under generation", GENERATION),
    ("under options", OPTIONS),
    ("in an entry of experiments", EXPERIMENT),
    ("in an entry of rag.retrievers", RETRIEVER),
    ("in an entry of models", MODEL),
    ("in an entry of datasets", DATASET),
    ("under llm_judge", JUDGE),
    ("under bertscore", BERTSCORE),
    ("under nli", NLI),
    ("under sampling", SAMPLING),
];
