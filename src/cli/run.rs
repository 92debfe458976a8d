use super::{
    CliError, ExitStatus,
    cache_dir::CacheDir,
    local_files,
    progress::{self, Style},
    study_file::{self, Overrides, Selection, StudyFile},
    summary, table,
    words::{count, positive, whole},
};
use crate::{
    artifacts::{ArtifactError, StudyDir, studies},
    cluster::{self, Submission},
    domain::{ExperimentSpec, FailureClass},
    runner::{
        self, DeviceError, LaneDevice, Machine, Manner, Plan, Resources, RunError, RunOptions,
        StudyRun, WorkerProgram, grow_in_large_steps,
    },
    study::Severity,
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How to run, common to `run` and `resume`.
#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub struct How {
    /// Say what would happen to each experiment, and do nothing.
    #[arg(long, env = "RAGICAMP_DRY_RUN", value_parser = switch)]
    pub dry_run: bool,
    /// Where models run: cpu, cuda, cuda:N or auto.
    #[arg(long, default_value = "auto", env = "RAGICAMP_DEVICE")]
    pub device: String,
    /// One worker on each of several devices: all, 0,1, GPU-uuid, MIG-uuid or
    /// cpu; numbers count what CUDA_VISIBLE_DEVICES shows.
    #[arg(
        long,
        value_name = "LIST",
        env = "RAGICAMP_DEVICES",
        conflicts_with = "device"
    )]
    pub devices: Option<String>,
    /// Workers on the CPU, which share its cores and memory.
    #[arg(long, value_name = "N", env = "RAGICAMP_WORKERS", value_parser = positive)]
    pub workers: Option<NonZeroUsize>,
    /// Stop at the first experiment that fails; what other devices run is
    /// finished.
    #[arg(long, env = "RAGICAMP_FAIL_FAST", value_parser = switch)]
    pub fail_fast: bool,
    /// Time limit per experiment, as 3600, 90m or 2h.
    #[arg(long, value_name = "TIME", env = "RAGICAMP_TIMEOUT", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Events (or, with --dry-run, the plan) as JSON lines on standard output.
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    pub json: bool,
    #[command(flatten)]
    pub cache: CacheDir,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp run conf/study/quickstart.yaml
  ragicamp run study.yaml --dry-run
  ragicamp run study.yaml --filter '*_8bit' --filter '!*triviaqa*'
  ragicamp run study.yaml --device cuda:1 --batch-size 16 --timeout 2h
  ragicamp run study.yaml --devices all
  ragicamp run study.yaml --shard 3/8             the third of eight parts, for any cluster
  ragicamp run study.yaml --device cpu --workers 4

Running it again goes on where it stopped; a second run at the same time takes the
experiments that are free. Every flag can be set as RAGICAMP_<FLAG>.")]
pub struct RunArgs {
    /// The study's YAML file, or the directory of one that was run.
    study: PathBuf,
    /// Check the study and do nothing else.
    #[arg(long, env = "RAGICAMP_VALIDATE", value_parser = switch)]
    validate: bool,
    /// Where artifacts go; wins over the study's output_dir.
    #[arg(long, value_name = "DIR", env = "RAGICAMP_OUTPUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// The experiments of one model: the first model's with 0, and so on.
    #[arg(
        long,
        value_name = "I",
        env = "RAGICAMP_INDEX",
        value_parser = whole,
        help_heading = "Which experiments"
    )]
    index: Option<usize>,
    /// With --index: the tasks of a submission, instead of one per model.
    #[arg(
        long,
        value_name = "FILE",
        env = "RAGICAMP_TASKS",
        requires = "index",
        help_heading = "Which experiments"
    )]
    tasks: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    how: How,
}

/// What an environment variable may say to set a flag that takes no value.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0".to_owned()),
    }
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err("write seconds, or 90m, 2h, 1d".to_owned()),
    };
    number
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds * factor).ok())
        .ok_or_else(|| "write seconds, or 90m, 2h, 1d".to_owned())
}

