use super::{program, repository};
use nvml_wrapper::Nvml;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// What a GPU may hold afterwards above what it held before.
const MARGIN: u64 = 100 << 20;

/// Two experiments of the embedded reader on the GPU.
struct Study(TempDir);

impl Study {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let yaml = format!(
            "name: drill\nnum_questions: 48\n\
             datasets: [{{name: quick, path: {}/conf/data/quickstart/questions.jsonl}}]\n\
             direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none, 8bit]}}\n\
             generation: {{max_new_tokens: 8}}\nmetrics: [exact_match]\nbatch_size: 16\n",
            repository().display()
        );
        fs::write(directory.path().join("study.yaml"), yaml).unwrap();
        Self(directory)
    }

    fn run(&self, failpoints: &str) -> Output {
        Command::new(program())
            .args(["run", "study.yaml", "--device", "cuda"])
            .current_dir(self.0.path())
            .env("XDG_CACHE_HOME", self.0.path().join("cache"))
            .env("FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn directory(&self) -> std::path::PathBuf {
        self.0.path().join("outputs/drill")
    }

    fn experiments(&self) -> Vec<std::path::PathBuf> {
        let mut found: Vec<_> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("state.json").exists())
            .collect();
        found.sort();
        found
    }

    /// The answers of each experiment in the order of the questions.
    fn answers(&self) -> Vec<Vec<Value>> {
        let answers = |path: &std::path::PathBuf| {
            let predictions = read(&path.join("predictions.json"));
            let list = predictions["predictions"].as_array().unwrap();
            list.iter()
                .map(|record| record["prediction"].clone())
                .collect()
        };
        self.experiments().iter().map(answers).collect()
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory().join("events.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn assert_complete(&self, output: &Output) {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        for path in self.experiments() {
            let state = read(&path.join("state.json"));
            assert_eq!(state["phase"], "complete", "{}: {text}", path.display());
        }
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Bytes in use on the first GPU.
fn used() -> u64 {
    let nvml = Nvml::init().unwrap_or_else(|error| panic!("NVML: {error}"));
    let device = nvml.device_by_index(0).unwrap();
    device.memory_info().unwrap().used
}

/// Runs the study without and with a fault, and compares.
fn drill(failpoints: &str) -> Study {
    let before = used();
    let clean = Study::new();
    clean.assert_complete(&clean.run(""));
    let study = Study::new();
    study
        .assert_complete(&study.run(
            &failpoints.replace("COUNT", &study.0.path().join("count").display().to_string()),
        ));
    assert_eq!(
        study.answers(),
        clean.answers(),
        "no answer is lost or changed"
    );
    let after = used();
    println!(
        "{failpoints}: {} MiB in use before, {} after",
        before >> 20,
        after >> 20
    );
    assert!(
        after <= before + MARGIN,
        "{} MiB stayed behind",
        (after - before) >> 20
    );
    study
}

fn named(study: &Study, name: &str) -> Vec<Value> {
    let events = study.events().into_iter();
    events.filter(|event| event["event"] == name).collect()
}

#[test]
fn memory_that_really_runs_out_halves_the_batch() {
    let study = drill("worker::batch=return(cuda::out_of_memory over=4)");
    let failed = named(&study, "batch_failed");
    assert!(!failed.is_empty());
    for event in &failed {
        assert_eq!(event["class"], "oom", "{event}");
    }
    let sizes: Vec<_> = failed.iter().map(|event| event["size"].clone()).collect();
    println!("batches that failed had {sizes:?} questions");
}

#[test]
fn a_launch_that_is_really_invalid_is_tried_again_smaller() {
    let study = drill("worker::batch=return(cuda::invalid_launch at=COUNT:1)");
    let failed = named(&study, "batch_failed");
    assert!(
        failed.iter().any(|event| event["class"] == "transient"),
        "{failed:?}"
    );
}

#[test]
fn an_address_that_is_really_illegal_costs_a_worker_and_no_answer() {
    let study = drill("worker::batch=return(cuda::illegal_address at=COUNT:1)");
    let failed = named(&study, "batch_failed");
    assert!(
        failed.iter().any(|event| event["class"] == "device_lost"),
        "{failed:?}"
    );
    assert_eq!(named(&study, "worker_restarted").len(), 1);
}
