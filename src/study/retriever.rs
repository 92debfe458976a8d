//! Entries of `retrievers`, and the corpora behind them.

use super::{
    catalog::{GOLD, Names},
    diagnostic::nearest,
    entries::{CELLS_FAIL, Choice, availability, file_stem, suggestions},
    fields::{At, Fields, shorten},
    keys,
    paths::{self, LocalKind},
    yaml::Value,
};
use crate::domain::{EMBEDDING_MODELS, RetrieverKind, RetrieverSpec, embedding_model};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Settings that are passed on verbatim.
pub(super) type Options = BTreeMap<String, Json>;

const KINDS: &[(&str, RetrieverKind)] = &[
    ("bm25", RetrieverKind::Bm25),
    ("dense", RetrieverKind::Dense),
    ("hybrid", RetrieverKind::Hybrid),
    ("hierarchical", RetrieverKind::Hierarchical),
    (GOLD, RetrieverKind::Gold),
];

const CHUNKINGS: &[(&str, &str)] = &[
    ("none", "none"),
    ("fixed", "fixed"),
    ("sentence", "sentence"),
    ("recursive", "recursive"),
    ("token", "token"),
];

/// The form of a retriever's name.
const NAME_FORM: &str = "{corpus}_{embedding}_{strategy}_{chunk_size}";
/// Of a retriever that is given by name.
const DEFAULT_OVERLAP: usize = 50;
const DEFAULT_CHUNK: usize = 512;

/// A corpus, with what of it is part of an experiment's identity.
#[derive(Debug, Clone)]
pub(super) struct Corpus {
    name: String,
    is_local: bool,
    options: Options,
    trouble: Option<String>,
}

/// A value of `corpus`.
pub(super) fn corpus(at: &At<'_>, names: &Names<'_>) -> Option<Corpus> {
    let Value::Map(_) = &at.node.value else {
        return corpus_text(at, at.text()?, names);
    };
    let fields = at.fields(keys::CORPUS)?;
    let mut corpus = if let Some(path) = fields.get("path") {
        local(&path, &paths::expand(&path, path.text()?, names)?)
    } else if let Some(name) = fields.get("name") {
        corpus_text(&name, name.text()?, names)?
    } else if let Some(source) = fields.get("source") {
        let version = fields.get("version");
        let version = match &version {
            Some(version) => version.text()?,
            None => "20231101.simple",
        };
        match (source.text()?, version) {
            ("wikimedia/wikipedia", "20231101.simple") => known_corpus(&source, "simple", names),
            ("wikimedia/wikipedia", "20231101.en") => known_corpus(&source, "en", names),
            (other, version) => hub_corpus(&source, &format!("{other}:{version}")),
        }
    } else {
        at.error(
            "the corpus has neither name nor path nor source",
            Some("write name: simple, or path: a JSON lines file".to_owned()),
        );
        return None;
    };
    for key in ["max_docs", "wikirank_top_k"] {
        if let Some(number) = fields.get(key).and_then(|at| at.integer(1)) {
            corpus.options.insert(key.to_owned(), json!(number));
        }
    }
    if corpus.options.contains_key("wikirank_top_k")
        && let Some(at) = fields.get("wikirank_top_k")
    {
        let reason = "pages can not be chosen by their rank; max_docs takes the first ones";
        at.warning(
            format!("not available: {reason}"),
            Some(CELLS_FAIL.to_owned()),
        );
        let trouble = format!("the corpus's wikirank_top_k is not available: {reason}");
        corpus.trouble = corpus.trouble.or(Some(trouble));
    }
    Some(corpus)
}

fn corpus_text(at: &At<'_>, text: &str, names: &Names<'_>) -> Option<Corpus> {
    let text = &paths::expand(at, text, names)?;
    let extensions = [".jsonl", ".json", ".tsv", ".txt", ".parquet", ".gz"];
    let looks_local = text.starts_with(['/', '.', '~'])
        || extensions.iter().any(|extension| text.ends_with(extension));
    if looks_local {
        Some(local(at, text))
    } else if names.corpora.iter().any(|known| known.name == *text) {
        Some(known_corpus(at, text, names))
    } else if text.contains('/') {
        Some(hub_corpus(at, text))
    } else {
        at.unknown("corpus", &suggestions(&names.corpora));
        None
    }
}

fn local(at: &At<'_>, path: &str) -> Corpus {
    paths::remember(at, LocalKind::Corpus, path);
    Corpus {
        name: path.to_owned(),
        is_local: true,
        options: Options::new(),
        trouble: None,
    }
}

