//! What answers are made with is known from the first of them on: a run that
//! was killed in the middle of its first attempt is not gone on with by
//! another model, nor over another corpus.

use crate::bench::{Bench, Options, no_orphans, text, workers_of};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const ITERATIVE: &str =
    "agent: {type: iterative_rag, max_iterations: 2, stop_on_sufficient: false}";

const SELF: &str = "agent: {type: self_rag, retrieval_threshold: 1.0, verify_answer: true}";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf")
        .join(name)
}

/// A study over a model and a corpus of its own; `cells` says which.
fn bench(cells: &str) -> Bench {
    let bench = Bench::new(&Options::default());
    fs::create_dir(bench.path("lm")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let to = bench.path(&format!("lm/{name}"));
        fs::copy(data("models/reader").join(name), to).unwrap();
    }
    let corpus = data("data/quickstart/encyclopedia.jsonl");
    fs::copy(corpus, bench.path("corpus.jsonl")).unwrap();
    let yaml = format!(
        "name: faults\n\
         num_questions: 12\n\
         datasets: [{{name: quick, path: {questions}}}]\n\
         {cells}\
         generation: {{max_new_tokens: 4}}\n\
         metrics: [exact_match]\n\
         batch_size: 2\n",
        questions = data("data/quickstart/questions.jsonl").display(),
    );
    fs::write(bench.path("study.yaml"), yaml).unwrap();
    bench
}

const DIRECT: &str = "direct: {models: ['hf:./lm'], prompts: [default], quantization: [none]}\n";

fn rag(agent: &str) -> String {
    format!(
        "rag:\n  models: ['hf:./lm']\n  prompts: [default]\n  quantization: [none]\n  \
         top_k_values: [1]\n  corpus: corpus.jsonl\n  retrievers: [{{name: words, type: bm25}}]\n  \
         {agent}\n"
    )
}

/// What the segments of a journal hold, of answers or of steps.
fn lines(bench: &Bench, start: &str, journal: &str) -> usize {
    let found = fs::read_dir(bench.study()).into_iter().flatten();
    let mut directories = found.map(|entry| entry.unwrap().path());
    let Some(directory) = directories.find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(start)
    }) else {
        return 0;
    };
    let segments = fs::read_dir(directory.join(journal)).into_iter().flatten();
    segments
        .map(|segment| fs::read_to_string(segment.unwrap().path()).unwrap_or_default())
        .map(|text| text.lines().count())
        .sum()
}

