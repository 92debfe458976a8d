use super::{
    CliError, local_files,
    run::switch,
    words::{count, whole},
};
use crate::{
    artifacts::{ArtifactError, ExperimentDir, StudyDir, studies},
    domain::{BatchSize, ExperimentSpec},
    runner::ProgramCatalog,
    study::{self, Filter, Severity, Shard, Study},
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::Value;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Which experiments of a study.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which experiments")]
pub struct Selection {
    /// Only experiments whose name matches; `!GLOB` excludes.
    #[arg(long, value_name = "GLOB", env = "RAGICAMP_FILTER")]
    pub filter: Vec<String>,
    /// At most this many.
    #[arg(long, value_name = "N", env = "RAGICAMP_LIMIT", value_parser = whole)]
    pub limit: Option<usize>,
    /// One of several equal parts, as 1/4.
    #[arg(long, value_name = "I/N", env = "RAGICAMP_SHARD")]
    pub shard: Option<String>,
}

/// Settings that win over the study's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings that win over the study's")]
pub struct Overrides {
    /// Questions per batch, or auto.
    #[arg(long, value_name = "N", env = "RAGICAMP_BATCH_SIZE", value_parser = batch_size)]
    pub batch_size: Option<BatchSize>,
    /// Leave complete experiments alone even where the study says otherwise.
    #[arg(
        long,
        env = "RAGICAMP_SKIP_EXISTING",
        value_parser = switch
    )]
    pub skip_existing: bool,
    /// Retry failed experiments; start complete and changed ones over (the
    /// old directories are moved aside).
    #[arg(long, env = "RAGICAMP_FORCE", value_parser = switch)]
    pub force: bool,
}

pub fn batch_size(text: &str) -> Result<BatchSize, String> {
    if text == "auto" {
        return Ok(BatchSize::Auto);
    }
    match text.parse() {
        Ok(size) if size > 0 => Ok(BatchSize::Fixed(size)),
        _ => Err("write a number from 1 on, or auto".to_owned()),
    }
}

/// A study as it was read, with the text it was read from.
pub struct StudyFile {
    pub study: Study,
    pub text: String,
    /// Directories against which the study's relative paths are resolved.
    pub bases: Vec<PathBuf>,
}

/// Reads and checks a study; prints its warnings to standard error.
///
/// # Errors
/// Everything that is wrong with it, exit code 2.
pub fn read(path: &Path) -> Result<StudyFile, CliError> {
    read_telling(path, Some(Severity::Warning))
}

/// As [`read`]. What else is to be said where something is wrong: `missing` is
/// how much it matters that a file the study names is not here.
fn read_telling(path: &Path, missing: Option<Severity>) -> Result<StudyFile, CliError> {
    let cannot = || format!("cannot read the study {}", path.display());
    let bytes = fs::read(path)
        .with_context(cannot)
        .map_err(CliError::usage)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        CliError::usage(anyhow!(
            "{}: it is no text in UTF-8 (line {line}); name a study's YAML file",
            cannot()
        ))
    })?;
    let bases = bases(path);
    let study = study::parse(&text, &path.display().to_string(), &ProgramCatalog).map_err(
        |mut problems| {
            if let Some(severity) = missing {
                let missing = local_files::missing(&problems.local_paths, &bases, severity);
                problems.diagnostics.extend(missing);
                problems
                    .diagnostics
                    .sort_by_key(|one| (one.line, one.column));
            }
            let errors = problems.errors();
            let word = if errors == 1 { "problem" } else { "problems" };
            CliError::usage(anyhow!("{problems}\n{errors} {word}; nothing was run"))
        },
    )?;
    for warning in &study.warnings {
        eprintln!("{warning}");
    }
    Ok(StudyFile { study, text, bases })
}

/// A study by its YAML file, or by the directory of one that was run.
/// `missing`: how much it matters that a file the YAML names is not here.
///
/// # Errors
/// As [`read`] and [`open_directory`].
pub fn open(path: &Path, missing: Severity) -> Result<StudyFile, CliError> {
    if path.is_dir() {
        open_directory(path)
    } else {
        read_telling(path, Some(missing))
    }
}

