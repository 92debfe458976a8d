use super::{
    CliError, ExitStatus,
    run::{self, artifact, say},
    study_file::{self, Selection, batch_size, unchanged},
    words::{positive, whole},
};
use crate::{
    artifacts::StudyDir,
    cluster::{
        self, ClusterSettings, Slurm, SlurmError, Submission, SubmissionError, TaskState,
        aggregate_script, array_script,
    },
    domain::{BatchSize, ExperimentSpec},
    runner::{Action, Manner, Resources},
    study::Severity,
};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use std::{
    collections::HashSet,
    fs,
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

/// Who runs the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Slurm, by its commands on this machine.
    Slurm,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp submit study.yaml --engine slurm --partition gpu --gpus 1 --time 8:00:00
  ragicamp submit study.yaml --cluster conf/clusters/slurm-gpu.yaml --max-parallel 8
  ragicamp submit study.yaml --print
  ragicamp submit outputs/study            what is outstanding, again

A task has the experiments of one model, so that it loads it once. Submitting again
submits only what is outstanding; complete experiments stay. The study's directory has
to be one that all nodes see under the same path.")]
pub struct SubmitArgs {
    /// The study's YAML file, or the directory of one that was run or submitted.
    study: PathBuf,
    /// Who runs the tasks.
    #[arg(long, value_enum, default_value = "slurm", env = "RAGICAMP_ENGINE")]
    engine: Engine,
    /// Show the scripts and submit nothing.
    #[arg(long)]
    print: bool,
    /// A file with these options as keys, as in conf/clusters; flags win.
    #[arg(long, value_name = "FILE", env = "RAGICAMP_CLUSTER")]
    cluster: Option<PathBuf>,
    /// Where artifacts go; wins over the study's output_dir.
    #[arg(long, value_name = "DIR", env = "RAGICAMP_OUTPUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Questions per batch, or auto; wins over the study's.
    #[arg(long, value_name = "N", env = "RAGICAMP_BATCH_SIZE", value_parser = batch_size)]
    batch_size: Option<BatchSize>,
    #[command(flatten)]
    asked: Asked,
}

/// What each task gets.
#[derive(Debug, Args)]
#[command(next_help_heading = "What each task gets")]
struct Asked {
    /// The partition.
    #[arg(long, value_name = "P")]
    partition: Option<String>,
    /// The account that pays.
    #[arg(long, value_name = "A")]
    account: Option<String>,
    /// GPUs; with several, each runs a worker.
    #[arg(long, value_name = "N", value_parser = whole)]
    gpus: Option<usize>,
    /// Time limit, as 8:00:00.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Memory, as 32G.
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// Processor cores.
    #[arg(long, value_name = "N", value_parser = positive)]
    cpus_per_task: Option<NonZeroUsize>,
    /// Tasks at the same time.
    #[arg(long, value_name = "N", value_parser = positive)]
    max_parallel: Option<NonZeroUsize>,
    /// Experiments per task; all of a model unless given.
    #[arg(long, value_name = "N", value_parser = positive)]
    per_task: Option<NonZeroUsize>,
    /// Seconds before its end at which a task saves and asks to be requeued.
    #[arg(long, value_name = "SECONDS")]
    notice: Option<u32>,
    /// A further option for sbatch, as --sbatch-arg=--constraint=a100.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch_arg: Vec<String>,
}

impl Asked {
    fn settings(&self) -> ClusterSettings {
        ClusterSettings {
            partition: self.partition.clone(),
            account: self.account.clone(),
            gpus: self.gpus,
            time: self.time.clone(),
            mem: self.mem.clone(),
            cpus_per_task: self.cpus_per_task,
            max_parallel: self.max_parallel,
            per_task: self.per_task,
            notice: self.notice,
            sbatch_args: self.sbatch_arg.clone(),
            setup: Vec::new(),
        }
    }
}

pub fn run(args: &SubmitArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let Engine::Slurm = args.engine;
    let settings = settings(args)?;
    let mut file = study_file::open(&args.study, Severity::Warning)?;
    if let Some(output) = &args.output {
        file.study.output_dir = output.display().to_string();
    }
    unchanged(&mut file.study);
    let selected = args.selection.select(&file.study)?;
    // A task starts elsewhere than this program.
    let root = std::path::absolute(&file.study.output_dir)
        .with_context(|| format!("cannot find {}", file.study.output_dir))?;
    let dir = StudyDir::at(&root);
    let mut resources = Resources::new(file.bases.clone());
    let plan = run::planned(&file, &selected, &root, &mut resources, Manner::default())?;
    run::refuse_changed(plan.changed())?;

    let queued = queued(&dir, args.print)?;
    let (mut outstanding, mut busy, mut complete) = (Vec::new(), 0, 0);
    // Of a searched grid the cells that are left are left out, once enough of
    // them were tried.
    let search = file.study.search.as_ref();
    let search = search.filter(|search| search.is_over(|name| dir.experiment(name).exists()));
    let is_left_out = |name: &String| search.is_some_and(|search| search.cells.contains(name));
    for (spec, planned) in selected.iter().zip(&plan.experiments) {
        match planned.action {
            Action::New if is_left_out(&spec.name) => complete += 1,
            Action::Complete | Action::Unavailable { .. } => complete += 1,
            Action::Owned { .. } => busy += 1,
            _ if queued.contains(&spec.name) => busy += 1,
            _ => outstanding.push(spec.clone()),
        }
    }
    if outstanding.is_empty() {
        say(
            out,
            &format!(
                "{}: nothing to submit: {complete} of {} need nothing, {busy} are queued or \
                 running",
                file.study.name,
                selected.len()
            ),
        )?;
        return Ok(ExitStatus::OK);
    }
    let mut submission = Submission::new(
        &file.study.name,
        cluster::group(&outstanding, settings.per_task),
    );
    let program = std::env::current_exe().context("cannot find this program")?;
    let options = options(args, &settings);
    let array = array_script(&submission, &dir, &program, &settings, &options);
    let tables = aggregate_script(&submission, &dir, &program, &settings);
    if args.print {
        write!(out, "{array}")?;
        say(out, "\n# After it, with --dependency=afterany:JOB\n")?;
        write!(out, "{tables}")?;
        return Ok(ExitStatus::OK);
    }

    if !args.study.is_dir() || args.output.is_some() {
        run::refuse_foreign(&root, &file)?;
    }
    StudyDir::create(&root).map_err(artifact)?;
    if !args.study.is_dir() || args.output.is_some() {
        dir.write_study(&file.text).map_err(artifact)?;
    }
    dir.write_manifest(&run::manifest(&file, &dir))
        .map_err(artifact)?;
    // Written before the cluster knows of it: a job without a note would be
    // one that nobody finds again.
    submission.save(&dir).map_err(unusable)?;
    let id = match Slurm.submit(&array, &[]) {
        Ok(id) => id,
        Err(error) => match accepted_all_the_same(&submission, &dir, &error) {
            Some(id) => id,
            None => return Err(refused(error)),
        },
    };
    submission.array_job_id = Some(id);
    submission.save(&dir).map_err(unusable)?;
    let after = [format!("--dependency=afterany:{id}")];
    // The experiments are on their way all the same.
    match Slurm.submit(&tables, &after) {
        Ok(id) => submission.aggregate_job_id = Some(id),
        Err(error) => eprintln!(
            "warning: the cluster takes no job for the study's tables ({error}): write them with \
             `ragicamp status {} --tables` when job {id} is done",
            dir.path().display()
        ),
    }
    submission.save(&dir).map_err(unusable)?;
    report(&submission, &outstanding, busy, complete, &dir, out)
}

fn report(
    submission: &Submission,
    outstanding: &[ExperimentSpec],
    busy: usize,
    complete: usize,
    dir: &StudyDir,
    out: &mut dyn Write,
) -> Result<ExitStatus, CliError> {
    let beside = match (busy, complete) {
        (0, 0) => String::new(),
        (busy, complete) => format!("; {busy} are queued or running, {complete} need nothing"),
    };
    let count = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    say(
        out,
        &format!(
            "{}: submitted {} in {} as job {}{beside}",
            submission.study,
            count(outstanding.len(), "experiment"),
            count(submission.tasks.len(), "task"),
            submission.array_job_id.unwrap_or_default(),
        ),
    )?;
    let path = dir.path().display();
    say(
        out,
        &format!("logs: {}", submission.directory(dir).display()),
    )?;
    say(out, &format!("next: ragicamp status {path}"))?;
    Ok(ExitStatus::OK)
}

/// Whether the cluster took an array although sbatch failed: its answer may
/// have been lost on the way. Where it did not, there is nothing to remember;
/// where nobody can tell, the note stays.
fn accepted_all_the_same(
    submission: &Submission,
    dir: &StudyDir,
    error: &SlurmError,
) -> Option<u64> {
    let queue = match error {
        SlurmError::Missing { .. } => Vec::new(),
        _ => Slurm.queue().ok()?,
    };
    let id = submission.in_queue(&queue).next().map(|task| task.job_id);
    if id.is_none() {
        let _ = fs::remove_dir_all(submission.directory(dir));
    }
    id
}

fn settings(args: &SubmitArgs) -> Result<ClusterSettings, CliError> {
    let given = args.asked.settings();
    let settings = match &args.cluster {
        None => given,
        Some(path) => given.or(template(path)?),
    };
    settings
        .check()
        .map_err(|error| match &args.cluster {
            Some(path) => anyhow!("{}: {error}", path.display()),
            None => anyhow!(error),
        })
        .map_err(CliError::usage)?;
    Ok(settings)
}

fn template(path: &Path) -> Result<ClusterSettings, CliError> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the cluster file {}", path.display()))
        .map_err(CliError::usage)?;
    serde_yaml::from_str(&text)
        .map_err(|error| CliError::usage(anyhow!("{}: {error}", path.display())))
}

