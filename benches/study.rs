//! What the program itself costs, beside the models: looking at large
//! studies, the executor, the supervisor, and loading a model anew.
//!
//! `cargo bench --bench study`. Figures that have a bar are marked PASS or
//! MISS; a MISS ends with exit code 1. In a development build, as
//! `cargo test --bench study` makes one, everything is small and only shows
//! that it still works, unless `-- --full` is asked for.

use ragicamp::{
    artifacts::{
        Claim, Durability, LeaseOptions, Metadata, QuestionsFile, Results, State, StudyDir,
    },
    domain::{ExperimentSpec, FinishReason, Generated, Phase, Prediction, Question, Threshold},
    execution::{BatchPolicy, Effect, Ending, Executor, ExecutorSettings, Input},
    runner::ProgramCatalog,
    study,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Map;
use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// True where the figures are to be held against the bars.
static MEASURED: LazyLock<bool> =
    LazyLock::new(|| !cfg!(debug_assertions) || std::env::args().any(|word| word == "--full"));

/// Wall-clock figures are the best of this many runs.
const RUNS: usize = 5;

/// The kernel counts processor time in these, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> ExitCode {
    let mut bars = Bars::default();
    if cfg!(debug_assertions) {
        println!("a development build: slower than what is shipped");
    }
    large_studies(&mut bars);
    executor(&mut bars);
    supervisor(&mut bars);
    warm_workers();
    if bars.missed > 0 && *MEASURED {
        println!("{} of {} bars missed", bars.missed, bars.total);
        return ExitCode::FAILURE;
    }
    println!("{} of {} bars passed", bars.total - bars.missed, bars.total);
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Bars {
    total: usize,
    missed: usize,
}

impl Bars {
    /// Says how a figure stands to its bar. Smaller is better.
    fn hold(&mut self, what: &str, figure: f64, bar: f64, unit: &str) {
        let passed = figure <= bar;
        self.total += 1;
        self.missed += usize::from(!passed);
        let word = if passed { "PASS" } else { "MISS" };
        println!("{word}  {what}: {figure:.3} {unit} (bar {bar} {unit})");
    }
}

fn note(what: &str, figure: f64, unit: &str) {
    println!("      {what}: {figure:.3} {unit}");
}

// ---------------------------------------------------------------------------
// Studies with very many experiments
// ---------------------------------------------------------------------------

/// Questions of each cell of the large study.
const QUESTIONS: usize = 10;

fn large_studies(bars: &mut Bars) {
    let cells = scaled(10_000, 100);
    println!("a study of {cells} experiments with {QUESTIONS} questions each");
    let place = Place::new();
    let yaml = large_study(&place, cells);
    let parsed = study::parse(&yaml, "study.yaml", &ProgramCatalog).expect("the study is valid");
    assert_eq!(parsed.experiments.len(), cells);

    let fresh = best(|| place.time(&["run", "study.yaml", "--dry-run"], 0));
    bars.hold("dry run, nothing there yet", fresh, 1.0, "s");

    let begun = Instant::now();
    fill(&place, &parsed.experiments);
    note(
        "writing the directories",
        begun.elapsed().as_secs_f64(),
        "s",
    );

    let known = best(|| place.time(&["run", "study.yaml", "--dry-run"], 0));
    note("dry run over complete directories", known, "s");
    let health = best(|| place.time(&["health", "outputs/large"], 0));
    bars.hold("health", health, 2.0, "s");
    let deep = best(|| place.time(&["health", "outputs/large", "--deep"], 0));
    note("health --deep", deep, "s");
}

/// Models that are not there times one dataset: a dry run asks for each.
fn large_study(place: &Place, cells: usize) -> String {
    const PER_MODEL: usize = 100;
    let names: Vec<String> = (0..cells / PER_MODEL)
        .map(|model| format!("hf:organisation/model_{model}"))
        .collect();
    let top_k: Vec<String> = (1..=PER_MODEL / 2).map(|k| k.to_string()).collect();
    let data = shipped("conf/data/quickstart");
    let yaml = format!(
        "name: large
num_questions: {QUESTIONS}
datasets: [{{name: quick, path: {data}/questions.jsonl}}]
rag:
  models: [{models}]
  retrievers: [{{name: passages, type: bm25, corpus: {data}/encyclopedia.jsonl, chunking: none}}]
  top_k_values: [{top_k}]
  prompts: [default]
  quantization: [none, 8bit]
metrics: [exact_match, f1]
output_dir: outputs/large
",
        data = data.display(),
        models = names.join(", "),
        top_k = top_k.join(", "),
    );
    place.write("study.yaml", &yaml);
    yaml
}

/// Directories as finished experiments leave them. They are made in memory,
/// where nothing waits for a disk, and copied to where they are measured.
fn fill(place: &Place, experiments: &[ExperimentSpec]) {
    let memory = Path::new("/dev/shm");
    let staging = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .expect("a directory to write in");
    let questions = questions();
    let dir = StudyDir::create(staging.path().join("large")).expect("the study's directory");
    for spec in experiments {
        finish(&dir, spec, &questions);
    }
    copy(dir.path(), &place.path("outputs/large"));
}

fn questions() -> Vec<Question> {
    (0..QUESTIONS)
        .map(|idx| Question {
            idx,
            question: format!("What is the capital of the land number {idx}?"),
            expected: vec![format!("Town {idx}"), format!("The town {idx}")],
            id: Some(format!("q{idx:03}")),
            supporting: Vec::new(),
            context: Vec::new(),
        })
        .collect()
}

fn finish(dir: &StudyDir, spec: &ExperimentSpec, questions: &[Question]) {
    let experiment = dir.experiment(&spec.name);
    let Claim::Mine(lease) = experiment.claim(&LeaseOptions::default()).expect("a lease") else {
        panic!("somebody else has {}", spec.name);
    };
    let best: BTreeMap<usize, Prediction> = questions
        .iter()
        .map(|question| (question.idx, prediction(question)))
        .collect();
    let records: Vec<Prediction> = best.values().cloned().collect();
    let metrics = vec!["exact_match".to_owned(), "f1".to_owned()];
    let mut state = State::new(questions.len(), metrics.clone());
    state.phase = Phase::Complete;
    state.predictions_complete = questions.len();
    state.metrics_computed = metrics;
    state.attempt = 1;
    let list = QuestionsFile::new(&spec.name, &spec.dataset.name, questions.to_vec());
    let results = Results::new(
        &spec.name,
        &experiment.path,
        Map::from_iter([
            ("f1".to_owned(), 0.5.into()),
            ("exact_match".to_owned(), 0.5.into()),
        ]),
        questions.len(),
        1.0,
        Map::new(),
    );
    let write = || {
        experiment.write_metadata(&Metadata::new(spec), Durability::Ordered)?;
        experiment.write_questions(&list)?;
        experiment.open_journal(&lease)?.append(&records)?;
        experiment.write_predictions(questions, &best, &Map::new(), Durability::Derivable)?;
        experiment.write_results(&results)?;
        experiment.write_state(&state)
    };
    write().expect("the artifacts are written");
    lease.release().expect("the lease is released");
}

fn prediction(question: &Question) -> Prediction {
    Prediction {
        idx: question.idx,
        question: question.question.clone(),
        prediction: question.expected[0].clone(),
        expected: question.expected.clone(),
        prompt: Some(format!("Question: {}\nAnswer:", question.question)),
        error: None,
        failure_class: None,
        aborted: false,
        retrieved: Vec::new(),
        batch_size: 8,
        attempt: 1,
        tokens_in: 20,
        tokens_out: 4,
        latency_ms: 100,
        metrics: Map::new(),
        extra: Map::new(),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be listed") {
        let entry = entry.expect("a directory can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

// ---------------------------------------------------------------------------
// The executor alone
// ---------------------------------------------------------------------------

fn executor(bars: &mut Bars) {
    const BATCH: usize = 32;
    let items = scaled(100_000, 1_000);
    let rounds = scaled(20, 1);
    println!("the executor alone, {items} items in batches of {BATCH}");
    let before = own_cpu_seconds();
    let begun = Instant::now();
    for _ in 0..rounds {
        assert_eq!(drive(items, BATCH), items);
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = own_cpu_seconds() - before;
    let per_item = |seconds: f64| seconds * 1e6 / (items * rounds) as f64;
    bars.hold("processor time per item", per_item(cpu), 20.0, "us");
    note("wall time per item", per_item(wall), "us");
}

/// Runs an executor with a worker that does all it is asked for; gives the
/// number of answers.
fn drive(items: usize, batch: usize) -> usize {
    let settings = ExecutorSettings {
        experiment: "experiment".to_owned(),
        total: items,
        answered_before: 0,
        min_batch_size: 1,
        max_consecutive_failures: Threshold::After(NonZeroU32::new(5).expect("not zero")),
        batch_timeout: Duration::from_secs(600),
        load_timeout: Duration::from_secs(600),
        experiment_timeout: None,
        spent: Duration::ZERO,
        warm_worker: None,
        next_worker: 1,
        next_epoch: 1,
    };
    let mut executor = Executor::new(settings, BatchPolicy::new(batch, None), 0..items);
    let mut effects = executor.start();
    let mut now = Duration::ZERO;
    loop {
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::RestartWorker { worker } => inputs.push(Input::WorkerReady { worker }),
                Effect::Dispatch { epoch, items } => {
                    inputs.push(Input::Progress { epoch });
                    inputs.extend(items.into_iter().map(|idx| Input::ItemDone {
                        epoch,
                        idx,
                        generated: Generated {
                            text: "an answer of a few words".to_owned(),
                            tokens_in: 200,
                            tokens_out: 8,
                            finish: FinishReason::Stop,
                            passages_cut: 0,
                        },
                        latency: Duration::from_millis(100),
                    }));
                    inputs.push(Input::BatchDone { epoch });
                    now += Duration::from_millis(100);
                    inputs.push(Input::Tick(now));
                }
                Effect::Sync { ticket } => inputs.push(Input::Persisted { ticket }),
                Effect::Finish(outcome) => {
                    assert!(matches!(
                        outcome.ending,
                        Ending::Exhausted { last_failure: None }
                    ));
                    return outcome.answered;
                }
                Effect::Append { .. } | Effect::ClearGpu | Effect::Emit(_) => {}
            }
        }
        effects = inputs
            .into_iter()
            .flat_map(|input| executor.step(input))
            .collect();
    }
}

// ---------------------------------------------------------------------------
// The supervisor in a real run
// ---------------------------------------------------------------------------

/// Everything that a question costs beside the model: prompt, protocol,
/// executor, journal with its fsyncs, rendering, scores. Start and end of the
/// program are taken out by comparing a large run with a small one.
fn supervisor(bars: &mut Bars) {
    let fewer = scaled(500, 10);
    let more = scaled(8_500, 40);
    println!("the supervisor in a run of {more} questions, one token each, in batches of 32");
    let place = Place::new();
    let mut lines = String::new();
    for idx in 0..more {
        let line = serde_json::json!({
            "question": format!("What is the capital of the land number {idx}?"),
            "answers": [format!("Town {idx}")],
        });
        lines.push_str(&format!("{line}\n"));
    }
    place.write("questions.jsonl", &lines);
    let run = |questions: usize, metrics: &str| {
        let name = format!("supervisor_{questions}_{}", metrics.len());
        let yaml = format!(
            "name: {name}
num_questions: {questions}
datasets: [{{name: many, path: questions.jsonl}}]
direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none]}}
generation: {{max_new_tokens: 1, temperature: 0}}
metrics: [{metrics}]
batch_size: 32
"
        );
        place.write("study.yaml", &yaml);
        // The kernel counts in steps of 10 ms, and whatever else runs can only
        // add to them.
        let mut cpu = f64::INFINITY;
        let mut round = 0;
        let wall = best(|| {
            round += 1;
            let output = format!("supervised_{name}_{round}");
            let begun = Instant::now();
            cpu = cpu.min(place.cpu_seconds(&["run", "study.yaml", "--output", &output]));
            begun.elapsed().as_secs_f64()
        });
        (cpu, wall)
    };
    let (small, _) = run(fewer, "exact_match");
    let (large, wall) = run(more, "exact_match");
    let per_item = (large - small) * 1e6 / (more - fewer) as f64;
    bars.hold("processor time per item", per_item, 20.0, "us");
    note(
        "with the start and the end of the program",
        large * 1e6 / more as f64,
        "us",
    );
    let (scored, _) = run(more, "exact_match, f1");
    note(
        "what f1 adds per item",
        (scored - large) * 1e6 / more as f64,
        "us",
    );
    note(
        "wall time per item, the model's included",
        wall * 1e6 / more as f64,
        "us",
    );
}

