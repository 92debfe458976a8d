//! Entries of `models`, `datasets` and `prompts`.

use super::{
    catalog::{Availability, Catalog, KnownName, Names},
    fields::{At, shorten},
    keys,
    paths::{self, LocalKind, is_local},
    placeholders,
    yaml::{Place, Value},
};
use crate::domain::{
    DatasetSpec, Dtype, FieldMap, ModelSpec, Prompt, PromptExample, Provider, Quantization,
};

/// A value of an axis, with where it stands.
#[derive(Debug, Clone)]
pub(super) struct Choice<T> {
    pub value: T,
    pub origin: Origin,
    /// Why cells with this value can not run.
    pub trouble: Option<String>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub place: Place,
    pub path: String,
}

impl<T> Choice<T> {
    pub fn new(value: T, at: &At<'_>) -> Self {
        Self {
            value,
            origin: Origin {
                place: at.place(),
                path: at.path.clone(),
            },
            trouble: None,
        }
    }

    pub fn with_trouble(mut self, trouble: Option<String>) -> Self {
        self.trouble = trouble;
        self
    }
}

/// Whether `name` is among `known`: `Err` when it is not, else the reason why
/// it can not be used, which is warned about once. `what` is the noun for it.
pub(super) fn availability(
    at: &At<'_>,
    what: &str,
    name: &str,
    known: &[KnownName],
    consequence: &str,
) -> Result<Option<String>, ()> {
    let found = known.iter().find(|known| known.name == name).ok_or(())?;
    match &found.availability {
        Availability::Available => Ok(None),
        Availability::Unavailable { reason } => {
            if at.report.first(format!("{what} {name}")) {
                at.warning(
                    format!("the {what} '{name}' is known but not available: {reason}"),
                    Some(consequence.to_owned()),
                );
            }
            Ok(Some(format!(
                "the {what} '{name}' is not available: {reason}"
            )))
        }
    }
}

/// What a warning about a value of an axis ends with.
pub(super) const CELLS_FAIL: &str = "its experiments fail, the others run";

/// The names of `known` that can be suggested.
pub(super) fn suggestions(known: &[KnownName]) -> Vec<&str> {
    known.iter().map(|known| known.name.as_str()).collect()
}

pub(super) const QUANTIZATIONS: &[(&str, Quantization)] = &[
    ("none", Quantization::None),
    ("8bit", Quantization::Int8),
    ("4bit", Quantization::Int4),
];

const DTYPES: &[(&str, Dtype)] = &[
    ("auto", Dtype::Auto),
    ("f32", Dtype::F32),
    ("f16", Dtype::F16),
    ("bf16", Dtype::Bf16),
    ("float32", Dtype::F32),
    ("float16", Dtype::F16),
    ("bfloat16", Dtype::Bf16),
];

const PROVIDERS: &[(&str, Provider)] = &[
    ("hf", Provider::Hf),
    ("gguf", Provider::Gguf),
    ("openai", Provider::Openai),
    ("embedded", Provider::Embedded),
    ("vllm", Provider::Vllm),
];

/// An entry of `models`.
pub(super) fn model(at: &At<'_>, names: &Names<'_>) -> Option<Choice<ModelSpec>> {
    let spec = match &at.node.value {
        Value::Map(_) => model_mapping(at, names)?,
        _ => model_text(at, at.text()?, Kind::default(), names)?,
    };
    if spec.provider == Provider::Gguf || (spec.provider == Provider::Hf && is_local(&spec.name)) {
        paths::remember(at, LocalKind::Model(spec.clone()), &spec.name);
    }
    let provider = spec.provider.as_str();
    let trouble = match availability(at, "provider", provider, &names.providers, CELLS_FAIL) {
        Ok(trouble) => trouble,
        Err(()) => {
            at.unknown("provider", &suggestions(&names.providers));
            return None;
        }
    };
    if spec.provider == Provider::Embedded {
        let embedded = &names.embedded_models;
        if availability(at, "model", &spec.name, embedded, CELLS_FAIL).is_err() {
            let models: Vec<String> = embedded
                .iter()
                .map(|known| format!("embedded:{}", known.name))
                .collect();
            at.unknown(
                "model",
                &models.iter().map(String::as_str).collect::<Vec<_>>(),
            );
            return None;
        }
    }
    Some(Choice::new(spec, at).with_trouble(trouble))
}