fn wait_until(is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills the first attempt as soon as the experiment's journal holds a line.
fn killed(cells: &str, start: &str, journal: &str) -> Bench {
    killed_at(cells, start, journal, 1)
}

/// As [`killed`], when it holds so many.
fn killed_at(cells: &str, start: &str, journal: &str, count: usize) -> Bench {
    let bench = bench(cells);
    let mut child = bench.spawn("worker::slow=sleep(60)");
    wait_until(|| lines(&bench, start, journal) >= count);
    child.kill().unwrap();
    child.wait().unwrap();
    no_orphans(child.id());
    assert_eq!(bench.state(start)["phase"], "generating");
    bench
}

/// Replaces a file by a like one, and gives what it was.
fn replace(bench: &Bench, name: &str) -> Vec<u8> {
    let path = bench.path(name);
    let before = fs::read(&path).unwrap();
    let after = if name.ends_with(".jsonl") {
        let text = String::from_utf8_lossy(&before);
        let half: Vec<&str> = text.lines().step_by(2).collect();
        half.join("\n").into_bytes()
    } else {
        let mut after = before.clone();
        *after.last_mut().unwrap() ^= 1;
        after
    };
    fs::write(&path, after).unwrap();
    before
}

/// What the journals hold, which nothing may be added to.
fn journals(bench: &Bench) -> BTreeMap<(String, u64), usize> {
    bench.journal_answers()
}

/// A resumption is refused with a sentence and leaves the answers as they
/// are; with the file that was it goes on to the end.
fn is_refused_until_it_is_back(bench: &Bench, start: &str, name: &str, why: &str) {
    let before = replace(bench, name);
    let answers = journals(bench);
    let steps = lines(bench, start, "steps");
    let output = bench.resume("");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
    assert_eq!(journals(bench), answers, "answers were mixed");
    assert_eq!(lines(bench, start, "steps"), steps, "steps were mixed");
    assert_eq!(bench.state(start)["phase"], "failed");
    assert_eq!(bench.state(start)["needs_force"], true);
    fs::write(bench.path(name), before).unwrap();
    let output = bench.resume("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.state(start).get("needs_force"), None);
    assert!(journals(bench).values().all(|&count| count == 1));
}

const WEIGHTS: (&str, &str) = ("lm/model.safetensors", "its weights are not what");
const CORPUS: (&str, &str) = ("corpus.jsonl", "of the retriever words is not what");

#[test]
fn a_first_attempt_that_was_killed_goes_on_with_its_model_only() {
    let bench = killed(DIRECT, "direct", "journal");
    is_refused_until_it_is_back(&bench, "direct", WEIGHTS.0, WEIGHTS.1);
}

#[test]
fn a_first_attempt_that_was_killed_goes_on_over_its_corpus_only() {
    let bench = killed(&rag(""), "rag", "journal");
    is_refused_until_it_is_back(&bench, "rag", CORPUS.0, CORPUS.1);
}

#[test]
fn an_experiment_that_found_its_model_loaded_knows_it_too() {
    let cells = format!("{DIRECT}{}", rag(""));
    let bench = killed(&cells, "rag", "journal");
    assert_eq!(bench.state("direct")["phase"], "complete");
    is_refused_until_it_is_back(&bench, "rag", WEIGHTS.0, WEIGHTS.1);
}

#[test]
fn replies_on_the_way_to_an_answer_are_of_one_model_and_one_corpus() {
    for (file, why) in [WEIGHTS, CORPUS] {
        let bench = killed(&rag(ITERATIVE), "rag", "steps");
        assert_eq!(lines(&bench, "rag", "journal"), 0);
        is_refused_until_it_is_back(&bench, "rag", file, why);
    }
}

#[test]
fn a_corpus_that_is_searched_after_the_first_replies_is_on_record_too() {
    // All twelve say how sure they are before anything is searched for.
    let bench = killed_at(&rag(SELF), "rag", "steps", 13);
    assert_eq!(lines(&bench, "rag", "journal"), 0);
    is_refused_until_it_is_back(&bench, "rag", CORPUS.0, CORPUS.1);
}

#[test]
fn what_is_refused_is_started_over_with_force() {
    let bench = killed(DIRECT, "direct", "journal");
    replace(&bench, WEIGHTS.0);
    let force = || {
        let mut command = bench.command(&["run", "study.yaml", "--force"], "");
        command.output().unwrap()
    };
    // Before it was refused, force means to go on.
    assert_eq!(force().status.code(), Some(1));
    let output = force();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("moved aside"), "{}", text(&output));
    assert!(journals(&bench).values().all(|&count| count == 1));
}

#[test]
fn a_model_that_changes_while_an_attempt_runs_gives_no_further_answers() {
    let bench = bench(DIRECT);
    let child = bench.spawn("worker::slow=sleep(60)");
    wait_until(|| lines(&bench, "direct", "journal") > 0);
    let before = replace(&bench, WEIGHTS.0);
    for worker in workers_of(child.id()) {
        let worker = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        kill_process(worker, Signal::KILL).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(WEIGHTS.1), "{}", text(&output));
    fs::write(bench.path(WEIGHTS.0), before).unwrap();
    assert_eq!(bench.resume("").status.code(), Some(0));
}

#[test]
fn without_an_answer_another_model_may_begin_and_then_stays() {
    let bench = bench(DIRECT);
    // The model is on record, and no answer is.
    let mut child = bench.spawn("runner::dispatch=sleep(600000)");
    wait_until(|| {
        let directory = fs::read_dir(bench.study()).into_iter().flatten();
        directory.flatten().any(|entry| {
            fs::read_to_string(entry.path().join("metadata.json"))
                .is_ok_and(|text| text.contains("weights_sha256"))
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let first = replace(&bench, WEIGHTS.0);
    let mut child = bench.spawn("worker::slow=sleep(60)");
    wait_until(|| lines(&bench, "direct", "journal") > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    no_orphans(child.id());
    // The first one's turn is over, the second's is not.
    let second = fs::read(bench.path(WEIGHTS.0)).unwrap();
    fs::write(bench.path(WEIGHTS.0), first).unwrap();
    assert_eq!(bench.resume("").status.code(), Some(1));
    fs::write(bench.path(WEIGHTS.0), second).unwrap();
    assert_eq!(bench.resume("").status.code(), Some(0));
}
