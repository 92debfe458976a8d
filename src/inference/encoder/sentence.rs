//! What a sentence-transformers model says of itself beside its weights:
//! `modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json` and
//! `config_sentence_transformers.json`.

use crate::{
    domain::{Failure, FailureClass, TextRole},
    hub::{FileSource, ModelFiles},
};
use serde_json::{Map, Value};
use std::fmt;

/// How the rows of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's row.
    First,
    /// The last token's row.
    Last,
    /// The mean of all rows.
    Mean,
    /// The sum of all rows over the square root of their number.
    MeanSqrt,
    /// The largest value in each dimension.
    Max,
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::First => "cls",
            Self::Last => "last",
            Self::Mean => "mean",
            Self::MeanSqrt => "mean_sqrt_len",
            Self::Max => "max",
        })
    }
}

/// How a model makes vectors of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceConfig {
    /// From rows to a vector.
    pub pooling: Pooling,
    /// The tokens of the prefix count in pooling.
    pub pool_prefix: bool,
    /// Vectors have length one.
    pub normalize: bool,
    /// Tokens per text at most, where the model says so.
    pub max_tokens: Option<usize>,
    /// Texts are lowered first.
    pub lower: bool,
    /// What stands before a query.
    pub query_prefix: String,
    /// What stands before a passage.
    pub passage_prefix: String,
}

/// Prefixes that models were trained with and do not say in their files: how
/// the name starts, a part that it does not have, and the prefixes of a query
/// and of a passage. From the models' cards.
const CONVENTIONS: [(&str, &str, &str, &str); 5] = [
    ("e5-", "mistral", "query: ", "passage: "),
    ("multilingual-e5-", "instruct", "query: ", "passage: "),
    ("bge-small-en", "-icl", BGE_QUERY, ""),
    ("bge-base-en", "-icl", BGE_QUERY, ""),
    ("bge-large-en", "-icl", BGE_QUERY, ""),
];

const BGE_QUERY: &str = "Represent this sentence for searching relevant passages: ";

impl SentenceConfig {
    /// What the files of a model say. Where there is no `modules.json`, the
    /// model is pooled by the mean and normalised, as sentence-transformers
    /// pools such models.
    ///
    /// # Errors
    /// One sentence (class `permanent`) for a module or a pooling that is not
    /// supported.
    pub fn of_files(files: &ModelFiles) -> Result<Self, Failure> {
        let label = &files.label;
        let sentence = &files.sentence;
        let read = |name: &str, file: &Option<FileSource>| json(label, name, file.as_ref());
        let modules = read("modules.json", &sentence.modules)?;
        let pooling = read("1_Pooling/config.json", &sentence.pooling)?;
        let transformer = read("sentence_bert_config.json", &sentence.transformer)?;
        let prompts = read("config_sentence_transformers.json", &sentence.prompts)?;
        let wrong =
            |message: String| Failure::new(FailureClass::Permanent, format!("{label}: {message}"));
        let normalize = normalizes(&modules).map_err(wrong)?;
        let (query_prefix, passage_prefix) = prefixes(&prompts, label);
        Ok(Self {
            pooling: pooling_of(&pooling)
                .map_err(|message| wrong(format!("1_Pooling/config.json: {message}")))?,
            pool_prefix: pooling
                .get("include_prompt")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            normalize,
            max_tokens: transformer
                .get("max_seq_length")
                .and_then(Value::as_u64)
                .and_then(|tokens| usize::try_from(tokens).ok()),
            lower: transformer
                .get("do_lower_case")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            query_prefix,
            passage_prefix,
        })
    }

    /// What stands before a text.
    pub fn prefix(&self, role: TextRole) -> &str {
        match role {
            TextRole::Query => &self.query_prefix,
            TextRole::Passage => &self.passage_prefix,
        }
    }
}

/// Whether the last module normalises.
fn normalizes(modules: &Value) -> Result<bool, String> {
    let Some(modules) = modules.as_array() else {
        return Ok(true);
    };
    let mut normalizes = false;
    for (index, module) in modules.iter().enumerate() {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type").rsplit('.').next().unwrap_or_default();
        match (index, kind) {
            (0, "Transformer") if text("path").is_empty() => {}
            (0, "Transformer") => {
                return Err(format!(
                    "its weights lie in {}/, which is not supported; save it again with a current sentence-transformers",
                    text("path")
                ));
            }
            (_, "Pooling") => {}
            (_, "Normalize") => normalizes = true,
            (_, kind) => {
                return Err(format!("its module {kind} (modules.json) is not supported"));
            }
        }
    }
    Ok(normalizes)
}