fn model_mapping(at: &At<'_>, names: &Names<'_>) -> Option<ModelSpec> {
    let fields = at.fields(keys::MODEL)?;
    let provider = fields.get("provider");
    let provider = match &provider {
        Some(provider) => Some(provider.choice(PROVIDERS)?),
        None => None,
    };
    let name = fields.either(&["name", "id", "path"]);
    let Some(name) = name else {
        at.error(
            "the model has no name",
            Some("write name: org/name, or path: a directory or file".to_owned()),
        );
        return None;
    };
    let text = name.text()?;
    let is_path = name.path.ends_with(".path");
    let provider = match provider {
        None if is_path && text.ends_with(".gguf") => Some(Provider::Gguf),
        None if is_path => Some(Provider::Hf),
        provider => provider,
    };
    let mut spec = model_text(&name, text, Kind { provider, is_path }, names)?;
    if let Some(revision) = fields.get("revision") {
        let text = revision.text()?;
        if spec.provider != Provider::Hf || is_local(&spec.name) {
            revision.error(
                "only models on the hub have revisions",
                Some("remove the key".to_owned()),
            );
        } else if spec.revision.is_some() {
            revision.error(
                "the revision is given twice",
                Some("remove it from the name, or remove the key".to_owned()),
            );
        }
        spec.revision = Some(text.to_owned());
    }
    if let Some(dtype) = fields.get("dtype").and_then(|at| at.choice(DTYPES)) {
        spec.dtype = dtype;
    }
    if let Some(url) = fields.get("base_url") {
        let text = url.text()?;
        if spec.provider != Provider::Openai {
            url.error(
                format!(
                    "{}: models are not asked over the network",
                    spec.provider.as_str()
                ),
                Some("remove the key, or write provider: openai".to_owned()),
            );
        } else if !text.starts_with("http://") && !text.starts_with("https://") {
            url.error(
                format!("'{}' is no web address", shorten(text)),
                Some("it begins with http:// or https://".to_owned()),
            );
        }
        spec.base_url = Some(text.to_owned());
    }
    Some(spec)
}

/// What is known of a model beside its text.
#[derive(Clone, Copy, Default)]
struct Kind {
    provider: Option<Provider>,
    /// The text is a path, however it begins.
    is_path: bool,
}

fn model_text(at: &At<'_>, text: &str, kind: Kind, names: &Names<'_>) -> Option<ModelSpec> {
    let text = text.trim();
    let (provider, name) = match (kind.provider, text.split_once(':')) {
        (Some(provider), Some((word, name))) if word == provider.as_str() => (provider, name),
        (Some(provider), _) => (provider, text),
        (None, Some((word, name))) => match PROVIDERS.iter().find(|(known, _)| *known == word) {
            Some((_, provider)) => (*provider, name),
            None => {
                let known: Vec<&str> = PROVIDERS.iter().map(|(word, _)| *word).collect();
                let near = super::diagnostic::nearest(word, known.iter().copied());
                let fix = match near {
                    Some(near) => format!("did you mean '{near}:{}'?", shorten(name)),
                    None => "known are hf:, gguf:, openai: and embedded:".to_owned(),
                };
                at.error(
                    format!(
                        "unknown provider '{}' in '{}'",
                        shorten(word),
                        shorten(text)
                    ),
                    Some(fix),
                );
                return None;
            }
        },
        (None, None) => {
            let guess = match text {
                _ if text.ends_with(".gguf") => format!("gguf:{text}"),
                _ if text.contains('/') => format!("hf:{text}"),
                "reader" => "embedded:reader".to_owned(),
                _ => format!("openai:{text}"),
            };
            at.error(
                format!(
                    "the model '{}' does not say where it comes from",
                    shorten(text)
                ),
                Some(format!("did you mean '{}'?", shorten(&guess))),
            );
            return None;
        }
    };
    let mut name = name.to_owned();
    if matches!(provider, Provider::Hf | Provider::Gguf) {
        name = paths::expand(at, &name, names)?;
    }
    if kind.is_path && provider == Provider::Hf && !is_local(&name) {
        // A relative directory without ./ would be taken for a name on the hub.
        name.insert_str(0, "./");
    }
    let (name, revision) = match name.rsplit_once('@') {
        Some((name, revision)) if provider == Provider::Hf && !is_local(name) => {
            (name, Some(revision.to_owned()))
        }
        _ => (name.as_str(), None),
    };
    let is_hub = provider == Provider::Hf && !is_local(name);
    let problem = if name.is_empty() {
        Some("has no name behind the colon")
    } else if revision.as_deref() == Some("") {
        Some("has no revision behind the @")
    } else if is_hub && !is_hub_name(name) {
        Some("is no name on the hub")
    } else if name.chars().any(char::is_control) {
        Some("contains control characters")
    } else {
        None
    };
    if let Some(problem) = problem {
        at.error(
            format!("'{}' {problem}", shorten(text)),
            Some("write hf:org/name, hf:org/name@revision, hf:./directory, gguf:file.gguf, openai:name or embedded:reader".to_owned()),
        );
        return None;
    }
    Some(ModelSpec {
        provider,
        name: name.to_owned(),
        revision,
        dtype: Dtype::Auto,
        base_url: None,
    })
}

