use super::{FileSource, HubError, ModelFiles, SentenceFiles, WeightFiles};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The small files that are used when they are there.
pub const SMALL_FILES: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    MODULES,
    POOLING,
    TRANSFORMER,
    PROMPTS,
];

// What sentence-transformers models bring.
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const TRANSFORMER: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";

/// The name of an unsharded weights file.
pub const SINGLE: &str = "model.safetensors";

/// The name of the list of shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Collects the files of a model in Hugging Face layout.
pub fn files(
    label: &str,
    directory: &Path,
    revision: Option<String>,
) -> Result<ModelFiles, HubError> {
    let optional = |name: &str| {
        let path = directory.join(name);
        path.is_file().then_some(FileSource::Path(path))
    };
    let required = |name: &str, hint: &str| {
        optional(name).ok_or_else(|| incomplete(label, directory, name, hint))
    };
    let config = required("config.json", "")?;
    let tokenizer_hint = if directory.join("tokenizer.model").is_file() {
        ", converted from tokenizer.model with transformers' AutoTokenizer.save_pretrained"
    } else {
        ""
    };
    let tokenizer = required("tokenizer.json", tokenizer_hint)?;
    Ok(ModelFiles {
        label: label.to_owned(),
        config: Some(config),
        tokenizer: Some(tokenizer),
        tokenizer_config: optional("tokenizer_config.json"),
        chat_template: optional("chat_template.jinja"),
        generation_config: optional("generation_config.json"),
        sentence: SentenceFiles {
            modules: optional(MODULES),
            pooling: optional(POOLING),
            transformer: optional(TRANSFORMER),
            prompts: optional(PROMPTS),
        },
        weights: WeightFiles::Safetensors(weights(label, directory)?),
        revision,
    })
}

fn incomplete(label: &str, directory: &Path, file: &str, hint: &str) -> HubError {
    HubError::Incomplete {
        model: label.to_owned(),
        file: file.to_owned(),
        directory: directory.to_path_buf(),
        hint: hint.to_owned(),
    }
}

fn weights(label: &str, directory: &Path) -> Result<Vec<PathBuf>, HubError> {
    let single = directory.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = directory.join(INDEX);
    if index.is_file() {
        let text = std::fs::read(&index).map_err(|source| HubError::Unreadable {
            path: index.clone(),
            source,
        })?;
        let shards = shard_names(&text).map_err(|reason| HubError::Damaged {
            path: index,
            reason,
        })?;
        return shards
            .into_iter()
            .map(|shard| {
                let path = directory.join(&shard);
                if path.is_file() {
                    Ok(path)
                } else {
                    Err(incomplete(label, directory, &shard, ""))
                }
            })
            .collect();
    }
    match pickle(directory) {
        Some(file) => Err(HubError::PickleOnly {
            model: label.to_owned(),
            file,
        }),
        None => Err(incomplete(label, directory, SINGLE, "")),
    }
}

fn pickle(directory: &Path) -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_pickle(name))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// Whether a file name is that of pickle weights.
pub fn is_pickle(name: &str) -> bool {
    let is_weights = name.starts_with("pytorch_model") || name.starts_with("consolidated");
    is_weights
        && [".bin", ".pt", ".pth"]
            .iter()
            .any(|end| name.ends_with(end))
        || name == "pytorch_model.bin.index.json"
}

/// The files that a list of shards names, each once, sorted.
///
/// # Errors
/// What is wrong with the list.
pub fn shard_names(index: &[u8]) -> Result<Vec<String>, String> {
    let index: serde_json::Value =
        serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let map = index
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or("it has no weight_map")?;
    let names = map
        .values()
        .map(|name| match name.as_str() {
            // A shard lies beside its list: a path could lead anywhere.
            Some(name) if !name.is_empty() && !name.contains(['/', '\\']) => Ok(name.to_owned()),
            _ => Err(format!("weight_map names {name}, which is no file name")),
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    if names.is_empty() {
        return Err("its weight_map is empty".to_owned());
    }
    Ok(names.into_iter().collect())
}
