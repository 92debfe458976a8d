use super::{
    CliError, ExitStatus,
    run::{self, How},
    study_file::{self, Overrides, Selection},
};
use crate::runner::Manner;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp resume outputs/quickstart
  ragicamp resume outputs/quickstart --dry-run
  ragicamp resume outputs/quickstart --filter '*_8bit' --batch-size 4

Questions that have an answer are never asked again. Results that are not what
was written (health --deep tells them) are written again from what is kept.")]
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
    crate::runner::grow_in_large_steps();
    let mut file = study_file::open_directory(&args.dir)?;
    args.overrides.apply(&mut file.study)?;
    // To resume is to go on: what is complete stays, unless --force says more.
    study_file::unchanged(&mut file.study);
    let selected = args.selection.select(&file.study)?;
    let manner = Manner {
        force: args.overrides.force,
        is_deep: true,
        ..Manner::default()
    };
    run::execute(&mut file, &selected, &args.how, manner, false)
}