fn is_hub_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let fine = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    parts.by_ref().take(2).all(fine) && parts.next().is_none()
}

/// An entry of `datasets`.
pub(super) fn dataset(at: &At<'_>, names: &Names<'_>) -> Option<Choice<DatasetSpec>> {
    let mut spec = DatasetSpec {
        name: String::new(),
        path: None,
        split: None,
        revision: None,
        fields: FieldMap::default(),
        sample_seed: None,
    };
    let (mut named, mut pathed) = (at.clone(), at.clone());
    if let Value::Map(_) = &at.node.value {
        let fields = at.fields(keys::DATASET)?;
        let text = |key: &str| fields.get(key).and_then(|at| at.text().map(str::to_owned));
        let path = fields.get("path");
        spec.path = match &path {
            Some(at) => Some(paths::expand(at, at.text()?, names)?),
            None => None,
        };
        spec.split = text("split");
        spec.revision = text("revision");
        if let Some(keys) = fields
            .get("fields")
            .and_then(|at| at.fields(keys::DATASET_FIELDS))
        {
            let text = |key: &str| keys.get(key).and_then(|at| at.text().map(str::to_owned));
            spec.fields = FieldMap {
                question: text("question"),
                answers: text("answers"),
                id: text("id"),
                supporting: text("supporting"),
                context: text("context"),
            };
        }
        pathed = path.unwrap_or(pathed);
        match (fields.get("name"), &spec.path) {
            (Some(name), _) => {
                name.text()?.clone_into(&mut spec.name);
                named = name;
            }
            (None, Some(path)) => spec.name = file_stem(path),
            (None, None) => {
                at.error(
                    "the dataset has neither name nor path",
                    Some("write name: nq, or path: a file".to_owned()),
                );
                return None;
            }
        }
    } else {
        let text = &paths::expand(at, at.text()?, names)?;
        let endings = [".jsonl", ".json", ".csv", ".tsv", ".parquet"];
        if endings.iter().any(|ending| text.ends_with(ending)) {
            spec.path = Some(text.to_owned());
            spec.name = file_stem(text);
        } else {
            text.clone_into(&mut spec.name);
        }
    }
    if let Some(path) = &spec.path {
        paths::remember(&pathed, LocalKind::Dataset, path);
        return Some(Choice::new(spec, at));
    }
    match availability(&named, "dataset", &spec.name, &names.datasets, CELLS_FAIL) {
        Ok(trouble) => Some(Choice::new(spec, at).with_trouble(trouble)),
        Err(()) => {
            named.unknown("dataset", &suggestions(&names.datasets));
            None
        }
    }
}

/// The last part of a path without its extension.
pub(super) fn file_stem(path: &str) -> String {
    let file = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    let stem = file.split('.').find(|part| !part.is_empty());
    stem.unwrap_or("file").to_owned()
}