fn known_corpus(at: &At<'_>, name: &str, names: &Names<'_>) -> Corpus {
    Corpus {
        name: name.to_owned(),
        is_local: false,
        options: Options::new(),
        trouble: availability(at, "corpus", name, &names.corpora, CELLS_FAIL).unwrap_or(None),
    }
}

fn hub_corpus(at: &At<'_>, name: &str) -> Corpus {
    let reason = "corpora on the hub other than the two Wikipedias can not be read";
    if at.report.first(format!("corpus {name}")) {
        at.warning(
            format!("'{}' is not available: {reason}", shorten(name)),
            Some(CELLS_FAIL.to_owned()),
        );
    }
    Corpus {
        name: name.to_owned(),
        is_local: false,
        options: Options::new(),
        trouble: Some(format!("the corpus '{name}' is not available: {reason}")),
    }
}

/// The retrievers that a study describes.
pub(super) struct Retrievers {
    pub described: Vec<Choice<RetrieverSpec>>,
    default_corpus: Option<Corpus>,
}

impl Retrievers {
    pub fn new(default_corpus: Option<Corpus>) -> Self {
        Self {
            described: Vec::new(),
            default_corpus,
        }
    }

    /// An entry of `retrievers`: described, or by a name that says it all.
    pub fn entry(&self, at: &At<'_>, names: &Names<'_>) -> Option<Choice<RetrieverSpec>> {
        match &at.node.value {
            Value::Map(_) => self.mapping(at, names),
            _ => self.by_name(at, names),
        }
    }

    /// A retriever of the study, or one whose name says it all.
    pub fn by_name(&self, at: &At<'_>, names: &Names<'_>) -> Option<Choice<RetrieverSpec>> {
        let name = at.text()?;
        let described = self
            .described
            .iter()
            .find(|choice| choice.value.name == name);
        match described {
            Some(choice) => {
                Some(Choice::new(choice.value.clone(), at).with_trouble(choice.trouble.clone()))
            }
            None => self.parse_name(at, name, names),
        }
    }

