//! A study in a directory of its own, and ways to run and look at it.

use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub struct Bench {
    pub dir: TempDir,
    /// Where indexes and what was retrieved are kept.
    pub cache: PathBuf,
}

/// What a study of this suite varies.
pub struct Options {
    pub questions: usize,
    pub batch: usize,
    pub more: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            questions: 40,
            batch: 8,
            more: "",
        }
    }
}

impl Bench {
    /// A study of two cells, the embedded reader with and without retrieval.
    pub fn new(options: &Options) -> Self {
        Self::new_in(tempfile::tempdir().unwrap(), options)
    }

    /// The same in a directory that was made for it.
    pub fn new_in(dir: TempDir, options: &Options) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
        let cache = dir.path().join("cache");
        let bench = Self { dir, cache };
        let yaml = format!(
            "name: faults\n\
             num_questions: {questions}\n\
             datasets:\n  - {{name: quick, path: {data}/questions.jsonl}}\n\
             direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none]}}\n\
             rag:\n  models: ['embedded:reader']\n  prompts: [default]\n  quantization: [none]\n  \
             top_k_values: [1]\n  retrievers:\n    \
             - {{name: bm25, type: bm25, corpus: {data}/encyclopedia.jsonl, chunking: none}}\n\
             generation: {{max_new_tokens: 8, temperature: 0.7, seed: 7, stop: [\"\\n\"]}}\n\
             metrics: [exact_match, f1]\n\
             batch_size: {batch}\n{more}",
            questions = options.questions,
            data = root.display(),
            batch = options.batch,
            more = options.more,
        );
        fs::write(bench.dir.path().join("study.yaml"), yaml).unwrap();
        bench
    }

    /// The study that every fault is compared with, run without one.
    pub fn clean(options: &Options) -> BTreeMap<String, Value> {
        let bench = Self::new(options);
        let output = bench.run("");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        bench.answers()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn study(&self) -> PathBuf {
        self.path("outputs/faults")
    }

    pub fn command(&self, arguments: &[&str], failpoints: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ragicamp"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", &self.cache)
            .env("FAILPOINTS", failpoints)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, failpoints: &str) -> Output {
        self.command(&["run", "study.yaml"], failpoints)
            .output()
            .unwrap()
    }

    pub fn spawn(&self, failpoints: &str) -> Child {
        self.command(&["run", "study.yaml"], failpoints)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn resume(&self, failpoints: &str) -> Output {
        self.command(&["resume", "outputs/faults"], failpoints)
            .output()
            .unwrap()
    }

    pub fn experiments(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(self.study())
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("state.json").exists())
            .collect();
        found.sort();
        found
    }

    pub fn read(&self, path: &Path) -> Value {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The one experiment whose name begins with `start`.
    pub fn experiment(&self, start: &str) -> PathBuf {
        self.experiments()
            .into_iter()
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(start)
            })
            .unwrap_or_else(|| panic!("no experiment {start}"))
    }

    pub fn state(&self, start: &str) -> Value {
        self.read(&self.experiment(start).join("state.json"))
    }

    pub fn predictions(&self, start: &str) -> Vec<Value> {
        let file = self.read(&self.experiment(start).join("predictions.json"));
        file["predictions"].as_array().unwrap().clone()
    }

    /// Names, answers and scores of every experiment: what must not depend on
    /// faults. Timings, attempts and batch sizes are left out.
    pub fn answers(&self) -> BTreeMap<String, Value> {
        let mut answers = BTreeMap::new();
        for path in self.experiments() {
            let mut file = self.read(&path.join("predictions.json"));
            for prediction in file["predictions"].as_array_mut().unwrap() {
                for key in ["batch_size", "attempt", "latency_ms"] {
                    prediction.as_object_mut().unwrap().shift_remove(key);
                }
            }
            let results: Value = if path.join("results.json").exists() {
                self.read(&path.join("results.json"))["metrics"].clone()
            } else {
                Value::Object(Map::new())
            };
            let phase = self.read(&path.join("state.json"))["phase"].clone();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            answers.insert(
                name,
                json!({"phase": phase, "file": file, "metrics": results}),
            );
        }
        answers
    }

    /// For each experiment and question, how many answers its journal holds.
    pub fn journal_answers(&self) -> BTreeMap<(String, u64), usize> {
        let mut counts = BTreeMap::new();
        for path in self.experiments() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Ok(segments) = fs::read_dir(path.join("journal")) else {
                continue;
            };
            for segment in segments {
                let path = segment.unwrap().path();
                // Not what a killed owner had not put into its place yet.
                if path.extension().is_none_or(|it| it != "jsonl") {
                    continue;
                }
                let bytes = fs::read(path).unwrap();
                for line in String::from_utf8_lossy(&bytes).lines() {
                    let Ok(record) = serde_json::from_str::<Value>(line) else {
                        continue;
                    };
                    let record = record.get("record").cloned().unwrap_or(record);
                    if record["error"].is_null() && record["idx"].is_u64() {
                        *counts
                            .entry((name.clone(), record["idx"].as_u64().unwrap()))
                            .or_default() += 1;
                    }
                }
            }
        }
        counts
    }

    pub fn events(&self) -> Vec<Value> {
        fs::read_to_string(self.study().join("events.jsonl"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|event| event["event"] == name)
            .collect()
    }
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Workers that were started by the process `parent` and still run.
pub fn workers_of(parent: u32) -> Vec<u32> {
    let wanted = format!("--parent\0{parent}\0");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            line.contains(&wanted).then_some(pid)
        })
        .collect()
}

/// Demands that the workers of an ended supervisor end too: a killed process
/// stays in the list for a moment.
pub fn no_orphans(parent: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !workers_of(parent).is_empty() {
        assert!(
            Instant::now() < deadline,
            "orphans: {:?}",
            workers_of(parent)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A generator for the choices of a series; its seed is printed.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let seed = std::env::var("RAGICAMP_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .as_nanos() as u64
            });
        eprintln!("RAGICAMP_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    pub fn roll(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
