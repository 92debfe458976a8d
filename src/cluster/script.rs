use super::{settings::ClusterSettings, submission::Submission};
use crate::artifacts::StudyDir;
use std::path::Path;

/// Seconds before the time limit at which a task is told to save.
const NOTICE: u32 = 120;

/// The script of the array: each task runs its experiments, and asks to be
/// queued again when its time is nearly up.
///
/// `program` is this program and `options` go to its `run`, as
/// `--devices all`.
pub fn array_script(
    submission: &Submission,
    dir: &StudyDir,
    program: &Path,
    settings: &ClusterSettings,
    options: &[String],
) -> String {
    let logs = submission.directory(dir);
    let last = submission.tasks.len().saturating_sub(1);
    let parallel = match settings.max_parallel {
        Some(most) => format!("%{most}"),
        None => String::new(),
    };
    let mut head = vec![
        format!("--job-name={}", submission.job_name()),
        format!("--array=0-{last}{parallel}"),
        "--requeue".to_owned(),
        "--open-mode=append".to_owned(),
        format!("--output={}", logs.join("%A_%a.log").display()),
        // To the script alone, which passes it on and knows how to go on.
        format!("--signal=B:USR1@{}", settings.notice.unwrap_or(NOTICE)),
    ];
    head.extend(resources(settings));
    let words: Vec<String> = [
        "run".to_owned(),
        dir.path().display().to_string(),
        "--tasks".to_owned(),
        submission.file(dir).display().to_string(),
    ]
    .into_iter()
    .chain(options.iter().cloned())
    .map(|word| quoted(&word))
    .collect();
    format!(
        r#"#!/bin/bash
{head}
# {tasks} tasks of the study {study}; which experiments each has stands in
# {file}
{setup}
if [ -n "${{SLURM_CPUS_PER_TASK:-}}" ]; then
  export RAYON_NUM_THREADS="${{RAYON_NUM_THREADS:-$SLURM_CPUS_PER_TASK}}"
fi
echo "task $SLURM_ARRAY_TASK_ID on $(hostname), start ${{SLURM_RESTART_COUNT:-0}}"
{program} {words} --index "$SLURM_ARRAY_TASK_ID" &
child=$!
nearly_over=
trap 'nearly_over=yes; kill -USR1 "$child" 2>/dev/null' USR1
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
# A signal ends the wait, not the work.
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
# Interrupted in good order because the time is nearly up: the rest later.
if [ -n "$nearly_over" ] && [ "$code" -gt 128 ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" && sleep 60
fi
exit "$code"
"#,
        head = directives(&head),
        tasks = submission.tasks.len(),
        study = submission.study,
        file = submission.file(dir).display(),
        setup = settings.setup.join("\n"),
        program = quoted(&program.display().to_string()),
        words = words.join(" "),
    )
}

/// The script that renders the study's tables when the array is over.
pub fn aggregate_script(
    submission: &Submission,
    dir: &StudyDir,
    program: &Path,
    settings: &ClusterSettings,
) -> String {
    let log = submission.directory(dir).join("tables.log");
    let mut head = vec![
        format!("--job-name={}", submission.aggregate_name()),
        "--open-mode=append".to_owned(),
        format!("--output={}", log.display()),
    ];
    let small = ClusterSettings {
        gpus: None,
        cpus_per_task: None,
        mem: settings.mem.as_ref().map(|_| "1G".to_owned()),
        sbatch_args: without_gpus(&settings.sbatch_args),
        ..settings.clone()
    };
    head.extend(resources(&small));
    format!(
        "#!/bin/bash\n{}\n{}\nexec {} status {} --tables\n",
        directives(&head),
        settings.setup.join("\n"),
        quoted(&program.display().to_string()),
        quoted(&dir.path().display().to_string()),
    )
}

/// Options of sbatch but for those that ask for GPUs, or for so much of
/// something for each.
fn without_gpus(options: &[String]) -> Vec<String> {
    let is_of_gpus = |option: &&String| {
        let name = option.split(['=', ' ']).next().unwrap_or_default();
        name == "-G" || name == "--gres" || name.starts_with("--gpu") || name.ends_with("-gpu")
    };
    let others = options.iter().filter(|option| !is_of_gpus(option));
    others.cloned().collect()
}

fn directives(options: &[String]) -> String {
    let lines: Vec<_> = options
        .iter()
        .map(|option| format!("#SBATCH {}", quoted(option)))
        .collect();
    lines.join("\n")
}

fn resources(settings: &ClusterSettings) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            options.push(format!("--{name}={value}"));
        }
    };
    add("partition", settings.partition.clone());
    add("account", settings.account.clone());
    add("time", settings.time.clone());
    add("mem", settings.mem.clone());
    add(
        "cpus-per-task",
        settings.cpus_per_task.map(|cpus| cpus.to_string()),
    );
    add(
        "gpus-per-node",
        settings
            .gpus
            .filter(|&gpus| gpus > 0)
            .map(|gpus| gpus.to_string()),
    );
    options.extend(settings.sbatch_args.iter().cloned());
    options
}

