use serde::Serialize;
use serde_json::Value;

/// A task of an array as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    /// The job's name.
    pub name: String,
    /// The array's job id, or the job's own.
    pub job_id: u64,
    /// Its number in the array; `None` for a job that is no array.
    pub task_id: Option<usize>,
    /// Where it stands.
    pub state: TaskState,
    /// The cluster's word for that.
    pub word: String,
    /// Where it runs; empty while it waits.
    pub nodes: String,
}

/// Whether a task still takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for its turn.
    Waiting,
    /// It runs, or is about to start or end.
    Running,
    /// It is over, however that came.
    Over,
}

impl TaskState {
    fn of(word: &str) -> Self {
        match word {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD"
            | "SPECIAL_EXIT" => Self::Waiting,
            "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL"
            | "OUT_OF_MEMORY" | "PREEMPTED" | "REVOKED" | "TIMEOUT" => Self::Over,
            // CONFIGURING, RUNNING, SUSPENDED, COMPLETING, and words to come:
            // whoever is not known to be over may still be at work.
            _ => Self::Running,
        }
    }
}

/// Reads what `squeue --json` says. Its shape differs between versions: a
/// state is a word or a list of words, a number is a number or an object that
/// says whether it is set; tasks that wait stand together as `3,5-7%2`.
///
/// # Errors
/// One sentence when it is something else.
pub fn parse_queue(text: &str) -> Result<Vec<QueuedTask>, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Some(jobs) = value.get("jobs").and_then(Value::as_array) else {
        return Err("it has no list of jobs".to_owned());
    };
    let mut tasks = Vec::new();
    for job in jobs {
        let Some(own) = number(&job["job_id"]) else {
            return Err("a job has no job_id".to_owned());
        };
        let array = number(&job["array_job_id"]).filter(|&id| id != 0);
        let word = word(&job["job_state"]);
        let make = |task_id| QueuedTask {
            name: job["name"].as_str().unwrap_or_default().to_owned(),
            job_id: array.unwrap_or(own),
            task_id,
            state: TaskState::of(&word),
            word: word.clone(),
            nodes: job["nodes"].as_str().unwrap_or_default().to_owned(),
        };
        let together = job["array_task_string"].as_str().unwrap_or_default();
        match number(&job["array_task_id"]) {
            Some(id) if array.is_some() => tasks.push(make(usize::try_from(id).ok())),
            _ if !together.is_empty() => {
                tasks.extend(expand(together).into_iter().map(|id| make(Some(id))));
            }
            _ => tasks.push(make(None)),
        }
    }
    Ok(tasks)
}

/// `5` or `{"set": true, "infinite": false, "number": 5}`.
fn number(value: &Value) -> Option<u64> {
    if value.is_object() {
        let is_set = value["set"].as_bool().unwrap_or(true);
        return value["number"].as_u64().filter(|_| is_set);
    }
    value.as_u64()
}

/// `"RUNNING"` or `["RUNNING", "COMPLETING"]`: the first is the state, the
/// others what happens to it; one that is to come again still waits.
fn word(value: &Value) -> String {
    let words: Vec<&str> = match value {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let again = words.iter().find(|word| word.starts_with("REQUEUE"));
    again
        .or(words.first())
        .copied()
        .unwrap_or("UNKNOWN")
        .to_owned()
}

/// `3,5-9:2%4` are the tasks 3, 5, 7 and 9, four at a time.
fn expand(text: &str) -> Vec<usize> {
    let list = text.split('%').next().unwrap_or_default();
    let mut tasks = Vec::new();
    for part in list.trim_matches(['[', ']']).split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse::<usize>()) else {
            continue;
        };
        let step = step.parse().unwrap_or(1).max(1);
        tasks.extend((first..=last).step_by(step));
    }
    tasks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waiting_tasks_that_stand_together_are_told_apart() {
        let tasks = parse_queue(
            r#"{"jobs": [{"job_id": 9, "array_job_id": 9, "array_task_id": null,
                "array_task_string": "3,5-9:2%4", "job_state": "PENDING", "name": "n"}]}"#,
        )
        .unwrap();
        let ids: Vec<_> = tasks.iter().filter_map(|task| task.task_id).collect();
        assert_eq!(ids, [3, 5, 7, 9]);
        assert!(tasks.iter().all(|task| task.state == TaskState::Waiting));
    }

    #[test]
    fn the_shapes_of_older_and_newer_versions_say_the_same() {
        let older = r#"{"jobs": [{"job_id": 12, "array_job_id": 9, "array_task_id": 0,
            "array_task_string": "", "job_state": "RUNNING", "name": "n", "nodes": "n1"}]}"#;
        let newer = r#"{"jobs": [{"job_id": 12,
            "array_job_id": {"set": true, "infinite": false, "number": 9},
            "array_task_id": {"set": true, "infinite": false, "number": 0},
            "array_task_string": "", "job_state": ["RUNNING"], "name": "n", "nodes": "n1"}]}"#;
        let older = parse_queue(older).unwrap();
        assert_eq!(older, parse_queue(newer).unwrap());
        assert_eq!((older[0].job_id, older[0].task_id), (9, Some(0)));
        assert_eq!(older[0].state, TaskState::Running);
    }

    #[test]
    fn a_job_that_is_no_array_has_no_task() {
        let single = r#"{"jobs": [{"job_id": 4, "array_job_id": 0, "array_task_id": null,
            "job_state": "COMPLETED", "name": "tables"}]}"#;
        let tasks = parse_queue(single).unwrap();
        assert_eq!((tasks[0].job_id, tasks[0].task_id), (4, None));
        assert_eq!(tasks[0].state, TaskState::Over);
    }

    #[test]
    fn a_word_that_is_not_known_counts_as_at_work() {
        assert_eq!(TaskState::of("STAGE_OUT"), TaskState::Running);
        assert_eq!(TaskState::of("SOMETHING_NEW"), TaskState::Running);
    }

    #[test]
    fn a_task_that_is_to_come_again_still_waits() {
        let state = word(&serde_json::json!(["COMPLETED", "REQUEUED"]));
        assert_eq!(TaskState::of(&state), TaskState::Waiting);
    }

    #[test]
    fn what_is_no_answer_of_squeue_is_said() {
        assert!(parse_queue("slurm is away").is_err());
        assert!(parse_queue("{}").is_err());
    }
}