/// What goes on to the tasks' `run`.
fn options(args: &SubmitArgs, settings: &ClusterSettings) -> Vec<String> {
    let mut options = Vec::new();
    if settings.gpus.is_some_and(|gpus| gpus > 1) {
        options.extend(["--devices".to_owned(), "all".to_owned()]);
    }
    if let Some(size) = args.batch_size {
        let size = match size {
            BatchSize::Auto => "auto".to_owned(),
            BatchSize::Fixed(size) => size.to_string(),
        };
        options.extend(["--batch-size".to_owned(), size]);
    }
    options
}

/// Experiments that the cluster still has from earlier submissions. To show a
/// script the cluster need not answer.
fn queued(dir: &StudyDir, print: bool) -> Result<HashSet<String>, CliError> {
    let earlier = cluster::submissions(dir).map_err(unusable)?;
    if earlier.is_empty() {
        return Ok(HashSet::new());
    }
    let queue = match Slurm.queue() {
        Ok(queue) => queue,
        Err(error) if print => {
            eprintln!("what is queued already is not known: {error}");
            return Ok(HashSet::new());
        }
        Err(error) => return Err(refused(error)),
    };
    let mut names = HashSet::new();
    for submission in &earlier {
        for task in submission.in_queue(&queue) {
            let its = task.task_id.and_then(|id| submission.tasks.get(id));
            if task.state != TaskState::Over
                && let Some(its) = its
            {
                names.extend(its.experiments.iter().cloned());
            }
        }
    }
    Ok(names)
}

/// Slurm's refusal as the program's: its environment, not its configuration.
pub fn refused(error: SlurmError) -> CliError {
    CliError::environment(error)
}

pub fn unusable(error: SubmissionError) -> CliError {
    CliError::environment(error)
}
