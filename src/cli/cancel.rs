use super::{
    CliError, ExitStatus,
    run::{artifact, duration, say},
    study_file,
    submit::{refused, unusable},
};
use crate::{
    artifacts::StudyDir,
    cluster::{self, QueuedTask, Slurm, SlurmError, Submission, TaskState},
    runner::{self, Ended},
};
use clap::Args;
use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A look at the queue costs the controller something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp cancel outputs/study
  ragicamp cancel outputs/study --grace 5m

Tasks that wait are taken off the queue, tasks that run save their state and end. Nothing
that was answered is lost: `ragicamp submit` or `ragicamp resume` goes on.")]
pub struct CancelArgs {
    /// The study's directory.
    dir: PathBuf,
    /// How long running tasks may take to save their state.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    grace: Duration,
}

pub fn run(args: &CancelArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    let file = study_file::open_directory(&args.dir)?;
    let dir = StudyDir::at(&args.dir);
    let submissions = cluster::submissions(&dir).map_err(unusable)?;
    if submissions.is_empty() {
        say(
            out,
            &format!("{}: nothing was submitted", args.dir.display()),
        )?;
        return Ok(ExitStatus::OK);
    }
    let queue = Slurm.queue().map_err(refused)?;
    let before = active(&submissions, &queue);
    let jobs: Vec<(String, u64)> = submissions
        .iter()
        .flat_map(|submission| jobs(submission, &queue))
        .collect();
    if before > 0 {
        // First what waits, so that nothing starts in the place of what ends.
        for (name, job) in &jobs {
            forget_unknown(Slurm.cancel_waiting(name, *job))?;
        }
        for (name, job) in &jobs {
            forget_unknown(Slurm.ask_to_end(name, *job))?;
        }
        let deadline = Instant::now() + args.grace;
        while Instant::now() < deadline
            && active(&submissions, &Slurm.queue().map_err(refused)?) > 0
        {
            std::thread::sleep(LOOK_EVERY);
        }
        for (name, job) in &jobs {
            forget_unknown(Slurm.end(name, *job))?;
        }
    }
    let (mut marked, mut owned) = (0, Vec::new());
    for submission in &submissions {
        for name in submission.tasks.iter().flat_map(|task| &task.experiments) {
            match runner::interrupt(&dir.experiment(name)).map_err(artifact)? {
                Ended::Marked => marked += 1,
                Ended::OwnedBy(owner) => owned.push(format!("{name}: still {owner}")),
                Ended::Before => {}
            }
        }
    }
    say(
        out,
        &format!(
            "{}: {before} tasks cancelled, {marked} experiments marked as interrupted",
            file.study.name
        ),
    )?;
    for line in owned {
        say(out, &line)?;
    }
    say(
        out,
        &format!("next: ragicamp resume {}", args.dir.display()),
    )?;
    Ok(ExitStatus::OK)
}

/// Names and numbers of a submission's jobs; where sbatch's answer was lost,
/// the number is the queue's.
fn jobs(submission: &Submission, queue: &[QueuedTask]) -> Vec<(String, u64)> {
    let seen = || submission.in_queue(queue).next().map(|task| task.job_id);
    let array = submission.array_job_id.or_else(seen);
    let tables = submission.aggregate_job_id;
    array
        .map(|id| (submission.job_name(), id))
        .into_iter()
        .chain(tables.map(|id| (submission.aggregate_name(), id)))
        .collect()
}

/// Tasks that wait or run.
fn active(submissions: &[Submission], queue: &[QueuedTask]) -> usize {
    submissions
        .iter()
        .flat_map(|submission| submission.in_queue(queue))
        .filter(|task| task.state != TaskState::Over)
        .count()
}

/// A job that is over can not be cancelled, which is what was wanted.
fn forget_unknown(result: Result<(), SlurmError>) -> Result<(), CliError> {
    match result {
        Err(SlurmError::Refused { message, .. })
            if message.contains("Invalid job id") || message.contains("already comp") =>
        {
            Ok(())
        }
        other => other.map_err(refused),
    }
}
