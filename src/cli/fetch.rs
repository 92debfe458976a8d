use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    run::say,
    study_file::{self, Selection},
};
use crate::{
    domain::{ModelSpec, Provider},
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
    let corpora: BTreeSet<&str> = selected
        .iter()
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
