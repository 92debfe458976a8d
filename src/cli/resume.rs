use super::{
    CliError, ExitStatus,
    run::{self, How},
    study_file::{self, Overrides, Selection},
};
use anyhow::anyhow;
use clap::Args;
use std::path::PathBuf;

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
    let yaml = args.dir.join("study.yaml");
    if !yaml.is_file() {
        let hint = if args.dir.is_dir() {
            "it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`"
        } else if args.dir.is_file() {
            "it is a file: run a study's YAML with `ragicamp run STUDY.yaml`"
        } else {
            "there is no such directory"
        };
        return Err(CliError::usage(anyhow!("{}: {hint}", args.dir.display())));
    }
    let mut file = study_file::kept(&args.dir)?;
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
