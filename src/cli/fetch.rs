use super::{
    CliError, ExitStatus,
    run::say,
    study_file::{self, Selection},
};
use crate::{
    domain::{ModelSpec, Provider},
    hub,
    runner::Resources,
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
}

/// Says of each model and dataset whether it is here; exit code 1 when
/// something is still missing.
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
    Ok(ExitStatus(u8::from(missing > 0)))
}
