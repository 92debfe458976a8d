use super::{
    CliError, ExitStatus,
    run::{artifact, say, switch},
    study_file,
    table::{self, table},
    words::count,
};
use crate::{
    artifacts::{StudyDir, StudyHealth, scan},
    cluster::{self, QueuedTask, Slurm, Submission, TaskState},
    domain::{ExperimentSpec, Phase},
    runner,
};
use clap::Args;
use serde_json::{Value, json};
use std::{collections::HashMap, io::Write, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ragicamp status outputs/study
  ragicamp status outputs/study --json
  ragicamp status outputs/study --tables      render results.csv and the summary first")]
pub struct StatusArgs {
    /// The study's directory.
    dir: PathBuf,
    /// Render the study's tables from what its experiments left.
    #[arg(long)]
    tables: bool,
    /// Print JSON.
    #[arg(long, env = "RAGICAMP_JSON", value_parser = switch)]
    json: bool,
}

/// A task of a submission, as the cluster and the study see it.
struct TaskStatus<'a> {
    number: usize,
    task: &'a cluster::Task,
    /// The cluster's word; `None`: it knows nothing of it any more.
    queued: Option<&'a QueuedTask>,
    complete: usize,
    failed: usize,
}

pub fn run(args: &StatusArgs, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
    // Also tells a directory that is none from one without submissions.
    let file = study_file::open_directory(&args.dir)?;
    let dir = StudyDir::at(&args.dir);
    if args.tables {
        let study = &file.study;
        runner::rewrite_tables(&dir, &study.name, &study.experiments).map_err(artifact)?;
    }
    let health = scan(&args.dir, false).map_err(artifact)?;
    let submissions = cluster::submissions(&dir).map_err(super::submit::unusable)?;
    // The study's own state is worth showing without the cluster's.
    let queue = if submissions.is_empty() {
        Ok(Vec::new())
    } else {
        Slurm.queue()
    };
    let (queue, silence) = match queue {
        Ok(queue) => (queue, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let phases: HashMap<&str, Phase> = health
        .experiments
        .iter()
        .filter_map(|experiment| Some((experiment.name.as_str(), experiment.phase?)))
        .collect();
    // Directories may be there of experiments that the study has no more.
    let of_study = || file.study.experiments.iter();
    let count = |phase: Phase| {
        let has = |spec: &&ExperimentSpec| phases.get(spec.name.as_str()) == Some(&phase);
        of_study().filter(has).count()
    };
    let total = file.study.to_run();
    let (complete, failed) = (count(Phase::Complete), count(Phase::Failed));
    if args.json {
        let submissions: Vec<Value> = submissions
            .iter()
            .map(|submission| submission_json(submission, &queue, &phases))
            .collect();
        let value = json!({
            "study": file.study.name,
            "experiments": total,
            "complete": complete,
            "unsuccessful": failed,
            "submissions": submissions,
            "cluster_error": silence,
        });
        say(
            out,
            &serde_json::to_string_pretty(&value).unwrap_or_default(),
        )?;
        return Ok(ExitStatus::OK);
    }
    say(
        out,
        &format!(
            "{}: {complete} of {total} experiments complete, {failed} failed, {} left",
            file.study.name,
            total.saturating_sub(complete + failed)
        ),
    )?;
    owners(&health, out)?;
    for submission in &submissions {
        print(submission, &queue, silence.is_none(), &phases, out)?;
    }
    if let Some(silence) = silence {
        say(
            out,
            &format!("where its tasks stand is not known: {silence}"),
        )?;
    }
    Ok(ExitStatus::OK)
}

fn owners(health: &StudyHealth, out: &mut dyn Write) -> Result<(), CliError> {
    for experiment in &health.experiments {
        if let Some(owner) = &experiment.owner {
            say(
                out,
                &format!(
                    "  {} at {}/{}: {owner}",
                    experiment.name, experiment.answered, experiment.total
                ),
            )?;
        }
    }
    Ok(())
}

/// The tasks of a submission, joined with the queue and the study.
fn join<'a>(
    submission: &'a Submission,
    queue: &'a [QueuedTask],
    phases: &HashMap<&str, Phase>,
) -> Vec<TaskStatus<'a>> {
    let queued: HashMap<usize, &QueuedTask> = submission
        .in_queue(queue)
        .filter_map(|task| Some((task.task_id?, task)))
        .collect();
    submission
        .tasks
        .iter()
        .enumerate()
        .map(|(number, task)| {
            let count = |phase: Phase| {
                let names = task.experiments.iter();
                names
                    .filter(|name| phases.get(name.as_str()) == Some(&phase))
                    .count()
            };
            TaskStatus {
                number,
                task,
                queued: queued.get(&number).copied(),
                complete: count(Phase::Complete),
                failed: count(Phase::Failed),
            }
        })
        .collect()
}

fn print(
    submission: &Submission,
    queue: &[QueuedTask],
    is_known: bool,
    phases: &HashMap<&str, Phase>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let tasks = join(submission, queue, phases);
    let job = match submission.array_job_id {
        Some(id) => format!("job {id}"),
        None => "was not accepted, or the answer was lost".to_owned(),
    };
    say(
        out,
        &format!(
            "submission {} of {}: {job}, {}",
            submission.run_id,
            submission.submitted_at,
            count(tasks.len(), "task")
        ),
    )?;
    let is_over = tasks.iter().all(|task| {
        task.queued
            .is_none_or(|queued| queued.state == TaskState::Over)
    });
    let has_all = tasks
        .iter()
        .all(|task| task.complete == task.task.experiments.len());
    if is_over && has_all {
        return say(out, "  everything in it is complete");
    }
    let mut rows = table(["task", "state", "node", "complete", "failed", "model"]);
    for status in &tasks {
        let (word, nodes) = match status.queued {
            Some(queued) => (queued.word.clone(), queued.nodes.clone()),
            None if is_known => ("gone".to_owned(), String::new()),
            None => ("?".to_owned(), String::new()),
        };
        rows.add_row([
            status.number.to_string(),
            word,
            nodes,
            format!("{}/{}", status.complete, status.task.experiments.len()),
            status.failed.to_string(),
            status.task.model.clone(),
        ]);
    }
    table::print(&rows, out)
}

fn submission_json(
    submission: &Submission,
    queue: &[QueuedTask],
    phases: &HashMap<&str, Phase>,
) -> Value {
    let tasks: Vec<Value> = join(submission, queue, phases)
        .into_iter()
        .map(|status| {
            json!({
                "task": status.number,
                "model": status.task.model,
                "experiments": status.task.experiments,
                "state": status.queued.map(|queued| queued.state),
                "slurm_state": status.queued.map(|queued| queued.word.clone()),
                "node": status.queued.map(|queued| queued.nodes.clone()),
                "complete": status.complete,
                "unsuccessful": status.failed,
            })
        })
        .collect();
    json!({
        "run_id": submission.run_id,
        "submitted_at": submission.submitted_at,
        "array_job_id": submission.array_job_id,
        "aggregate_job_id": submission.aggregate_job_id,
        "tasks": tasks,
    })
}
