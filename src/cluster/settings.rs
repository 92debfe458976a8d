use serde::Deserialize;
use std::num::NonZeroUsize;

/// What a cluster is asked for. A template in `conf/clusters` has the same
/// keys; what the command line says wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// The partition; none: the cluster's default.
    pub partition: Option<String>,
    /// The account that pays.
    pub account: Option<String>,
    /// GPUs per task; each runs a worker.
    pub gpus: Option<usize>,
    /// Time limit per task, as Slurm writes it: `8:00:00`, `2-12`, `90`.
    pub time: Option<String>,
    /// Memory per task: `32G`.
    pub mem: Option<String>,
    /// Processor cores per task.
    pub cpus_per_task: Option<NonZeroUsize>,
    /// Tasks at the same time; none: as many as the cluster allows.
    pub max_parallel: Option<NonZeroUsize>,
    /// Experiments per task; none: all of a model.
    pub per_task: Option<NonZeroUsize>,
    /// Seconds before its end at which a task is told to save and requeue.
    pub notice: Option<u32>,
    /// Further options for `sbatch`, one per entry.
    pub sbatch_args: Vec<String>,
    /// Shell lines before the work, as `module load cuda`.
    pub setup: Vec<String>,
}

/// A value that `sbatch` or the shell would misread.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} {reason}")]
pub struct SettingsError {
    /// Which key.
    pub key: &'static str,
    /// What it was.
    pub value: String,
    /// What is wrong and how to write it.
    pub reason: &'static str,
}

impl ClusterSettings {
    /// These, and where they say nothing, the `template`'s.
    pub fn or(self, template: Self) -> Self {
        let all = |mut first: Vec<String>, then: Vec<String>| {
            first.extend(then);
            first
        };
        Self {
            partition: self.partition.or(template.partition),
            account: self.account.or(template.account),
            gpus: self.gpus.or(template.gpus),
            time: self.time.or(template.time),
            mem: self.mem.or(template.mem),
            cpus_per_task: self.cpus_per_task.or(template.cpus_per_task),
            max_parallel: self.max_parallel.or(template.max_parallel),
            per_task: self.per_task.or(template.per_task),
            notice: self.notice.or(template.notice),
            sbatch_args: all(template.sbatch_args, self.sbatch_args),
            setup: all(template.setup, self.setup),
        }
    }

    /// Checks what goes into lines of a script.
    ///
    /// # Errors
    /// The first value that would not survive there.
    pub fn check(&self) -> Result<(), SettingsError> {
        let words = [
            ("partition", &self.partition),
            ("account", &self.account),
            ("time", &self.time),
            ("mem", &self.mem),
        ];
        for (key, value) in words {
            if let Some(value) = value
                && (value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '#'))
            {
                return Err(SettingsError {
                    key,
                    value: value.clone(),
                    reason: "is not one word: write it as sbatch wants it",
                });
            }
        }
        if let Some(time) = &self.time
            && !time
                .chars()
                .all(|c| c.is_ascii_digit() || c == ':' || c == '-')
        {
            return Err(SettingsError {
                key: "time",
                value: time.clone(),
                reason: "is no time limit: write 8:00:00 (hours), 90 (minutes) or 2-12 (days)",
            });
        }
        for option in &self.sbatch_args {
            if !option.starts_with('-') || option.contains('\n') {
                return Err(SettingsError {
                    key: "sbatch_args",
                    value: option.clone(),
                    reason: "is no option: write for example --constraint=a100",
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_command_line_wins_over_the_template_and_lists_add_up() {
        let template: ClusterSettings = serde_yaml::from_str(
            "partition: gpu\ntime: '8:00:00'\nsbatch_args: [--nice=10]\nsetup: [module load cuda]\n",
        )
        .unwrap();
        let given = ClusterSettings {
            partition: Some("long".to_owned()),
            sbatch_args: vec!["--exclude=n7".to_owned()],
            ..ClusterSettings::default()
        };
        let settings = given.or(template);
        assert_eq!(settings.partition.as_deref(), Some("long"));
        assert_eq!(settings.time.as_deref(), Some("8:00:00"));
        assert_eq!(settings.sbatch_args, ["--nice=10", "--exclude=n7"]);
        assert_eq!(settings.setup, ["module load cuda"]);
    }

    #[test]
    fn an_unknown_key_of_a_template_is_refused() {
        let error = serde_yaml::from_str::<ClusterSettings>("partion: gpu\n").unwrap_err();
        assert!(error.to_string().contains("partion"), "{error}");
    }

    #[test]
    fn values_that_the_script_would_misread_are_refused() {
        let refused = |settings: ClusterSettings| settings.check().unwrap_err().to_string();
        let partition = refused(ClusterSettings {
            partition: Some("a b".to_owned()),
            ..ClusterSettings::default()
        });
        assert!(partition.starts_with("partition: \"a b\""), "{partition}");
        let time = refused(ClusterSettings {
            time: Some("8h".to_owned()),
            ..ClusterSettings::default()
        });
        assert!(time.contains("8:00:00"), "{time}");
        let option = refused(ClusterSettings {
            sbatch_args: vec!["constraint=a100".to_owned()],
            ..ClusterSettings::default()
        });
        assert!(option.contains("--constraint"), "{option}");
    }

    #[test]
    fn the_templates_that_ship_are_good() {
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/clusters");
        let mut seen = 0;
        for entry in std::fs::read_dir(shipped).unwrap() {
            let path = entry.unwrap().path();
            if !path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("slurm")
            {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let settings: ClusterSettings = serde_yaml::from_str(&text).unwrap();
            assert_eq!(settings.check(), Ok(()), "{}", path.display());
            seen += 1;
        }
        assert!(seen >= 2);
    }
}