    fn parse_name(
        &self,
        at: &At<'_>,
        name: &str,
        names: &Names<'_>,
    ) -> Option<Choice<RetrieverSpec>> {
        let described = self
            .described
            .iter()
            .map(|choice| choice.value.name.as_str());
        if name == GOLD {
            let trouble = kind_trouble(at, RetrieverKind::Gold, names);
            return Some(Choice::new(gold(GOLD), at).with_trouble(trouble));
        }
        let parts: Vec<&str> = name.split('_').collect();
        let [corpus, embedding, chunking, size] = parts[..] else {
            let fix = match nearest(name, described) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!(
                    "describe it under rag.retrievers, or write a name of the form {NAME_FORM}"
                ),
            };
            at.error(format!("unknown retriever '{}'", shorten(name)), Some(fix));
            return None;
        };
        let model = EMBEDDING_MODELS
            .iter()
            .find(|(short, _)| *short == embedding);
        let corpus_known = names.corpora.iter().any(|known| known.name == corpus);
        let embedding_known = model.is_some() || embedding == "bm25";
        let chunking_known = CHUNKINGS.iter().any(|(known, _)| *known == chunking);
        let fine = corpus_known && embedding_known && chunking_known;
        if !fine && let Some(near) = nearest(name, described) {
            // A described name of four parts with a slip in it.
            at.error(
                format!("unknown retriever '{}'", shorten(name)),
                Some(format!("did you mean '{near}'?")),
            );
            return None;
        }
        let wrong = |what: &str, part: &str, known: Vec<&str>| {
            let fix = match nearest(part, known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known are {}", super::fields::list_words(&known)),
            };
            at.error(
                format!(
                    "unknown {what} '{}' in the retriever '{}'",
                    shorten(part),
                    shorten(name)
                ),
                Some(fix),
            );
        };
        if !corpus_known {
            wrong("corpus", corpus, suggestions(&names.corpora));
        }
        if !embedding_known {
            let known = EMBEDDING_MODELS
                .iter()
                .map(|(short, _)| *short)
                .chain(["bm25"]);
            wrong("embedding", embedding, known.collect());
        }
        if !chunking_known {
            wrong(
                "strategy",
                chunking,
                CHUNKINGS.iter().map(|(word, _)| *word).collect(),
            );
        }
        let size = size.parse::<usize>().ok().filter(|size| *size > 0);
        if size.is_none() {
            at.error(
                format!(
                    "the retriever '{}' does not end with a chunk size",
                    shorten(name)
                ),
                Some(format!("its form is {NAME_FORM}")),
            );
        }
        let size = size.filter(|_| fine)?;
        let kind = match model {
            Some(_) => RetrieverKind::Dense,
            None => RetrieverKind::Bm25,
        };
        let corpus = known_corpus(at, corpus, names);
        let (chunk_size, chunk_overlap) = match chunking {
            "none" => (0, 0),
            _ => (size, DEFAULT_OVERLAP.min(size - 1)),
        };
        let spec = RetrieverSpec {
            name: name.to_owned(),
            kind,
            corpus: corpus.name,
            embedding: model.map(|(_, model)| (*model).to_owned()),
            chunking: chunking.to_owned(),
            chunk_size,
            chunk_overlap,
            options: Options::new(),
        };
        let trouble = kind_trouble(at, kind, names).or(corpus.trouble);
        Some(Choice::new(spec, at).with_trouble(trouble))
    }

    fn mapping(&self, at: &At<'_>, names: &Names<'_>) -> Option<Choice<RetrieverSpec>> {
        let fields = at.fields(keys::RETRIEVER)?;
        let kind = match fields.either(&["type", "kind"]) {
            Some(at) => at.choice(KINDS),
            None => {
                fields.required("type", "write bm25, dense, hybrid or hierarchical");
                None
            }
        };
        if kind == Some(RetrieverKind::Gold) {
            return gold_entry(&fields, at, names);
        }
        let corpus = match fields.get("corpus") {
            Some(at) => corpus(&at, names),
            None => {
                if self.default_corpus.is_none() {
                    fields.required("corpus", "write simple, en or a path, here or under rag");
                }
                self.default_corpus.clone()
            }
        };
        let mut options = retriever_options(&fields);
        let embedding = embedding(&fields, kind, names);
        let chunking = match fields.either(&["chunking", "chunking_strategy"]) {
            Some(at) => at.choice(CHUNKINGS),
            None if corpus.as_ref().is_some_and(|corpus| corpus.is_local) => Some("none"),
            None => Some("recursive"),
        };
        let (size, overlap) = chunk_sizes(&fields, chunking, &options);
        let (kind, corpus, chunking) = (kind?, corpus?, chunking?);
        options.extend(corpus.options);
        let name = match fields.get("name") {
            Some(at) => at.text()?.to_owned(),
            None => {
                let corpus = match corpus.is_local {
                    true => file_stem(&corpus.name),
                    false => corpus.name.clone(),
                };
                let short = embedding.as_deref().map(short_embedding);
                let word = short.unwrap_or_else(|| "bm25".to_owned());
                match size {
                    0 => format!("{corpus}_{word}"),
                    _ => format!("{corpus}_{word}_{chunking}_{size}"),
                }
            }
        };
        let spec = RetrieverSpec {
            name,
            kind,
            corpus: corpus.name,
            embedding,
            chunking: chunking.to_owned(),
            chunk_size: size,
            chunk_overlap: overlap,
            options,
        };
        let trouble = kind_trouble(at, kind, names).or(corpus.trouble);
        Some(Choice::new(spec, at).with_trouble(trouble))
    }
}

/// What gives each question its own passages.
fn gold(name: &str) -> RetrieverSpec {
    RetrieverSpec {
        name: name.to_owned(),
        kind: RetrieverKind::Gold,
        corpus: String::new(),
        embedding: None,
        chunking: "none".to_owned(),
        chunk_size: 0,
        chunk_overlap: 0,
        options: Options::new(),
    }
}

/// An entry with nothing but a name: there is nothing to search, so nothing
/// else can be set.
fn gold_entry(
    fields: &Fields<'_>,
    at: &At<'_>,
    names: &Names<'_>,
) -> Option<Choice<RetrieverSpec>> {
    let name = match fields.get("name") {
        Some(at) => at.text()?,
        None => GOLD,
    };
    for key in keys::RETRIEVER {
        if !["name", "type", "kind"].contains(&key.name)
            && let Some(at) = fields.get(key.name)
        {
            at.error(
                "gold searches nothing: it gives each question the passages of its dataset",
                Some("remove the key".to_owned()),
            );
        }
    }
    let trouble = kind_trouble(at, RetrieverKind::Gold, names);
    Some(Choice::new(gold(name), at).with_trouble(trouble))
}

fn kind_trouble(at: &At<'_>, kind: RetrieverKind, names: &Names<'_>) -> Option<String> {
    let word = KINDS
        .iter()
        .find(|(_, known)| *known == kind)
        .map_or("", |(word, _)| word);
    availability(
        at,
        "retriever type",
        word,
        &names.retriever_kinds,
        CELLS_FAIL,
    )
    .unwrap_or_else(|()| Some(format!("'{word}' retrievers are not available")))
}

