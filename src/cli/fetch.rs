use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    run::say,
    study_file::{self, Selection},
};
use crate::{
    domain::{ExperimentSpec, ModelSpec, Provider, embedding_model, reranking_model},
    hub,
    runner::{Resources, Shelf},
};
use clap::Args;
use std::{collections::BTreeSet, io::Write, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Compute nodes often have no network: fetch on a node that has one, then run with
HF_HUB_OFFLINE=1.")]
pub struct FetchArgs {
    /// The study's YAML file.
    study: PathBuf,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cache: CacheDir,
}

/// Brings what the study needs, and says of each model, dataset and index
/// whether it is here; exit code 1 when something is still missing.
pub fn run(args: &FetchArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let file = study_file::read(&args.study)?;
    let selected = args.selection.select(&file.study)?;
    let mut missing = 0;
    let models: BTreeSet<ModelSpec> = selected
        .iter()
        .flat_map(|spec| std::iter::once(spec.model.clone()).chain(encoders(spec)))
        .collect();
    for model in &models {
        if matches!(model.provider, Provider::Openai | Provider::Vllm) {
            continue;
        }
        let fetched = hub::fetch(model, &mut |progress| {
            if progress.bytes >= progress.total {
                eprintln!("{model}: {} ({} bytes)", progress.file, progress.total);
            }
        });
        match fetched {
            Ok(_) => say(out, &format!("model    {model}: here"))?,
            Err(error) => {
                missing += 1;
                say(out, &format!("model    {model}: {error}"))?;
            }
        }
    }
    let mut resources = Resources::new(file.bases.clone());
    let datasets: BTreeSet<_> = selected.iter().map(|spec| &spec.dataset).collect();
    for dataset in datasets {
        match resources.dataset(dataset, None) {
            Ok(loaded) => say(
                out,
                &format!(
                    "dataset  {}: here, {} questions",
                    dataset.name,
                    loaded.questions.len()
                ),
            )?,
            Err(error) => {
                missing += 1;
                say(out, &format!("dataset  {}: {error}", dataset.name))?;
            }
        }
    }
    let mut shelf = Shelf::new(args.cache.path(), &selected);
    let mut seen = BTreeSet::new();
    for spec in &selected {
        let Some(retriever) = &spec.retriever else {
            continue;
        };
        if !seen.insert(serde_json::to_string(retriever).unwrap_or_default()) {
            continue;
        }
        match shelf.prepare(spec, &resources, &mut |text| eprintln!("{text}")) {
            Ok(()) => say(out, &format!("index    {}: here", retriever.name))?,
            Err(failure) => {
                missing += 1;
                say(
                    out,
                    &format!("index    {}: {}", retriever.name, failure.message),
                )?;
            }
        }
    }
    Ok(ExitStatus(u8::from(missing > 0)))
}

/// The embedding model and the reranker of an experiment, where it has them
/// and their names are any.
fn encoders(spec: &ExperimentSpec) -> Vec<ModelSpec> {
    let embedding = spec
        .retriever
        .as_ref()
        .and_then(|retriever| retriever.embedding.as_deref())
        .and_then(|name| embedding_model(name).ok());
    let reranker = spec
        .options
        .get("reranker")
        .and_then(|reranker| reranker.get("model")?.as_str())
        .and_then(|name| reranking_model(name).ok());
    embedding.into_iter().chain(reranker).collect()
}