/// A prompt whose examples depend on the dataset.
#[derive(Debug, Clone)]
pub(super) enum PromptChoice {
    Named(String),
    Inline(Box<Prompt>),
}

impl PromptChoice {
    /// The prompt for a dataset. One that is not available has no texts; its
    /// cells never run.
    pub fn resolve(&self, catalog: &dyn Catalog, dataset: &str) -> Prompt {
        match self {
            Self::Inline(prompt) => prompt.as_ref().clone(),
            Self::Named(name) => catalog.prompt(name, dataset).unwrap_or_else(|| Prompt {
                name: name.clone(),
                system: None,
                direct: String::new(),
                with_context: String::new(),
                passage: String::new(),
                example: None,
                examples: Vec::new(),
            }),
        }
    }
}

/// An entry of `prompts`.
pub(super) fn prompt(at: &At<'_>, names: &Names<'_>) -> Option<Choice<PromptChoice>> {
    if let Value::Map(_) = &at.node.value {
        let prompt = inline_prompt(at, names.catalog)?;
        return Some(Choice::new(PromptChoice::Inline(Box::new(prompt)), at));
    }
    let name = at.text()?;
    match availability(at, "prompt", name, &names.prompts, CELLS_FAIL) {
        Ok(trouble) => {
            Some(Choice::new(PromptChoice::Named(name.to_owned()), at).with_trouble(trouble))
        }
        Err(()) => {
            at.unknown("prompt", &suggestions(&names.prompts));
            None
        }
    }
}

/// A prompt written out; what it leaves out is that of the prompt `default`.
fn inline_prompt(at: &At<'_>, catalog: &dyn Catalog) -> Option<Prompt> {
    let fields = at.fields(keys::PROMPT)?;
    let name = fields
        .required("name", "experiment names need it")?
        .text()?
        .to_owned();
    let base = catalog.prompt("default", "");
    let template = |key: &str, holds: &[&str], default: Option<&String>| {
        let Some(at) = fields.get(key) else {
            if default.is_none() {
                fields.required(key, "there is no prompt 'default' to take it from");
            }
            return default.cloned();
        };
        let text = at.text()?;
        let meant = placeholders::check(&at, text, key);
        for placeholder in holds.iter().filter(|word| !text.contains(**word)) {
            // A slip in it has been told.
            if meant.contains(&placeholder.trim_matches(['{', '}'])) {
                continue;
            }
            at.error(
                format!("the text does not hold {placeholder}"),
                Some(format!("write {placeholder} where it belongs")),
            );
        }
        Some(text.to_owned())
    };
    let direct = template("direct", &["{question}"], base.as_ref().map(|b| &b.direct));
    let with_context = template(
        "with_context",
        &["{context}", "{question}"],
        base.as_ref().map(|b| &b.with_context),
    );
    let passage = template("passage", &["{text}"], base.as_ref().map(|b| &b.passage));
    let example = fields
        .get("example")
        .and_then(|_| template("example", &["{question}", "{answer}"], None));
    let examples = match fields.get("examples") {
        Some(at) => at
            .list()?
            .iter()
            .filter_map(|at| {
                let fields = at.fields(keys::EXAMPLE)?;
                let text = |key| {
                    let at = fields.required(key, "an example has a question and an answer")?;
                    at.text().map(str::to_owned)
                };
                Some(PromptExample {
                    question: text("question")?,
                    answer: text("answer")?,
                })
            })
            .collect(),
        None => Vec::new(),
    };
    if !examples.is_empty() && example.is_none() {
        fields.required("example", "it says how examples are written");
    }
    if let (Some(direct), Some(at)) = (&direct, fields.get("examples"))
        && !direct.contains("{examples}")
    {
        at.error(
            "the direct text does not hold {examples}",
            Some("write {examples} where they belong".to_owned()),
        );
    }
    Some(Prompt {
        name,
        system: match fields.get("system") {
            Some(at) => {
                let text = at.text()?;
                placeholders::check(&at, text, "system");
                Some(text.to_owned())
            }
            None => None,
        },
        direct: direct?,
        with_context: with_context?,
        passage: passage?,
        example,
        examples,
    })
}
