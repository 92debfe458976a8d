//! Very many tiny experiments in one run: what each costs beside its model,
//! and whether the program grows.

use crate::{print, shim, size};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The kernel counts processor time in these, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fsyncs of an experiment of one batch: of files and of their directories.
const SYNCS: f64 = 20.0;

/// Seconds of processor time of the supervisor per experiment.
const CPU: f64 = 0.005;

/// A study of `experiments` cells with one question and one token each.
struct Soak {
    dir: tempfile::TempDir,
    experiments: usize,
}

/// How the supervisor stands at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    done: usize,
    seconds: f64,
    cpu: f64,
    /// Resident, of it not files, in kB.
    memory: (u64, u64),
    handles: usize,
}

impl Soak {
    fn new(experiments: usize) -> Self {
        // Beside the build, and so on a disk, which `/tmp` may not be.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let line = |key: &str| {
            (0..10)
                .map(|idx| key.replace('#', &idx.to_string()) + "\n")
                .collect::<String>()
        };
        fs::write(
            dir.path().join("questions.jsonl"),
            line(r#"{"question": "What is the capital of land #?", "answers": ["Town #"]}"#),
        )
        .unwrap();
        fs::write(
            dir.path().join("passages.jsonl"),
            line(r#"{"id": "p#", "title": "Land #", "text": "The capital of land # is Town #."}"#),
        )
        .unwrap();
        // 2 quantisations x 10 top-k x datasets x retrievers.
        let datasets = (experiments / 20).clamp(1, 5);
        let retrievers = experiments.div_ceil(20 * datasets);
        let list = |count: usize, item: &str| -> String {
            (0..count)
                .map(|idx| {
                    item.replace("##", &(200 + idx).to_string())
                        .replace('#', &idx.to_string())
                })
                .collect()
        };
        let yaml = format!(
            "name: soak\nnum_questions: 1\ndatasets:\n{}rag:\n  models: ['embedded:reader']\n  \
             prompts: [default]\n  quantization: [none, 8bit]\n  \
             top_k_values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n  retrievers:\n{}\
             generation: {{max_new_tokens: 1, temperature: 0}}\nmetrics: [exact_match, f1]\n",
            list(datasets, "  - {name: d#, path: questions.jsonl}\n"),
            list(
                retrievers,
                "    - {name: r#, type: bm25, corpus: passages.jsonl, chunking: fixed, chunk_size: ##}\n"
            ),
        );
        fs::write(dir.path().join("study.yaml"), yaml).unwrap();
        Self {
            dir,
            experiments: 20 * datasets * retrievers,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        // A released build tells what people get.
        let program = std::env::var_os("RAGICAMP")
            .map(|path| fs::canonicalize(path).unwrap())
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_ragicamp").into());
        let mut command = Command::new(program);
        command
            .args(["run", "study.yaml", "--device", "cpu"])
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("FAILPOINTS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path("stderr")).unwrap());
        command
    }

    /// Runs it, and looks at the supervisor when these shares are done.
    fn run(&self, shares: &[f64]) -> (Vec<Sample>, f64) {
        let start = Instant::now();
        let mut child = self.command().spawn().unwrap();
        let mut counted = Events::new(self.path("outputs/soak/events.jsonl"));
        let mut samples = Vec::new();
        for share in shares {
            let wanted = (self.experiments as f64 * share) as usize;
            while counted.finished() < wanted {
                if let Some(status) = child.try_wait().unwrap() {
                    let said = fs::read_to_string(self.path("stderr")).unwrap();
                    panic!("{status} after {} experiments: {said}", counted.done);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            samples.push(Sample::of(
                child.id(),
                counted.done,
                start.elapsed().as_secs_f64(),
            ));
        }
        let pid = Pid::from_child(&child);
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
        .unwrap();
        let cpu = cpu_seconds(child.id());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        (samples, cpu)
    }

    /// Fsyncs below the experiments' directories, per experiment.
    fn syncs(&self) -> Option<f64> {
        shim::library()?;
        let mut command = self.command();
        let trace = self.path("trace");
        command.env("SHIM_TRACE", &trace);
        let study = self.path("outputs/soak");
        shim::load(
            &mut command,
            shim::Mode::Count,
            0,
            &self.path("outputs"),
            &self.path("shim"),
        );
        assert_eq!(command.status().unwrap().code(), Some(0));
        let syncs = shim::trace(&trace)
            .iter()
            .filter(|call| call.op == "sync" && call.path.starts_with(&study) && call.path != study)
            .count();
        Some(syncs as f64 / self.experiments as f64)
    }
}

impl Sample {
    fn of(process: u32, done: usize, seconds: f64) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let kilobytes = |key: &str| {
            status
                .lines()
                .find_map(|line| {
                    line.strip_prefix(key)?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .unwrap()
        };
        Self {
            done,
            seconds,
            cpu: cpu_seconds(process),
            memory: (kilobytes("VmRSS:"), kilobytes("RssAnon:")),
            handles: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count(),
        }
    }
}

/// Counts the experiments that are done as their events come.
struct Events {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    done: usize,
}

impl Events {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            reader: None,
            done: 0,
        }
    }

    fn finished(&mut self) -> usize {
        if self.reader.is_none() {
            self.reader = File::open(Path::new(&self.path)).ok().map(BufReader::new);
        }
        if let Some(reader) = &mut self.reader {
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 0 {
                self.done += usize::from(line.contains(r#""event":"experiment_finished""#));
                line.clear();
            }
        }
        self.done
    }
}

/// User and system time of a process, all of its threads and no children.
fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name may hold anything; behind its bracket, utime and stime are the
    // twelfth and thirteenth field.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

#[test]
fn very_many_experiments_leave_memory_and_handles_as_they_were() {
    let soak = Soak::new(size("RAGICAMP_SOAK", 60));
    let shares = [0.1, 0.25, 0.5, 0.75, 0.99];
    let (samples, cpu) = soak.run(&shares);
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let each = (last.cpu - first.cpu) / (last.done - first.done) as f64;
    let syncs = Soak::new(20).syncs();
    let rows: Vec<_> = samples
        .iter()
        .map(|sample| {
            vec![
                sample.done.to_string(),
                format!("{:.0}", sample.seconds),
                format!("{:.1}", sample.memory.0 as f64 / 1024.0),
                format!("{:.1}", sample.memory.1 as f64 / 1024.0),
                sample.handles.to_string(),
                format!("{:.2}", sample.cpu),
            ]
        })
        .collect();
    print(
        &format!(
            "Soak: {} experiments, {:.2} ms of the supervisor's processor time each \
             ({:.2} ms with its start and end), {} fsyncs each",
            soak.experiments,
            each * 1e3,
            cpu * 1e3 / soak.experiments as f64,
            syncs.map_or_else(|| "unknown".to_owned(), |syncs| format!("{syncs:.1}")),
        ),
        &[
            "done",
            "s",
            "resident MB",
            "of it own MB",
            "handles",
            "processor s",
        ],
        &rows,
    );
    assert!(last.handles <= first.handles + 2, "handles leak");
    // What the run knows of each experiment at its end stays, and no more.
    let room = 2048 + 2 * (last.done - first.done) as u64;
    assert!(last.memory.1 <= first.memory.1 + room, "memory grows");
    if let Some(syncs) = syncs {
        assert!(syncs <= SYNCS, "{syncs} fsyncs per experiment");
    }
    // The figure of a build that is shipped, on a machine that has time.
    if std::env::var_os("RAGICAMP").is_some() {
        assert!(each <= CPU, "{each} s of processor time per experiment");
    }
}