/// From the old form, a flag per mode, or the new one, a word.
fn pooling_of(config: &Value) -> Result<Pooling, String> {
    const MODES: [(&str, &str, Pooling); 5] = [
        ("pooling_mode_cls_token", "cls", Pooling::First),
        ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
        ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
        (
            "pooling_mode_mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
            Pooling::MeanSqrt,
        ),
        ("pooling_mode_max_tokens", "max", Pooling::Max),
    ];
    let Some(config) = config.as_object() else {
        return Ok(Pooling::Mean);
    };
    let words = match config.get("pooling_mode") {
        Some(Value::String(word)) => vec![word.as_str()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => modes_of_flags(config),
    };
    match words.as_slice() {
        [] => Ok(Pooling::Mean),
        [word] => MODES
            .iter()
            .find(|(flag, known, _)| known == word || flag == word)
            .map(|(_, _, pooling)| *pooling)
            .ok_or_else(|| format!("the pooling {word} is not supported")),
        _ => Err(format!(
            "several poolings at once ({}) are not supported",
            words.join(", ")
        )),
    }
}

fn modes_of_flags(config: &Map<String, Value>) -> Vec<&str> {
    config
        .iter()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true))
        .map(|(key, _)| key.as_str())
        .collect()
}

/// The prefixes of queries and passages: the model's own prompts, else what is
/// known of a model of this name.
fn prefixes(config: &Value, label: &str) -> (String, String) {
    let prompts = config.get("prompts").and_then(Value::as_object);
    let prompt = |names: &[&str]| {
        let by_default = config.get("default_prompt_name").and_then(Value::as_str);
        names
            .iter()
            .copied()
            .chain(by_default)
            .find_map(|name| prompts?.get(name)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let own = (
        prompt(&["query"]),
        prompt(&["document", "passage", "corpus"]),
    );
    // Empty prompts are what a library writes when nobody said anything.
    if !own.0.is_empty() || !own.1.is_empty() {
        return own;
    }
    let name = label.rsplit(['/', ':']).next().unwrap_or_default();
    let name = name.split('@').next().unwrap_or_default().to_lowercase();
    CONVENTIONS
        .iter()
        .find(|(start, without, _, _)| name.starts_with(start) && !name.contains(without))
        .map(|(_, _, query, passage)| ((*query).to_owned(), (*passage).to_owned()))
        .unwrap_or_default()
}

/// A small JSON file of a model; null where there is none.
pub fn json(label: &str, name: &str, file: Option<&FileSource>) -> Result<Value, Failure> {
    match file {
        None => Ok(Value::Null),
        Some(file) => serde_json::from_slice(&file.read()?).map_err(|error| {
            Failure::new(
                FailureClass::Permanent,
                format!("the {name} of {label} is no JSON: {error}"),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn poolings_are_read_in_the_old_form_and_the_new() {
        let old = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
        assert_eq!(pooling_of(&old), Ok(Pooling::First));
        let new = json!({"embedding_dimension": 8, "pooling_mode": "lasttoken"});
        assert_eq!(pooling_of(&new), Ok(Pooling::Last));
        assert_eq!(pooling_of(&Value::Null), Ok(Pooling::Mean));
        let both = json!({"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true});
        assert!(pooling_of(&both).unwrap_err().contains("several"));
        let odd = json!({"pooling_mode_weightedmean_tokens": true});
        assert!(pooling_of(&odd).unwrap_err().contains("weightedmean"));
    }

    #[test]
    fn a_model_s_own_prompts_win_over_what_is_known_of_its_name() {
        let own = json!({"prompts": {"query": "ask: ", "document": "tell: "}});
        let of = |config: &Value, label: &str| prefixes(config, label);
        assert_eq!(
            of(&own, "hf:intfloat/e5-small-v2"),
            ("ask: ".to_owned(), "tell: ".to_owned())
        );
        let empty = json!({"prompts": {"query": "", "document": ""}});
        let e5 = ("query: ".to_owned(), "passage: ".to_owned());
        assert_eq!(of(&empty, "hf:intfloat/e5-small-v2@main"), e5);
        assert_eq!(of(&Value::Null, "hf:./models/multilingual-e5-base"), e5);
        let instruct = "hf:intfloat/multilingual-e5-large-instruct";
        assert_eq!(of(&Value::Null, instruct).0, "");
        let by_default = json!({"prompts": {"any": "x "}, "default_prompt_name": "any"});
        assert_eq!(of(&by_default, "m").1, "x ");
    }

    #[test]
    fn only_a_module_that_normalises_normalises() {
        let kind = |name: &str| json!({"path": "", "type": format!("sentence_transformers.models.{name}")});
        let plain = json!([kind("Transformer"), kind("Pooling")]);
        assert_eq!(normalizes(&plain), Ok(false));
        let unit = json!([kind("Transformer"), kind("Pooling"), kind("Normalize")]);
        assert_eq!(normalizes(&unit), Ok(true));
        let dense = json!([kind("Transformer"), kind("Pooling"), kind("Dense")]);
        assert!(normalizes(&dense).unwrap_err().contains("Dense"));
    }
}
