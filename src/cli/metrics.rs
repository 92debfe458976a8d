//! `ragicamp metrics`: scores for answers that are there.

use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    encoders, experiments, metric_names,
    run::{artifact, say},
    study_file,
};
use crate::{
    analysis::{Cell, Table},
    artifacts::{ExperimentDir, StudyDir},
    domain::{ExperimentSpec, FailureClass, Phase, ScoringModel, ScoringModels},
    metrics::is_judged,
    runner::{
        Judge, MetricModels, RescoreError, Rescored, Resources, Scorer, Shelf, rescore,
        rewrite_tables, why_not_here,
    },
};
use anyhow::anyhow;
use clap::Args;
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Compute or add metrics of finished experiments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp metrics outputs/quickstart -m rouge_l,contains
  ragicamp metrics outputs/quickstart/EXPERIMENT -m f1
  ragicamp metrics outputs/quickstart -m llm_judge       asks the study's judge, once per answer
  ragicamp metrics outputs/quickstart -m bertscore       loads the study's model for it

Only the named metrics are computed; the others stay. No answer is generated again.
Exit code 1 when an experiment is not complete after it.")]
pub struct MetricsArgs {
    /// A study's directory, or an experiment's.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The metrics, with commas between them (default: those of the study).
    #[arg(long, short, value_delimiter = ',')]
    metrics: Vec<String>,
    #[command(flatten)]
    cache: CacheDir,
}

/// The study around the directory, as far as there is one.
struct Around {
    /// Where it is.
    dir: Option<StudyDir>,
    name: String,
    specs: Vec<ExperimentSpec>,
    bases: Vec<PathBuf>,
    metrics: Vec<String>,
    judge: Option<crate::study::LlmJudge>,
    scoring: ScoringModels,
}

pub fn run(args: &MetricsArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let directories = experiments::directories(&args.directory)?;
    let named = metric_names::checked(&args.metrics)?;
    let around = Around::of(&args.directory);
    let resources = Resources::new(around.bases.clone());
    let names = if named.is_empty() {
        around.computable(&resources)
    } else {
        around.check_models(&named, &resources)?;
        named
    };
    if names.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{} says no metrics: name them, as in -m exact_match,f1",
            args.directory.display()
        )));
    }
    if let (Some(judged), None) = (names.iter().find(|name| is_judged(name)), &around.judge) {
        return Err(CliError::usage(anyhow!(
            "the metric {judged} needs a judge: write llm_judge: {{model: 'openai:NAME'}} into {}",
            around.yaml(&args.directory).display()
        )));
    }
    let mut judge = around
        .judge
        .as_ref()
        .map(|judge| Judge::new(judge, &args.cache.path()));
    let specs = specs(&directories);
    let encoders = encoders::at(&args.cache, "auto", around.bases.clone())?;
    let shelf = Mutex::new(Shelf::new(args.cache.path(), &specs, Box::new(encoders)));
    let mut models = MetricModels::new(
        around.scoring.clone(),
        encoders::at(&args.cache, "auto", around.bases.clone())?,
    );
    let mut scorer = Scorer {
        shelf: &shelf,
        resources: &resources,
        judge: judge.as_mut(),
        models: Some(&mut models),
    };
    let mut rows = Vec::new();
    let mut whole = true;
    for dir in &directories {
        match rescore(dir, &names, &mut scorer, &|| true) {
            Ok(Rescored::Done {
                phase,
                metrics,
                uncomputed,
            }) => {
                whole &= phase == Phase::Complete;
                for (name, why) in uncomputed {
                    eprintln!("{}: {name} is not computed: {why}", dir.name());
                }
                let mut row = vec![Cell::Text(dir.name()), Cell::Text(phase.to_string())];
                row.extend(names.iter().map(|name| Cell::estimate(&metrics, name)));
                rows.push(row);
            }
            // Nobody stops it.
            Ok(Rescored::Interrupted) => whole = false,
            Ok(Rescored::LeftAlone(why)) => {
                whole = false;
                eprintln!("{}: left alone: {why}", dir.name());
            }
            Err(RescoreError::Artifact(error)) if error.class() == FailureClass::Environment => {
                return Err(artifact(error));
            }
            Err(error) => {
                whole = false;
                eprintln!("{}: not scored: {error}", dir.name());
            }
        }
    }
    if let Some(study) = &around.dir {
        rewrite_tables(study, &around.name, &around.specs).map_err(artifact)?;
    }
    let headers = ["experiment", "phase"].map(str::to_owned).into_iter();
    let table = Table {
        headers: headers.chain(names).collect(),
        rows,
    };
    if table.rows.is_empty() {
        say(out, "Nothing was scored.")?;
    } else {
        write!(out, "{}", table.to_text())?;
    }
    Ok(ExitStatus(u8::from(!whole)))
}

/// The specs that the directories keep.
fn specs(directories: &[ExperimentDir]) -> Vec<ExperimentSpec> {
    directories
        .iter()
        .filter_map(|dir| dir.metadata().ok()??.spec.as_object().cloned())
        .filter_map(|spec| serde_json::from_value(spec.into()).ok())
        .collect()
}

impl Around {
    /// The study that `directory` is, or that it lies in.
    fn of(directory: &Path) -> Self {
        let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let study = [Some(absolute.as_path()), absolute.parent()]
            .into_iter()
            .flatten()
            .find(|path| path.join("study.yaml").is_file());
        let Some(study) = study else {
            let is_study = !ExperimentDir::new(directory).exists();
            return Self::unknown(is_study.then_some(directory));
        };
        // Answers can be scored whatever this version thinks of the study.
        match study_file::open_directory(study) {
            Ok(file) => Self {
                dir: Some(StudyDir::at(study)),
                name: file.study.name,
                specs: file.study.experiments,
                bases: file.bases,
                metrics: file.study.settings.metrics,
                judge: file.study.llm_judge,
                scoring: file.study.scoring,
            },
            Err(error) => {
                eprintln!("{error}\ngoing on without the study's settings");
                Self::unknown(Some(study))
            }
        }
    }

    /// A study that says nothing of itself.
    fn unknown(study: Option<&Path>) -> Self {
        let dir = study.map(StudyDir::at);
        Self {
            name: dir.as_ref().map(StudyDir::name).unwrap_or_default(),
            dir,
            specs: Vec::new(),
            bases: std::env::current_dir().into_iter().collect(),
            metrics: Vec::new(),
            judge: None,
            scoring: ScoringModels::default(),
        }
    }

    /// The study's own metrics, without those whose model is not here.
    fn computable(&self, resources: &Resources) -> Vec<String> {
        let mut names = self.metrics.clone();
        names.retain(|name| match self.why_not(name, resources) {
            None => true,
            Some(why) => {
                eprintln!("the metric {name} is not computed: {why}");
                false
            }
        });
        names
    }

    /// Whether the models of named metrics can be had.
    fn check_models(&self, names: &[String], resources: &Resources) -> Result<(), CliError> {
        let first = names
            .iter()
            .find_map(|name| Some((name, self.why_not(name, resources)?)));
        match first {
            None => Ok(()),
            Some((name, why)) => Err(CliError::usage(anyhow!(
                "the metric {name} is not computed: {why}"
            ))),
        }
    }

    fn why_not(&self, name: &str, resources: &Resources) -> Option<String> {
        let model = self.scoring.get(ScoringModel::of(name)?);
        why_not_here(model, resources, true, &mut |remark| eprintln!("{remark}"))
    }

    fn yaml(&self, directory: &Path) -> PathBuf {
        let place = self.dir.as_ref().map_or(directory, StudyDir::path);
        place.join("study.yaml")
    }
}