pub fn run(args: &RunArgs) -> Result<ExitStatus, CliError> {
    grow_in_large_steps();
    let missing = match args.validate {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let mut file = study_file::open(&args.study, missing)?;
    let is_directory = args.study.is_dir();
    if is_directory {
        study_file::unchanged(&mut file.study);
    }
    if let Some(output) = &args.output {
        file.study.output_dir = output.display().to_string();
    }
    args.overrides.apply(&mut file.study)?;
    let mut selected = args.selection.select(&file.study)?;
    if let Some(index) = args.index {
        selected = task(selected, index, args.tasks.as_deref())?;
    }
    if args.validate {
        local_files::check(&file.study, &file.bases)?;
        let experiments = file.study.experiments.len();
        let line = match args.how.json {
            true => json!({
                "study": file.study.name,
                "file": args.study.display().to_string(),
                "experiments": experiments,
                "valid": true,
            })
            .to_string(),
            false => format!(
                "{}: {}, nothing is wrong",
                args.study.display(),
                count(experiments, "experiment")
            ),
        };
        say(&mut std::io::stdout(), &line)?;
        return Ok(ExitStatus::OK);
    }
    // A directory keeps the text that it has, unless it goes elsewhere.
    let keep_yaml = !is_directory || args.output.is_some();
    execute(
        &mut file,
        &selected,
        &args.how,
        Manner {
            force: args.overrides.force,
            ..Manner::default()
        },
        keep_yaml,
    )
}

/// One task's part of what is selected.
fn task(
    selected: Vec<ExperimentSpec>,
    index: usize,
    file: Option<&Path>,
) -> Result<Vec<ExperimentSpec>, CliError> {
    let tasks = match file {
        Some(path) => Submission::load(path).map_err(CliError::usage)?.tasks,
        None => cluster::group(&selected, None),
    };
    let Some(task) = tasks.get(index) else {
        return Err(CliError::usage(anyhow!(
            "--index {index}: there are {} tasks, from 0 on",
            tasks.len()
        )));
    };
    let names: HashSet<&str> = task.experiments.iter().map(String::as_str).collect();
    let part: Vec<_> = selected
        .into_iter()
        .filter(|spec| names.contains(spec.name.as_str()))
        .collect();
    if part.len() < names.len() {
        return Err(CliError::usage(anyhow!(
            "--index {index}: the study does not have (or the filter leaves out) {} of the task's \
             {} experiments; submit it again with `ragicamp submit`",
            names.len() - part.len(),
            names.len()
        )));
    }
    Ok(part)
}

/// Plans and runs `selected` of a study. `keep_yaml`: the study's copy in the
/// directory is replaced by this text.
pub fn execute(
    file: &mut StudyFile,
    selected: &[ExperimentSpec],
    how: &How,
    manner: Manner,
    keep_yaml: bool,
) -> Result<ExitStatus, CliError> {
    let output = PathBuf::from(&file.study.output_dir);
    let output = output.as_path();
    let mut resources = Resources::new(file.bases.clone());
    for sentence in runner::withhold_metrics(
        &mut file.study,
        selected,
        &StudyDir::at(output),
        &resources,
        !how.dry_run,
        &mut |remark| eprintln!("{remark}"),
    ) {
        eprintln!("warning: {sentence}");
    }
    let file = &*file;
    let study = &file.study;
    let planned = planned(file, selected, output, &mut resources, manner)?;
    if let Some(remark) = table::more_than_asked(study, &planned) {
        eprintln!("warning: {remark}");
    }
    for remark in table::outdated(&planned) {
        eprintln!("warning: {remark}");
    }
    // What is complete in a directory needs its files no more.
    if how.dry_run || keep_yaml {
        local_files::warn(study, &file.bases);
    }
    if how.dry_run {
        if keep_yaml {
            refuse_foreign(output, file)?;
        }
        table::print_plan(study, selected, &planned, output, how)?;
        return Ok(ExitStatus::OK);
    }
    refuse_changed(planned.changed())?;
    let devices = lanes(how)?;

    if keep_yaml {
        // Whoever starts some over by force may do so one after the other.
        let besides = match manner.force {
            true => Vec::new(),
            false => {
                runner::changed_besides(study, selected, &StudyDir::at(output)).map_err(artifact)?
            }
        };
        let besides = besides.iter();
        refuse_changed(besides.map(|(name, differences)| (name.as_str(), differences.as_slice())))?;
        refuse_foreign(output, file)?;
    }
    let dir = StudyDir::create(output).map_err(artifact)?;
    if keep_yaml {
        dir.write_study(&file.text).map_err(artifact)?;
    }
    dir.write_manifest(&manifest(file, &dir))
        .map_err(artifact)?;
    let options = RunOptions {
        force: manner.force,
        is_deep: manner.is_deep,
        fail_fast: how.fail_fast,
        devices,
        timeout: how.timeout,
        worker: WorkerProgram::itself().context("cannot find this program")?,
        bases: file.bases.clone(),
        cache: how.cache.path(),
    };
    let style = Style::detect(how.json);
    let lost = Arc::default();
    let mut listener = progress::listener(style, &options.devices, &lost);
    let report = StudyRun::new(study, selected, &dir, &options, &resources, &mut *listener)
        .map_err(|error| match error {
            RunError::Artifact(error) => artifact(error),
            RunError::Signals(_) => CliError::environment(error),
        })?
        .run();
    drop(listener);
    let code = report.exit_code();
    if !how.json {
        let printed = summary::print(study, &report, &dir, &mut std::io::stdout().lock());
        // Whoever does not read the summary is told all the same how it ended.
        if code == 0 {
            printed?;
        }
    }
    if code == 0 && lost.load(Ordering::Relaxed) {
        // It was said when it happened.
        return Ok(ExitStatus(4));
    }
    Ok(ExitStatus(code))
}

pub fn planned(
    file: &StudyFile,
    selected: &[ExperimentSpec],
    output: &Path,
    resources: &mut Resources,
    manner: Manner,
) -> Result<Plan, CliError> {
    // A plan only looks, also where there is nothing yet to look at.
    let dir = StudyDir::at(output);
    if let Err(error @ ArtifactError::Newer { .. }) = dir.read_manifest() {
        return Err(artifact(error));
    }
    runner::plan(&file.study, selected, &dir, resources, manner).map_err(artifact)
}

pub fn refuse_changed<'a>(
    changed: impl Iterator<Item = (&'a str, &'a [String])>,
) -> Result<(), CliError> {
    let mut lines = Vec::new();
    for (name, differences) in changed {
        lines.push(format!("{name}: {}", differences.join("; ")));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let more = lines.len().saturating_sub(20);
    lines.truncate(20);
    if more > 0 {
        lines.push(format!("... and {more} more"));
    }
    Err(CliError::usage(anyhow!(
        "the output directory holds other experiments under the same names:\n  {}\n\
         nothing was run; give the study another name or output_dir, or start these over with \
         --force --filter NAME (the old directories are moved aside)",
        lines.join("\n  ")
    )))
}

/// A directory belongs to one study: neither another one's files nor a
/// `study.yaml` that somebody wrote there by hand is replaced.
pub fn refuse_foreign(output: &Path, file: &StudyFile) -> Result<(), CliError> {
    if let Some(no_place) = output.ancestors().find(|path| path.exists())
        && !no_place.is_dir()
    {
        return Err(CliError::usage(anyhow!(
            "{} is no directory, and {:?} needs one to write to: give it another output_dir, or \
             --output DIR",
            no_place.display(),
            file.study.name
        )));
    }
    let dir = StudyDir::at(output);
    let path = output.join("study.yaml");
    let name = &file.study.name;
    let there = match dir.read_manifest() {
        Ok(Some(manifest)) => manifest["study"].as_str().map(str::to_owned),
        _ => None,
    };
    let text = std::fs::read_to_string(&path).ok();
    let of_text = |text: &str| -> Option<String> {
        let value: Value = serde_yaml::from_str(text).ok()?;
        value["name"].as_str().map(str::to_owned)
    };
    let there = match (there, &text) {
        (Some(there), _) => there,
        (None, None) if !path.exists() => return refuse_to_hide(output, name),
        (None, Some(text)) if *text == file.text => return Ok(()),
        (None, text) => text.as_deref().and_then(of_text).unwrap_or_default(),
    };
    if there == *name {
        return Ok(());
    }
    let holds = match there.is_empty() {
        true => format!("{} is no study that was run there", path.display()),
        false => format!("{} holds the study {there:?}", output.display()),
    };
    Err(CliError::usage(anyhow!(
        "{holds}, and this one is {name:?}: give it an output_dir of its own, or --output DIR"
    )))
}

/// A study in a directory of studies would stand before them: whoever looks
/// there sees it alone.
fn refuse_to_hide(output: &Path, name: &str) -> Result<(), CliError> {
    // What can not be listed yet may still be made.
    let found = studies(output).unwrap_or_default();
    match found.iter().find(|path| path.parent() == Some(output)) {
        None => Ok(()),
        Some(other) => Err(CliError::usage(anyhow!(
            "{} holds other studies, as {}, which {name:?} would hide: give it a directory of its \
             own with output_dir or --output, e.g. {}",
            output.display(),
            other.display(),
            output.join(name).display()
        ))),
    }
}

/// The devices to run on, each with its worker.
pub fn lanes(how: &How) -> Result<Vec<LaneDevice>, CliError> {
    let machine = Machine::here();
    let refused = |error: DeviceError| match error {
        DeviceError::Usage(_) => CliError::usage(error),
        DeviceError::Missing(_) => CliError::environment(error),
    };
    let on_cpu = match &how.devices {
        Some(list) => list.trim() == "cpu",
        None => how.device == "cpu" || (how.device == "auto" && !cfg!(feature = "cuda")),
    };
    if let Some(workers) = how.workers.filter(|workers| workers.get() > 1) {
        if !on_cpu {
            return Err(CliError::usage(anyhow!(
                "--workers {workers}: several workers are for the CPU (--device cpu); a GPU has \
                 one, and --devices names several GPUs"
            )));
        }
        return machine.processor(workers).map_err(refused);
    }
    match &how.devices {
        Some(list) => machine.devices(list).map_err(refused),
        None => {
            check_device(&how.device)?;
            Ok(vec![LaneDevice::alone(&how.device)])
        }
    }
}

pub fn check_device(device: &str) -> Result<(), CliError> {
    #[cfg(feature = "inference")]
    device
        .parse::<crate::inference::Device>()
        .map_err(|error| CliError::usage(anyhow!("--device: {error}")))?;
    if device.starts_with("cuda") && !cfg!(feature = "cuda") {
        return Err(CliError::environment(anyhow!(
            "--device {device}: this build is for the CPU only; build it with --features cuda"
        )));
    }
    Ok(())
}

pub fn manifest(file: &StudyFile, dir: &StudyDir) -> Value {
    let mut manifest = match dir.read_manifest() {
        Ok(Some(Value::Object(manifest))) => manifest,
        _ => serde_json::Map::new(),
    };
    manifest.insert("study".to_owned(), json!(file.study.name));
    if !file.study.description.is_empty() {
        let description = file.study.description.as_str();
        manifest.insert("description".to_owned(), json!(description));
    }
    manifest.insert("ragicamp".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    // Those of a search are chosen one after the other: none is waited for.
    let is_chosen = |name: &String| {
        let search = file.study.search.as_ref();
        search.is_none_or(|search| !search.cells.contains(name))
    };
    let names = file.study.experiments.iter().map(|spec| &spec.name);
    manifest.insert(
        "experiments".to_owned(),
        names.filter(|name| is_chosen(name)).cloned().collect(),
    );
    manifest.insert("bases".to_owned(), json!(file.bases));
    manifest.insert(
        "features".to_owned(),
        json!({
            "inference": cfg!(feature = "inference"),
            "index": cfg!(feature = "index"),
            "cuda": cfg!(feature = "cuda"),
        }),
    );
    Value::Object(manifest)
}

/// An artifact's error with the exit code of its class.
pub fn artifact(error: ArtifactError) -> CliError {
    let advice = error.advice();
    let class = error.class();
    let error = match advice {
        Some(advice) => anyhow!("{error}. {advice}"),
        None => error.into(),
    };
    if class == FailureClass::Environment {
        CliError::environment(error)
    } else {
        CliError::usage(error)
    }
}

/// Flushes a line of output; a closed pipe is no error of ours.
pub fn say(out: &mut dyn Write, line: &str) -> Result<(), CliError> {
    writeln!(out, "{line}").map_err(CliError::from)
}