/// The study whose artifacts are in a directory, as it was when it was run.
///
/// # Errors
/// When it is no study's directory, exit code 2.
pub fn open_directory(dir: &Path) -> Result<StudyFile, CliError> {
    let yaml = dir.join("study.yaml");
    if !yaml.is_file() {
        return Err(CliError::usage(anyhow!("{}: {}", dir.display(), hint(dir))));
    }
    // Its relative paths mean other directories, which are not known yet.
    let mut file = read_telling(&yaml, None)?;
    file.study.output_dir = dir.display().to_string();
    // Relative paths meant the directories of the run that began it.
    let manifest = match StudyDir::at(dir).read_manifest() {
        Err(error @ ArtifactError::Newer { .. }) => return Err(CliError::usage(error)),
        manifest => manifest.ok().flatten(),
    };
    if let Some(Value::Array(bases)) = manifest.as_ref().and_then(|manifest| manifest.get("bases"))
    {
        let first: Vec<_> = bases
            .iter()
            .filter_map(Value::as_str)
            .map(PathBuf::from)
            .collect();
        file.bases.splice(0..0, first);
        each_once(&mut file.bases);
    }
    Ok(file)
}

/// What to name instead of a path that is no study's directory.
fn hint(dir: &Path) -> String {
    if dir.is_file() {
        return "it is a file: run a study's YAML with `ragicamp run STUDY.yaml`".to_owned();
    }
    if !dir.is_dir() {
        return "there is no such directory".to_owned();
    }
    if ExperimentDir::new(dir).exists()
        && let Some(study) = parent(dir)
        && study.join("study.yaml").is_file()
    {
        return format!(
            "it is an experiment's directory: name its study's, {}",
            study.display()
        );
    }
    let found = studies(dir).unwrap_or_default();
    match found.iter().find(|path| path.join("study.yaml").is_file()) {
        Some(study) => format!(
            "it is no study's directory, but has studies below it: name one, as {}",
            study.display()
        ),
        None => "it is no study's directory: run the study's YAML with `ragicamp run STUDY.yaml`"
            .to_owned(),
    }
}

/// The directory above one, also above `.`.
fn parent(dir: &Path) -> Option<PathBuf> {
    match (dir.file_name(), dir.parent()) {
        (None, _) => dir.canonicalize().ok()?.parent().map(Path::to_owned),
        (_, Some(parent)) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        (_, parent) => parent.map(Path::to_owned),
    }
}

/// To go on with a study: what is complete stays, whatever the study says.
pub fn unchanged(study: &mut Study) {
    let all = std::iter::once(&mut study.settings).chain(study.overrides.values_mut());
    for settings in all {
        settings.skip_existing = true;
    }
}

/// The working directory, then the study's, then the two above it: a study in
/// `conf/study` may name `conf/data` from anywhere.
fn bases(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut bases: Vec<_> = std::env::current_dir().into_iter().collect();
    bases.extend(absolute.ancestors().skip(1).take(3).map(Path::to_owned));
    each_once(&mut bases);
    bases
}

/// A place is looked at, and named, once.
fn each_once(bases: &mut Vec<PathBuf>) {
    let mut seen = HashSet::new();
    bases.retain(|base| seen.insert(base.clone()));
}

impl Overrides {
    /// Applies them to the study and to its hand-written cells.
    ///
    /// # Errors
    /// When two of them contradict each other.
    pub fn apply(&self, study: &mut Study) -> Result<(), CliError> {
        if self.skip_existing && self.force {
            return Err(CliError::usage(anyhow!(
                "--skip-existing keeps complete experiments and --force starts them over: give one"
            )));
        }
        let all = std::iter::once(&mut study.settings).chain(study.overrides.values_mut());
        for settings in all {
            if let Some(size) = self.batch_size {
                settings.batch_size = size;
            }
            if self.skip_existing {
                settings.skip_existing = true;
            }
        }
        Ok(())
    }
}

impl Selection {
    /// The selected experiments, in their order.
    ///
    /// # Errors
    /// A broken pattern (2), or nothing is selected (3).
    pub fn select(&self, study: &Study) -> Result<Vec<ExperimentSpec>, CliError> {
        let filter = Filter::new(&self.filter).map_err(CliError::usage)?;
        let shard = self
            .shard
            .as_deref()
            .map(str::parse::<Shard>)
            .transpose()
            .map_err(CliError::usage)?;
        let selected = study::select(study.experiments.clone(), &filter, shard, self.limit);
        if self.limit == Some(0) {
            return Err(CliError::nothing_selected(
                "--limit 0 selects nothing; leave it out for all, or write 1 for the first"
                    .to_owned(),
            ));
        }
        if selected.is_empty() {
            let names: Vec<_> = study
                .experiments
                .iter()
                .take(3)
                .map(|spec| spec.name.as_str())
                .collect();
            return Err(CliError::nothing_selected(format!(
                "nothing is selected of the {} of {}; their names are like {}",
                count(study.experiments.len(), "experiment"),
                study.name,
                names.join(", ")
            )));
        }
        Ok(selected)
    }
}
