//! What the numbers of a study were made of and on: for `manifest.json`, and
//! to compare with what is there now.

use super::{batches, resources::Resources};
use crate::{
    artifacts::{Metadata, StudyDir},
    domain::ExperimentSpec,
    study::Study,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, path::Path};

/// What of a model's description says which one it is.
const OF_MODEL: [&str; 6] = [
    "model",
    "revision",
    "quantization",
    "compute",
    "weights_sha256",
    "tokenizer_sha256",
];

/// Counts that say what the executor's decisions came to.
const OF_BATCHES: [&str; 5] = [
    "batches",
    "batch_sizes",
    "batch_size_changes",
    "batch_failures",
    "worker_restarts",
];

/// Adds to a study's manifest what its experiments say they were made of and
/// on: every machine, model and index once, the seeds, and the sizes that
/// batches really had, by model. Experiments that never ran say nothing.
pub fn record(study: &Study, dir: &StudyDir, manifest: &mut Map<String, Value>) {
    let (mut environments, mut models, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
    let mut seeds: BTreeSet<u64> = BTreeSet::new();
    let mut sizes = Map::new();
    for spec in &study.experiments {
        let Ok(Some(metadata)) = dir.experiment(&spec.name).metadata() else {
            continue;
        };
        once(&mut environments, &metadata.environment);
        once(&mut models, &chosen(&metadata.model, &OF_MODEL));
        once(&mut indexes, &metadata.index);
        seeds.insert(spec.generation.seed);
        let counts = OF_BATCHES
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), metadata.counts.get(*key)?.clone())))
            .collect();
        let whose = format!("{} {}", spec.model, spec.quantization);
        let whose = Map::from_iter([(whose, Value::Object(counts))]);
        batches::add(&mut sizes, &whose);
    }
    for (key, found) in [
        ("environments", environments),
        ("models", models),
        ("indexes", indexes),
    ] {
        manifest.insert(key.to_owned(), Value::Array(found));
    }
    manifest.insert("seeds".to_owned(), json!(seeds));
    manifest.insert("batches".to_owned(), Value::Object(sizes));
}

fn once(all: &mut Vec<Value>, one: &Value) {
    let is_empty = match one {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !is_empty && !all.contains(one) {
        all.push(one.clone());
    }
}

fn chosen(value: &Value, keys: &[&str]) -> Value {
    keys.iter()
        .filter_map(|key| Some(((*key).to_owned(), value.get(key)?.clone())))
        .collect::<Map<_, _>>()
        .into()
}

/// What an experiment would be made of and on now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ingredients {
    environment: Value,
    dataset: Value,
    model: Value,
    index: Value,
}

impl Ingredients {
    /// Those that an experiment's record tells.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            environment: metadata.environment.clone(),
            dataset: metadata.dataset.clone(),
            model: metadata.model.clone(),
            index: metadata.index.clone(),
        }
    }

    /// Those that are here now, as far as they can be told before anything is
    /// loaded; what is not here is left out, and the run will say so. The
    /// hashes of files that were read before are kept below `cache`.
    pub fn here(
        spec: &ExperimentSpec,
        environment: Value,
        resources: &mut Resources,
        cache: &Path,
    ) -> Self {
        let dataset = resources
            .dataset(&spec.dataset, Some(1))
            .map_or(Value::Null, |dataset| about_dataset(&dataset));
        Self {
            environment,
            dataset,
            model: model(spec, resources, cache),
            index: Value::Null,
        }
    }

    /// How others differ, a sentence each; what one of both does not know is
    /// no difference.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, was: &Value, is: &Value, keys: &[(&str, &str)]| {
            for (key, name) in keys {
                if let (Some(was), Some(is)) = (was.get(key), is.get(key))
                    && was != is
                    && !was.is_null()
                    && !is.is_null()
                {
                    found.push(format!(
                        "{what}{name}: {} then, {} now",
                        shown(was),
                        shown(is)
                    ));
                }
            }
        };
        compare(
            "",
            &self.environment,
            &now.environment,
            &[
                ("ragicamp", "the program's version"),
                ("git_revision", "the program's revision"),
                ("features", "the program's features"),
                ("cpu", "the processor"),
                ("gpus", "the GPUs"),
                ("driver", "the driver"),
            ],
        );
        let keys = [("sha256", "'s checksum"), ("revision", "'s revision")];
        compare("the dataset", &self.dataset, &now.dataset, &keys);
        let keys = [
            ("weights_sha256", "'s weights"),
            ("tokenizer_sha256", "'s tokenizer"),
            ("revision", "'s revision"),
            ("device", "'s device"),
            ("compute", "'s arithmetic"),
        ];
        compare("the model", &self.model, &now.model, &keys);
        compare("the index", &self.index, &now.index, &[("identity", "")]);
        found
    }
}

/// What a record says of a dataset.
pub fn about_dataset(dataset: &crate::datasets::Dataset) -> Value {
    json!({
        "source": dataset.source.display().to_string(),
        "revision": dataset.revision,
        "sha256": dataset.checksum,
    })
}

/// The hashes of a model's files, by the names that its worker gives them.
#[cfg(feature = "inference")]
fn model(spec: &ExperimentSpec, resources: &Resources, cache: &Path) -> Value {
    use crate::{domain::Provider, hub, inference};
    if matches!(spec.model.provider, Provider::Openai | Provider::Vllm) {
        return Value::Null;
    }
    let here = resources
        .bases()
        .iter()
        .map(|base| Some(base.as_path()))
        .chain([None])
        .find_map(|base| hub::locate(&spec.model, base).ok());
    here.map_or(Value::Null, |files| {
        let [weights, tokenizer] = inference::identity(&files, cache);
        json!({
            "revision": files.revision,
            "weights_sha256": weights,
            "tokenizer_sha256": tokenizer,
        })
    })
}

/// Without inference no local model runs.
#[cfg(not(feature = "inference"))]
fn model(_: &ExperimentSpec, _: &Resources, _: &Path) -> Value {
    Value::Null
}

/// A hash is told by its beginning.
fn shown(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hash {
        true => format!("{}...", &text[..12]),
        false => text,
    }
}