fn retriever_options(fields: &Fields<'_>) -> Options {
    let mut options = Options::new();
    for (key, min) in [
        ("rrf_k", 1),
        ("parent_chunk_size", 1),
        ("child_chunk_size", 1),
        ("parent_overlap", 0),
        ("child_overlap", 0),
    ] {
        if let Some(number) = fields.get(key).and_then(|at| at.integer(min)) {
            options.insert(key.to_owned(), json!(number));
        }
    }
    for (key, max) in [("alpha", 1.0), ("k1", 10.0), ("b", 1.0)] {
        if let Some(number) = fields.get(key).and_then(|at| at.number(0.0, max)) {
            options.insert(key.to_owned(), json!(number));
        }
    }
    let words: [(&str, &[(&str, &str)]); 4] = [
        ("sparse_method", &[("bm25", "bm25"), ("tfidf", "tfidf")]),
        ("fusion", &[("weighted", "weighted"), ("rrf", "rrf")]),
        (
            "index_type",
            &[
                ("flat", "flat"),
                ("hnsw", "hnsw"),
                ("ivf", "ivf"),
                ("ivfpq", "ivfpq"),
            ],
        ),
        ("vector_dtype", &[("f32", "f32"), ("f16", "f16")]),
    ];
    for (key, choices) in words {
        if let Some(word) = fields.get(key).and_then(|at| at.choice(choices)) {
            options.insert(key.to_owned(), json!(word));
        }
    }
    options
}

/// The embedding model's full name; reports one that is missing or too much.
fn embedding(
    fields: &Fields<'_>,
    kind: Option<RetrieverKind>,
    names: &Names<'_>,
) -> Option<String> {
    let at = fields.either(&["embedding_model", "embedding"]);
    match (at, kind) {
        (Some(at), Some(RetrieverKind::Bm25)) => {
            at.error(
                "bm25 has no embeddings",
                Some("remove the key, or write type: dense".to_owned()),
            );
            None
        }
        (Some(at), _) => {
            let text = paths::expand(&at, at.text()?, names)?;
            let known = EMBEDDING_MODELS.iter().find(|(short, _)| *short == text);
            match known {
                Some((_, model)) => Some((*model).to_owned()),
                None if text.contains('/') => {
                    paths::remember_encoder(&at, embedding_model(&text));
                    Some(text)
                }
                None => {
                    let shorts: Vec<&str> =
                        EMBEDDING_MODELS.iter().map(|(short, _)| *short).collect();
                    at.unknown("embedding", &shorts);
                    None
                }
            }
        }
        (None, Some(RetrieverKind::Bm25) | None) => None,
        (None, Some(_)) => {
            fields.required(
                "embedding_model",
                "write minilm, mpnet, e5 or a model on the hub",
            );
            None
        }
    }
}

fn short_embedding(model: &str) -> String {
    EMBEDDING_MODELS
        .iter()
        .find(|(_, known)| *known == model)
        .map_or_else(|| file_stem(model), |(short, _)| (*short).to_owned())
}

/// Size and overlap in characters; both 0 when nothing is cut.
fn chunk_sizes(fields: &Fields<'_>, chunking: Option<&str>, options: &Options) -> (usize, usize) {
    let child = |key: &str| options.get(key).and_then(Json::as_u64).map(|n| n as usize);
    let size_at = fields.get("chunk_size");
    let overlap_at = fields.either(&["chunk_overlap", "overlap"]);
    if chunking == Some("none") {
        for at in [size_at, overlap_at].into_iter().flatten() {
            at.error(
                "passages that are not cut have no chunk size",
                Some("remove the key, or write chunking: recursive".to_owned()),
            );
        }
        return (0, 0);
    }
    let size = size_at
        .and_then(|at| at.integer(1))
        .or_else(|| child("child_chunk_size"))
        .unwrap_or(DEFAULT_CHUNK);
    let overlap = match &overlap_at {
        Some(at) => at.integer(0).unwrap_or(0),
        None => child("child_overlap").unwrap_or_else(|| DEFAULT_OVERLAP.min(size - 1)),
    };
    if let Some(at) = overlap_at.filter(|_| overlap >= size) {
        at.error(
            format!("chunks of {size} characters can not share {overlap}"),
            Some(format!("the most is {}", size - 1)),
        );
    }
    (size, overlap)
}