// ---------------------------------------------------------------------------
// Warm workers
// ---------------------------------------------------------------------------

/// Twelve experiments with three loads, against a load for each.
fn warm_workers() {
    let questions = scaled(10, 1);
    println!("twelve experiments of {questions} questions, one worker per model against one each");
    let place = Place::new();
    let yaml = fs::read_to_string(shipped("conf/study/quickstart.yaml")).expect("it is shipped");
    let yaml = yaml
        .replace("num_questions: 100", &format!("num_questions: {questions}"))
        .replace("conf/data", &shipped("conf/data").display().to_string());
    place.write("study.yaml", &yaml);
    let parsed = study::parse(&yaml, "study.yaml", &ProgramCatalog).expect("the study is valid");
    assert_eq!(parsed.experiments.len(), 12);
    // The index is built once, in nobody's time.
    place.time(&["run", "study.yaml", "--output", "first"], 0);

    let mut round = 0;
    let mut warm = || {
        round += 1;
        place.time(
            &["run", "study.yaml", "--output", &format!("warm_{round}")],
            0,
        )
    };
    let warm = best(&mut warm);
    let mut round = 0;
    let each = best(|| {
        round += 1;
        let output = format!("each_{round}");
        parsed
            .experiments
            .iter()
            .map(|spec| {
                place.time(
                    &[
                        "run",
                        "study.yaml",
                        "--output",
                        &output,
                        "--filter",
                        &spec.name,
                    ],
                    0,
                )
            })
            .sum()
    });
    // What twelve starts of the program cost that have nothing to do.
    let starts = best(|| {
        parsed
            .experiments
            .iter()
            .map(|spec| {
                place.time(
                    &[
                        "run",
                        "study.yaml",
                        "--output",
                        "warm_1",
                        "--filter",
                        &spec.name,
                    ],
                    0,
                )
            })
            .sum()
    });
    note("warm workers", warm, "s");
    note("a fresh worker for each", each, "s");
    note("  of it starts of the program", starts, "s");
    note("ratio", each / warm, "x");
    note("ratio without the starts", (each - starts) / warm, "x");
}