/// A word as the shell, and sbatch in its directives, take it back whole.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{super::submission::Task, *};
    use std::{num::NonZeroUsize, process::Command};

    fn submission() -> Submission {
        let task = |name: &str| Task {
            model: "hf:m none".to_owned(),
            experiments: vec![name.to_owned()],
        };
        Submission::new("s", vec![task("a"), task("b"), task("c")])
    }

    #[test]
    fn what_asks_for_gpus_is_no_matter_of_the_tables() {
        let options = [
            "--gres=gpu:1",
            "--qos=long",
            "-G 2",
            "--gpus=1",
            "--mem-per-gpu=8G",
        ];
        let left = without_gpus(&options.map(str::to_owned));
        assert_eq!(left, ["--qos=long"]);
    }

    #[test]
    fn the_array_has_a_task_each_is_requeued_and_told_before_its_end() {
        let settings = ClusterSettings {
            partition: Some("gpu".to_owned()),
            gpus: Some(1),
            time: Some("8:00:00".to_owned()),
            max_parallel: NonZeroUsize::new(2),
            ..ClusterSettings::default()
        };
        let script = array_script(
            &submission(),
            &StudyDir::at("/shared/s"),
            Path::new("/opt/ragicamp"),
            &settings,
            &[],
        );
        for line in [
            "#SBATCH --array=0-2%2",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --signal=B:USR1@120",
            "#SBATCH --partition=gpu",
            "#SBATCH --gpus-per-node=1",
            "#SBATCH --time=8:00:00",
        ] {
            assert!(script.lines().any(|has| has == line), "{line}\n{script}");
        }
    }

    #[test]
    fn odd_paths_reach_the_program_whole() {
        let root = tempfile::tempdir().unwrap();
        let odd = root.path().join("it's a dir $HOME");
        let program = root.path().join("echo all");
        std::os::unix::fs::symlink("/bin/echo", &program).unwrap();
        let script = array_script(
            &submission(),
            &StudyDir::at(&odd),
            &program,
            &ClusterSettings::default(),
            &["--filter".to_owned(), "!*x y*".to_owned()],
        );
        let output = Command::new("bash")
            .arg("-c")
            .arg(&script)
            .env("SLURM_ARRAY_TASK_ID", "2")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = format!("run {} --tasks", odd.display());
        assert!(said.contains(&wanted), "{said}\n{script}");
        assert!(said.contains("--filter !*x y* --index 2"), "{said}");
        assert_eq!(output.status.code(), Some(0));
    }

    /// A program that ends with 138 when it gets SIGUSR1, as ours does.
    #[test]
    fn a_task_whose_time_is_nearly_up_is_requeued_and_a_cancelled_one_is_not() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let executable = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let program = executable(
            "program",
            "#!/bin/bash\ntrap 'sleep 0.2; exit 138' USR1\ntrap 'exit 143' TERM\n\
             touch \"$UP\"\nwhile :; do sleep 0.01; done\n",
        );
        executable(
            "scontrol",
            "#!/bin/bash\necho \"$@\" > \"$REQUEUED\"\nexit 1\n",
        );
        let script = array_script(
            &submission(),
            &StudyDir::at(root.path().join("s")),
            &program,
            &ClusterSettings::default(),
            &[],
        );
        for (signal, code, requeued) in [("USR1", 138, Some("requeue 77_1\n")), ("TERM", 143, None)]
        {
            let (up, asked) = (
                root.path().join(signal),
                root.path().join(format!("r{signal}")),
            );
            let path = std::env::var("PATH").unwrap();
            let mut batch = Command::new("bash")
                .arg("-c")
                .arg(&script)
                .env("PATH", format!("{}:{path}", root.path().display()))
                .env("UP", &up)
                .env("REQUEUED", &asked)
                .env("SLURM_ARRAY_JOB_ID", "77")
                .env("SLURM_ARRAY_TASK_ID", "1")
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            while !up.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Command::new("kill")
                .args([format!("-{signal}"), batch.id().to_string()])
                .status()
                .unwrap();
            assert_eq!(batch.wait().unwrap().code(), Some(code));
            assert_eq!(std::fs::read_to_string(asked).ok().as_deref(), requeued);
        }
    }

    #[test]
    fn the_tables_follow_without_a_gpu() {
        let settings = ClusterSettings {
            gpus: Some(4),
            ..ClusterSettings::default()
        };
        let dir = StudyDir::at("/shared/s");
        let script = aggregate_script(&submission(), &dir, Path::new("ragicamp"), &settings);
        assert!(!script.contains("gpus"), "{script}");
        assert!(script.ends_with("exec ragicamp status /shared/s --tables\n"));
    }
}
