//! Encoders in real worker processes: the program itself, tiny models, real
//! signals.
#![cfg(all(feature = "inference", feature = "failpoints"))]
#![allow(clippy::unwrap_used)]

use ragicamp::{
    domain::{Embedder, Encoders, Failure, FailureClass, PairScorer, TextRole, VectorFile},
    worker::{EmbeddingWorker, EncoderSettings, EncoderWorkers, ScoringWorker, Spawn},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("encoders.log")
    }

    /// How often a worker said that it loads a model.
    fn loads(&self) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.matches("loaded in").count()
    }

    /// `FILE` in a failpoint is a counter of this bench.
    fn settings(&self, failpoints: &str) -> EncoderSettings {
        let counter = self.dir.path().join("counter");
        let failpoints = failpoints.replace("FILE", &counter.display().to_string());
        EncoderSettings {
            spawn: Spawn {
                program: PathBuf::from(env!("CARGO_BIN_EXE_ragicamp")),
                args: vec!["worker".to_owned()],
                env: vec![("FAILPOINTS".to_owned(), failpoints)],
                log: self.log(),
            },
            device: "cpu".to_owned(),
            visible: None,
            base: Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
            load_timeout: Duration::from_secs(60),
            batch_timeout: Duration::from_secs(3),
        }
    }

    fn workers(&self, failpoints: &str) -> EncoderWorkers {
        EncoderWorkers::new(self.settings(failpoints))
    }
}

fn fixture(name: &str) -> String {
    format!("hf:./tests/fixtures/encoders/{name}")
}

fn reference(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/encoders")
        .join(name)
        .join("reference.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn texts(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| {
            let words: Vec<String> = (0..1 + i % 23)
                .map(|j| format!("w{}", (i * 7 + j) % 60))
                .collect();
            words.join(" ")
        })
        .collect()
}

fn embed(workers: &mut EncoderWorkers, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    workers
        .embedder(&fixture("bert_mean"))?
        .embed(&texts, TextRole::Passage)
}