// ---------------------------------------------------------------------------
// Running and measuring
// ---------------------------------------------------------------------------

/// A directory to run the program in.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        // Beside the build, and so on a disk, which `/tmp` may not be.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Self { dir }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ragicamp"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HF_HOME", self.path("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .env("RAGICAMP_DEVICE", "cpu")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Wall time of a call in seconds.
    fn time(&self, arguments: &[&str], code: i32) -> f64 {
        let begun = Instant::now();
        let status = self
            .command(arguments)
            .status()
            .expect("the program starts");
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
        seconds
    }

    /// Processor time of a call in seconds, without that of its workers:
    /// `getrusage` would count them in, so it is asked of the process when it
    /// has ended and nobody has waited for it yet.
    fn cpu_seconds(&self, arguments: &[&str]) -> f64 {
        let mut child = self.command(arguments).spawn().expect("the program starts");
        let pid = Pid::from_child(&child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).expect("the program ends");
        let seconds = cpu_seconds(&child.id().to_string());
        let status = child.wait().expect("the program has ended");
        assert!(status.success(), "{arguments:?}: {status}");
        seconds
    }
}

fn own_cpu_seconds() -> f64 {
    cpu_seconds("self")
}

/// User and system time of a process, all of its threads and no children.
fn cpu_seconds(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the kernel tells");
    // The name may hold anything; behind its bracket, utime and stime are the
    // twelfth and thirteenth field.
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("a number"))
        .sum::<f64>()
        / TICKS_PER_SECOND
}

fn scaled(full: usize, small: usize) -> usize {
    if *MEASURED { full } else { small }
}

fn best(mut measure: impl FnMut() -> f64) -> f64 {
    (0..scaled(RUNS, 1))
        .map(|_| measure())
        .fold(f64::INFINITY, f64::min)
}

fn shipped(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}
