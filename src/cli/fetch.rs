use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    encoders,
    run::say,
    study_file::{self, Selection, StudyFile},
    words::count,
};
use crate::{
    domain::{ExperimentSpec, ModelSpec, Provider, ScoringModel, embedding_model, reranking_model},
    hub,
    runner::{self, Resources, Shelf},
};
use clap::Args;
use std::{collections::BTreeSet, io::Write, ops::ControlFlow, path::PathBuf};

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

/// Brings what the study needs, and says of each model, dataset, corpus and
/// index whether it is here; exit code 1 when something is still missing.
pub fn run(args: &FetchArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let file = study_file::read(&args.study)?;
    let selected = args.selection.select(&file.study)?;
    let mut missing = 0;
    let models: BTreeSet<&ModelSpec> = selected.iter().map(|spec| &spec.model).collect();
    for model in models {
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
    missing += fetch_encoders(&file, &selected, out)?;
    let mut resources = Resources::new(file.bases.clone());
    let datasets: BTreeSet<_> = selected.iter().map(|spec| &spec.dataset).collect();
    for dataset in datasets {
        let fetched = resources.fetch_dataset(dataset, None, &mut |progress| {
            if let Some(progress) = progress
                && progress.bytes >= progress.total
            {
                eprintln!(
                    "{}: {} ({} bytes)",
                    dataset.name, progress.file, progress.total
                );
            }
        });
        match fetched {
            Ok(loaded) => say(
                out,
                &format!(
                    "dataset  {}: here, {}",
                    dataset.name,
                    count(loaded.questions.len(), "question")
                ),
            )?,
            Err(error) => {
                missing += 1;
                say(out, &format!("dataset  {}: {error}", dataset.name))?;
            }
        }
    }
    let corpora: BTreeSet<&str> = selected
        .iter()
        .filter(|spec| !spec.reads_own_passages())
        .filter_map(|spec| Some(spec.retriever.as_ref()?.corpus.as_str()))
        .collect();
    for corpus in corpora {
        if !resources.is_on_hub(corpus) {
            continue;
        }
        let fetched = resources.corpus(corpus, &mut |progress| {
            if let Some(progress) = progress
                && progress.bytes >= progress.total
            {
                eprintln!("{corpus}: {} ({} bytes)", progress.file, progress.total);
            }
        });
        match fetched {
            Ok(_) => say(out, &format!("corpus   {corpus}: here"))?,
            Err(error) => {
                missing += 1;
                say(out, &format!("corpus   {corpus}: {error}"))?;
            }
        }
    }
    let mut shelf = Shelf::new(
        args.cache.path(),
        &selected,
        Box::new(encoders::at(&args.cache, "auto", file.bases.clone())?),
    );
    let mut seen = BTreeSet::new();
    for spec in &selected {
        let Some(retriever) = spec
            .retriever
            .as_ref()
            .filter(|_| !spec.reads_own_passages())
        else {
            continue;
        };
        if !seen.insert(serde_json::to_string(retriever).unwrap_or_default()) {
            continue;
        }
        let prepared = shelf.prepare(retriever, &resources, &mut |remark| {
            if let Some(remark) = remark {
                eprintln!("{remark}");
            }
            ControlFlow::Continue(())
        });
        match prepared {
            Ok(_) => say(out, &format!("index    {}: here", retriever.name))?,
            Err(failure) => {
                missing += 1;
                say(
                    out,
                    &format!("index    {}: {}", retriever.name, failure.message),
                )?;
            }
        }
    }
    shelf.release_models();
    Ok(ExitStatus(u8::from(missing > 0)))
}

/// Whether the embedding models, the rerankers and the models of metrics are
/// here, fetched where they were not. Returns how many are missing.
fn fetch_encoders(
    file: &StudyFile,
    selected: &[ExperimentSpec],
    out: &mut dyn Write,
) -> Result<usize, CliError> {
    let mut models = BTreeSet::new();
    for spec in selected {
        let embedding = spec.retriever.as_ref().and_then(|r| r.embedding.as_deref());
        models.extend(embedding.map(|model| ("embedder", embedding_model(model))));
        let reranker = spec
            .options
            .get("reranker")
            .and_then(|r| r["model"].as_str());
        models.extend(reranker.map(|model| ("reranker", reranking_model(model))));
    }
    let scoring = &file.study.scoring;
    for spec in selected {
        let metrics = &file.study.settings_for(&spec.name).metrics;
        let asked = metrics.iter().filter_map(|name| ScoringModel::of(name));
        models.extend(asked.map(|which| ("scorer  ", Ok(scoring.get(which).clone()))));
    }
    let mut missing = 0;
    for (what, model) in models {
        let (name, fetched) = match model {
            Ok(model) => (
                model.to_string(),
                runner::fetch_encoder(&model, &file.bases),
            ),
            Err(why) => (String::new(), Err(why)),
        };
        match fetched {
            Ok(()) => say(out, &format!("{what} {name}: here"))?,
            Err(why) => {
                missing += 1;
                say(out, &format!("{what} {name}: {why}"))?;
            }
        }
    }
    Ok(missing)
}