fn assert_close(got: &[Vec<f32>], want: &Value) {
    let want: Vec<Vec<f32>> = serde_json::from_value(want.clone()).unwrap();
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} for {b}");
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The workers that this process started and that still run.
fn children() -> Vec<u32> {
    let wanted = format!("--parent\0{}\0", std::process::id());
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

#[test]
fn the_program_embeds_and_scores_as_a_worker() {
    let bench = Bench::new();
    let mut workers = bench.workers("");
    let reference_of = reference("bert_mean");
    let texts: Vec<String> = serde_json::from_value(reference_of["texts"].clone()).unwrap();
    let embedder = workers.embedder(&fixture("bert_mean")).unwrap();
    assert_eq!(embedder.dimension(), 32);
    assert!(embedder.identity().starts_with("sha256:"));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let passages = embedder.embed(&texts, TextRole::Passage).unwrap();
    assert_close(&passages, &reference_of["passages"]);
    let queries = embedder.embed(&texts[..3], TextRole::Query).unwrap();
    assert_close(&queries, &reference_of["queries"]);
    assert_ne!(queries[0], passages[0], "prompts make a difference");
    assert!(embedder.embed(&[], TextRole::Query).unwrap().is_empty());

    let reference = reference("xlm_roberta_nli");
    let pairs: Vec<(String, String)> = serde_json::from_value(reference["pairs"].clone()).unwrap();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let classifier = workers.classifier(&fixture("xlm_roberta_nli")).unwrap();
    assert_eq!(classifier.labels()[1], "entailment");
    assert_close(&classifier.logits(&pairs).unwrap(), &reference["logits"]);
    assert_eq!(classifier.score(&pairs).unwrap().len(), pairs.len());
    assert_eq!(bench.loads(), 2, "one worker per model");
}

#[test]
fn a_worker_that_dies_hangs_or_fails_in_a_batch_costs_no_vector() {
    let texts = texts(200);
    let clean = embed(&mut Bench::new().workers(""), &texts).unwrap();
    for (fault, loads) in [
        ("sigkill after=20 at=FILE:0", 2),
        ("sigsegv at=FILE:0", 2),
        ("hang after=7 at=FILE:0", 2),
        ("sigstop at=FILE:0", 2),
        ("device_lost after=3 at=FILE:0", 2),
        ("panic at=FILE:0", 1),
        ("transient after=9 at=FILE:0", 1),
        ("oom at=FILE:0", 1),
        ("oom over=10", 1),
        ("transient over=30", 1),
    ] {
        let bench = Bench::new();
        let mut workers = bench.workers(&format!("worker::encode=return({fault})"));
        let vectors =
            embed(&mut workers, &texts).unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!(vectors, clean, "{fault}");
        assert_eq!(bench.loads(), loads, "{fault}");
    }
}

#[test]
fn a_worker_that_is_killed_from_outside_is_replaced() {
    let bench = Bench::new();
    let mut embedder = EmbeddingWorker::start(&bench.settings(""), &fixture("bert_mean")).unwrap();
    let texts = texts(30);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let before = embedder.embed(&texts, TextRole::Passage).unwrap();
    let pid = embedder.pid().unwrap();
    let target = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(target, rustix::process::Signal::KILL).unwrap();
    assert_eq!(embedder.embed(&texts, TextRole::Passage).unwrap(), before);
    assert_ne!(embedder.pid(), Some(pid));
}

#[test]
fn what_fails_every_time_ends_as_one_failure_that_names_the_text() {
    for (fault, class, word) in [
        ("sigkill", FailureClass::WorkerDied, "SIGKILL"),
        (
            "transient",
            FailureClass::Transient,
            "invalid configuration",
        ),
        ("oom", FailureClass::Oom, "OUT_OF_MEMORY"),
        ("permanent", FailureClass::Permanent, "shape mismatch"),
    ] {
        let bench = Bench::new();
        let mut workers = bench.workers(&format!("worker::encode=return({fault})"));
        let failure = embed(&mut workers, &texts(3)).unwrap_err();
        assert_eq!(failure.class, class, "{fault}: {failure}");
        assert!(failure.message.contains(word), "{fault}: {failure}");
        if class != FailureClass::Permanent {
            assert!(failure.message.contains("bert_mean"), "{failure}");
        }
    }
}

#[test]
fn a_model_that_can_not_be_had_is_one_sentence() {
    let bench = Bench::new();
    let mut workers = bench.workers("");
    let copy = bench.dir.path().join("strange");
    fs::create_dir(&copy).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders/bert_mean");
    for file in ["tokenizer.json", "model.safetensors"] {
        fs::copy(from.join(file), copy.join(file)).unwrap();
    }
    fs::write(copy.join("config.json"), r#"{"model_type": "mamba"}"#).unwrap();
    let strange = format!("hf:{}", copy.display());
    for (name, words) in [
        (strange.as_str(), ["mamba", "bert"]),
        ("hf:./not/here", ["not/here", "does not exist"]),
        ("minilmm", ["minilmm", "mpnet"]),
        ("hf:nobody/nothing", ["nobody/nothing", "ragicamp fetch"]),
    ] {
        let Err(failure) = workers.embedder(name) else {
            panic!("{name} was loaded");
        };
        assert_eq!(failure.class, FailureClass::Permanent, "{failure}");
        assert!(!failure.message.contains('\n'), "{failure}");
        for word in words {
            assert!(failure.message.contains(word), "{failure}");
        }
    }
    let Err(failure) = workers.scorer("minilm") else {
        panic!("an embedding model is no reranker");
    };
    assert!(failure.message.contains("bge-v2"), "{failure}");
}

#[test]
fn a_model_that_hangs_or_dies_while_loading_is_given_up() {
    for (fault, class) in [
        ("hang", FailureClass::Timeout),
        ("sigkill", FailureClass::WorkerDied),
        ("oom", FailureClass::Oom),
    ] {
        let bench = Bench::new();
        let mut settings = bench.settings(&format!("worker::load=return({fault})"));
        settings.load_timeout = Duration::from_millis(700);
        let began = Instant::now();
        let Err(failure) = EmbeddingWorker::start(&settings, &fixture("bert_mean")) else {
            panic!("{fault}: it was loaded");
        };
        assert_eq!(failure.class, class, "{failure}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn released_workers_are_gone_and_come_back_when_asked_for() {
    // On a thread of its own, whose workers no other test starts.
    let bench = Bench::new();
    let mut workers = bench.workers("");
    let texts = texts(5);
    let first = embed(&mut workers, &texts).unwrap();
    let mut embedder = EmbeddingWorker::start(&bench.settings(""), &fixture("mpnet")).unwrap();
    let pid = embedder.pid().unwrap();
    assert!(is_alive(pid) && children().contains(&pid));
    assert_eq!(embedder.dimension(), 32);
    embedder.embed(&["w1"], TextRole::Query).unwrap();
    drop(embedder);
    assert!(!is_alive(pid));
    workers.release();
    assert_eq!(embed(&mut workers, &texts).unwrap(), first);
    assert_eq!(bench.loads(), 3);
}

#[test]
fn a_model_says_what_it_is_before_it_is_loaded() {
    let bench = Bench::new();
    let mut workers = bench.workers("");
    for name in ["bert_mean", "mpnet", "modernbert"] {
        let told = workers.embedder(&fixture(name)).unwrap();
        let told = (told.identity().to_owned(), told.dimension());
        let loaded = EmbeddingWorker::start(&bench.settings(""), &fixture(name)).unwrap();
        assert_eq!(told, (loaded.identity().to_owned(), loaded.dimension()));
    }
    assert_eq!(
        bench.loads(),
        3,
        "by those that were started for comparison"
    );
    for name in ["bert_ranker", "xlm_roberta_nli"] {
        let told = workers.classifier(&fixture(name)).unwrap();
        let told = (told.identity().to_owned(), told.labels().to_vec());
        let loaded = ScoringWorker::start(&bench.settings(""), &fixture(name)).unwrap();
        assert_eq!(
            told,
            (loaded.identity().to_owned(), loaded.labels().to_vec())
        );
    }
    assert_eq!(bench.loads(), 5);
    let embedder = workers.embedder(&fixture("mpnet")).unwrap();
    assert!(embedder.embed(&[], TextRole::Query).unwrap().is_empty());
    assert_eq!(bench.loads(), 5);
    embedder.embed(&["w1"], TextRole::Query).unwrap();
    assert_eq!(bench.loads(), 6);
}

#[test]
fn workers_end_with_the_thread_that_started_them() {
    let bench = Bench::new();
    let settings = bench.settings("");
    let pid = thread::spawn(move || {
        let embedder = EmbeddingWorker::start(&settings, &fixture("bert_cls")).unwrap();
        let pid = embedder.pid().unwrap();
        // Nobody ends it.
        std::mem::forget(embedder);
        pid
    })
    .join()
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "{pid} still runs");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Four vectors of two numbers.
fn vectors(bench: &Bench) -> VectorFile {
    let path = bench.dir.path().join("vectors");
    let numbers: [f32; 8] = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, -1.0, 0.0];
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(&path, bytes).unwrap();
    VectorFile {
        path,
        start: 0,
        rows: 4,
        dimension: 2,
        half: false,
    }
}

#[test]
fn a_worker_searches_vectors_and_survives_what_kills_it() {
    let queries = [vec![1.0, 0.2], vec![0.0, -1.0]];
    let expected = [[(0, 1.0), (2, 0.6)], [(0, 0.0), (3, 0.0)]];
    for failpoints in [
        "",
        "worker::encode=return(sigkill at=FILE:0)",
        "worker::encode=return(oom after=1 at=FILE:0)",
    ] {
        let bench = Bench::new();
        let file = vectors(&bench);
        let mut workers = bench.workers(failpoints);
        let search = workers.vectors(&fixture("bert_mean"), &file, 2).unwrap();
        let found = search.nearest(&queries, 2).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.len(), 2);
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.0, expected.0, "{failpoints}");
                assert!((found.1 - expected.1).abs() < 1e-6, "{failpoints}");
            }
        }
    }
}

#[test]
fn vectors_that_can_not_be_searched_elsewhere_are_asked_for_once() {
    let bench = Bench::new();
    let mut file = vectors(&bench);
    file.rows = 5;
    let mut workers = bench.workers("");
    let model = fixture("bert_mean");
    assert!(workers.vectors(&model, &file, 1).is_none());
    assert!(workers.vectors(&model, &file, 1).is_none());
    let log = fs::read_to_string(bench.log()).unwrap();
    assert_eq!(log.matches("too short for 5 vectors").count(), 1, "{log}");

    let file = vectors(&bench);
    let mut workers = bench.workers("worker::encode=return(oom)");
    let search = workers.vectors(&model, &file, 1).unwrap();
    assert!(search.nearest(&[vec![1.0, 0.0]], 1).is_err());
    assert!(workers.vectors(&model, &file, 1).is_none(), "it gave up");
}
