use super::{
    CliError, ExitStatus,
    run::{self, How},
    study_file::{self, Overrides, Selection, StudyFile},
};
use crate::artifacts::StudyDir;
use anyhow::anyhow;
use clap::Args;
use serde_json::Value;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp resume outputs/quickstart
  ragicamp resume outputs/quickstart --dry-run
  ragicamp resume outputs/quickstart --filter '*_8bit' --batch-size 4

Questions that have an answer are never asked again.")]
pub struct ResumeArgs {
    /// The study's directory.
    dir: PathBuf,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    how: How,
}

pub fn run(args: &ResumeArgs) -> Result<ExitStatus, CliError> {
    let mut file = study_of(&args.dir)?;
    args.overrides.apply(&mut file.study)?;
    // To resume is to go on: what is complete stays, unless --force says more.
    let study = &mut file.study;
    let all = std::iter::once(&mut study.settings).chain(study.overrides.values_mut());
    for settings in all {
        settings.skip_existing = true;
    }
    let selected = args.selection.select(&file.study)?;
    run::execute(&file, &selected, &args.how, args.overrides.force, false)
}

/// The study whose directory this is, from its own copy of the YAML.
///
/// # Errors
/// When the directory is no study's; exit code 2.
pub fn study_of(dir: &Path) -> Result<StudyFile, CliError> {
    let yaml = dir.join("study.yaml");
    if !yaml.is_file() {
        let hint = if dir.is_dir() {
            "it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`"
        } else if dir.is_file() {
            "it is a file: run a study's YAML with `ragicamp run STUDY.yaml`"
        } else {
            "there is no such directory"
        };
        return Err(CliError::usage(anyhow!("{}: {hint}", dir.display())));
    }
    let mut file = study_file::read(&yaml)?;
    file.study.output_dir = dir.display().to_string();
    // Relative paths meant the directories of the run that began it.
    let manifest = StudyDir::at(dir).read_manifest().ok().flatten();
    if let Some(Value::Array(bases)) = manifest.as_ref().and_then(|manifest| manifest.get("bases"))
    {
        let first: Vec<_> = bases
            .iter()
            .filter_map(Value::as_str)
            .map(PathBuf::from)
            .collect();
        file.bases.splice(0..0, first);
        let mut seen = HashSet::new();
        file.bases.retain(|base| seen.insert(base.clone()));
    }
    Ok(file)
}
