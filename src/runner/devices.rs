use crate::worker::Gpus;
use std::num::NonZeroUsize;

/// A device with the one worker that runs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDevice {
    /// How people call it, and under which batch sizes that fit are
    /// remembered: `cpu`, `cuda:1`, `GPU-8f6c...`.
    pub name: String,
    /// What the worker is told: `cpu`, `cuda`, `cuda:N` or `auto`.
    pub device: String,
    /// The worker's CUDA_VISIBLE_DEVICES, where it gets one of its own.
    pub visible: Option<String>,
    /// Processor cores for it; `None`: all.
    pub threads: Option<usize>,
    /// Workers that share the device's memory, this one included.
    pub sharers: NonZeroUsize,
}

impl LaneDevice {
    /// The only worker of a run.
    pub fn alone(device: &str) -> Self {
        Self {
            name: device.to_owned(),
            device: device.to_owned(),
            visible: None,
            threads: None,
            sharers: NonZeroUsize::MIN,
        }
    }
}

/// Why devices can not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The list makes no sense.
    #[error("{0}")]
    Usage(String),
    /// This machine or build does not have them.
    #[error("{0}")]
    Missing(String),
}

/// What there is to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CUDA_VISIBLE_DEVICES, where it is set.
    pub visible: Option<String>,
    /// NVIDIA GPUs that the driver shows.
    pub gpus: usize,
    /// Processor cores.
    pub cores: usize,
    /// Whether this build can use GPUs.
    pub cuda: bool,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self {
            visible: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
            gpus: Gpus::of_this_machine().count(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cuda: cfg!(feature = "cuda"),
        }
    }

    /// One lane per device of a list as `all`, `0,1`, `GPU-uuid,MIG-uuid` or
    /// `cpu`. Numbers count what CUDA_VISIBLE_DEVICES shows, as they do in
    /// CUDA; uuids are handed on as they are.
    ///
    /// # Errors
    /// One sentence when the list is wrong or the machine has no such device.
    pub fn devices(&self, list: &str) -> Result<Vec<LaneDevice>, DeviceError> {
        let entries: Vec<_> = list.split(',').map(str::trim).collect();
        if entries == ["cpu"] {
            return Ok(vec![LaneDevice::alone("cpu")]);
        }
        if entries.contains(&"cpu") {
            return Err(DeviceError::Usage(format!(
                "--devices {list}: cpu stands alone: a model on the processor would slow down \
                 those on GPUs"
            )));
        }
        let chosen = match entries[..] {
            ["all"] => {
                let all = self.visible_devices();
                (0..all.len())
                    .map(|at| (format!("cuda:{at}"), all[at].clone()))
                    .collect()
            }
            _ => entries
                .iter()
                .map(|entry| self.one(list, entry))
                .collect::<Result<Vec<_>, _>>()?,
        };
        if !self.cuda {
            return Err(DeviceError::Missing(format!(
                "--devices {list}: this build is for the CPU only; build it with --features cuda, \
                 or use --devices cpu"
            )));
        }
        if chosen.is_empty() {
            return Err(DeviceError::Missing(match &self.visible {
                Some(visible) => format!(
                    "--devices {list}: CUDA_VISIBLE_DEVICES={visible} leaves no GPU visible"
                ),
                None => format!("--devices {list}: the driver shows no NVIDIA GPU"),
            }));
        }
        for (at, (_, device)) in chosen.iter().enumerate() {
            if chosen[..at].iter().any(|(_, other)| other == device) {
                return Err(DeviceError::Usage(format!(
                    "--devices {list}: {device} is there twice; each device runs one worker"
                )));
            }
        }
        let lanes = chosen.len();
        Ok(chosen
            .into_iter()
            .map(|(name, visible)| LaneDevice {
                name,
                device: "cuda:0".to_owned(),
                visible: Some(visible),
                threads: self.share_of_cores(lanes),
                sharers: NonZeroUsize::MIN,
            })
            .collect())
    }

    /// So many workers on the processor, each with its part of the cores and
    /// of the memory.
    ///
    /// # Errors
    /// One sentence when there are fewer cores.
    pub fn processor(&self, workers: NonZeroUsize) -> Result<Vec<LaneDevice>, DeviceError> {
        if workers.get() == 1 {
            return Ok(vec![LaneDevice::alone("cpu")]);
        }
        if workers.get() > self.cores {
            return Err(DeviceError::Usage(format!(
                "--workers {workers}: this machine gives {} cores; a worker needs one of its own",
                self.cores
            )));
        }
        Ok((1..=workers.get())
            .map(|number| LaneDevice {
                name: format!("cpu/{number}"),
                device: "cpu".to_owned(),
                visible: None,
                threads: self.share_of_cores(workers.get()),
                sharers: workers,
            })
            .collect())
    }

    fn one(&self, list: &str, entry: &str) -> Result<(String, String), DeviceError> {
        if entry.starts_with("GPU-") || entry.starts_with("MIG-") {
            return Ok((entry.to_owned(), entry.to_owned()));
        }
        if entry.contains('+') {
            return Err(DeviceError::Usage(format!(
                "--devices {list}: one model over several devices ({entry}) is not supported; \
                 separate devices with commas, and each runs models that fit into it"
            )));
        }
        let number = entry.strip_prefix("cuda:").unwrap_or(entry);
        let Ok(number) = number.parse::<usize>() else {
            return Err(DeviceError::Usage(format!(
                "--devices {list}: {entry:?} is no device: write all, cpu, numbers as 0,1, or \
                 uuids as GPU-... and MIG-... (nvidia-smi -L lists them)"
            )));
        };
        let all = self.visible_devices();
        match all.get(number) {
            Some(device) => Ok((format!("cuda:{number}"), device.clone())),
            // A build for the processor says so first.
            None if !self.cuda => Ok((format!("cuda:{number}"), number.to_string())),
            None => Err(DeviceError::Missing(format!(
                "--devices {list}: there is no GPU {number}: {} visible{}",
                all.len(),
                match &self.visible {
                    Some(visible) => format!(" (CUDA_VISIBLE_DEVICES={visible})"),
                    None => String::new(),
                }
            ))),
        }
    }

    /// As CUDA reads the variable: up to the first entry that is none.
    fn visible_devices(&self) -> Vec<String> {
        match &self.visible {
            None => (0..self.gpus).map(|gpu| gpu.to_string()).collect(),
            Some(list) => list
                .split(',')
                .map(|entry| entry.trim().to_owned())
                .take_while(|entry| {
                    entry.starts_with("GPU-")
                        || entry.starts_with("MIG-")
                        || entry.parse::<usize>().is_ok()
                })
                .collect(),
        }
    }

    fn share_of_cores(&self, lanes: usize) -> Option<usize> {
        (lanes > 1).then(|| (self.cores / lanes).max(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn machine(visible: Option<&str>, gpus: usize) -> Machine {
        Machine {
            visible: visible.map(str::to_owned),
            gpus,
            cores: 8,
            cuda: true,
        }
    }

    fn visible(machine: &Machine, list: &str) -> Vec<String> {
        let lanes = machine.devices(list).unwrap();
        lanes.into_iter().filter_map(|lane| lane.visible).collect()
    }

    #[test]
    fn all_means_every_gpu_of_the_driver() {
        assert_eq!(visible(&machine(None, 3), "all"), ["0", "1", "2"]);
    }

    #[test]
    fn numbers_count_what_cuda_visible_devices_shows() {
        let allotted = machine(Some("5, GPU-aa,7"), 8);
        assert_eq!(visible(&allotted, "all"), ["5", "GPU-aa", "7"]);
        assert_eq!(visible(&allotted, "2,0"), ["7", "5"]);
        assert_eq!(allotted.devices("2").unwrap()[0].name, "cuda:2");
        let error = allotted.devices("3").unwrap_err().to_string();
        assert!(error.contains("no GPU 3: 3 visible"), "{error}");
    }

    #[test]
    fn an_entry_that_is_none_hides_what_follows_as_in_cuda() {
        assert_eq!(visible(&machine(Some("1,-1,2"), 8), "all"), ["1"]);
        let error = machine(Some(""), 8).devices("all").unwrap_err();
        assert!(matches!(error, DeviceError::Missing(_)), "{error}");
    }

    #[test]
    fn uuids_are_taken_verbatim() {
        let list = "GPU-8f6c1a,MIG-77/1/0";
        assert_eq!(
            visible(&machine(Some("0"), 1), list),
            ["GPU-8f6c1a", "MIG-77/1/0"]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_sentence() {
        let refused = |list: &str| machine(None, 4).devices(list).unwrap_err().to_string();
        assert!(refused("0,0").contains("twice"));
        assert!(refused("0+1").contains("one model over several devices"));
        assert!(refused("cpu,1").contains("cpu stands alone"));
        assert!(refused("first").contains("is no device"));
        assert!(refused("").contains("is no device"));
    }

    #[test]
    fn workers_on_the_processor_share_cores_and_memory() {
        let machine = machine(None, 0);
        let lanes = machine.processor(NonZeroUsize::new(3).unwrap()).unwrap();
        assert_eq!(lanes.len(), 3);
        assert!(lanes.iter().all(|lane| lane.threads == Some(2)));
        assert!(lanes.iter().all(|lane| lane.sharers.get() == 3));
        let refused = machine.processor(NonZeroUsize::new(9).unwrap());
        assert!(refused.unwrap_err().to_string().contains("8 cores"));
    }

    #[test]
    fn a_build_for_the_processor_says_so() {
        let machine = Machine {
            cuda: false,
            ..machine(None, 0)
        };
        let error = machine.devices("0").unwrap_err().to_string();
        assert!(error.contains("CPU only"), "{error}");
        assert_eq!(machine.devices("cpu").unwrap().len(), 1);
    }
}
