//! Questions that take several generations each: traced, cut to the window,
//! and killed in the middle.

use crate::bench::{Bench, Options, no_orphans, text};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// A study of agents only, over the same data as the others of this suite.
fn bench(agents: &str, top_k: usize) -> Bench {
    let bench = Bench::new(&Options {
        questions: 12,
        batch: 4,
        more: "",
    });
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/data/quickstart");
    let yaml = format!(
        "name: faults\n\
         num_questions: 12\n\
         datasets:\n  - {{name: quick, path: {data}/questions.jsonl}}\n\
         rag:\n  models: ['embedded:reader']\n  prompts: [default]\n  quantization: [none]\n  \
         top_k_values: [{top_k}]\n  {agents}\n  retrievers:\n    \
         - {{name: bm25, type: bm25, corpus: {data}/encyclopedia.jsonl, chunking: none}}\n\
         generation: {{max_new_tokens: 8, temperature: 0.7, seed: 7, stop: [\"\\n\"]}}\n\
         metrics: [exact_match, f1, answer_in_context]\n\
         batch_size: 4\n",
        data = data.display(),
    );
    fs::write(bench.path("study.yaml"), yaml).unwrap();
    bench
}

const ITERATIVE: &str =
    "agent: {type: iterative_rag, max_iterations: 2, stop_on_sufficient: false}";
const SELF: &str = "agent: {type: self_rag, retrieval_threshold: 1.0, verify_answer: true, fallback_to_direct: true}";

/// Kinds of the steps of a prediction.
fn kinds(prediction: &Value) -> Vec<&str> {
    let steps = prediction["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| step["kind"].as_str().unwrap())
        .collect()
}

/// What must not depend on kills: everything but timings, attempts and batch
/// sizes, inside the steps too.
fn timeless(bench: &Bench) -> BTreeMap<String, Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for key in ["latency_ms", "batch_size", "attempt"] {
                    object.shift_remove(key);
                }
                object.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut answers = bench.answers();
    answers.values_mut().for_each(strip);
    answers
}

#[test]
fn iterative_rag_searches_twice_and_every_step_is_in_the_prediction() {
    let bench = bench(ITERATIVE, 2);
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let predictions = bench.predictions("rag");
    assert_eq!(predictions.len(), 12);
    let mut searched_twice = 0;
    for prediction in &predictions {
        let steps = prediction["steps"].as_array().unwrap();
        // A model that asks for the same again is not searched for twice.
        let is_repeated = steps.len() == 3;
        assert_eq!(
            kinds(prediction),
            match is_repeated {
                true => vec!["retrieve", "query", "answer"],
                false => vec!["retrieve", "query", "retrieve", "answer"],
            }
        );
        searched_twice += usize::from(!is_repeated);
        assert_eq!(steps[0]["query"], prediction["question"]);
        assert_eq!(steps[1]["passages"], steps[0]["passages"]);
        assert!(
            steps.iter().all(|step| step["latency_ms"].is_u64()),
            "{steps:?}"
        );
        // What was found twice is fused, and is what the prompt holds.
        let retrieved: Vec<&Value> = prediction["retrieved"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| &hit["id"])
            .collect();
        assert_eq!(json!(retrieved), steps[steps.len() - 1]["passages"]);
        let found: BTreeSet<&str> = steps
            .iter()
            .filter(|step| step["kind"] == "retrieve")
            .flat_map(|step| step["passages"].as_array().unwrap())
            .map(|id| id.as_str().unwrap())
            .collect();
        assert!(
            retrieved
                .iter()
                .all(|id| found.contains(id.as_str().unwrap()))
        );
        let sum: u64 = steps
            .iter()
            .filter_map(|step| step["tokens_out"].as_u64())
            .sum();
        assert_eq!(prediction["tokens_out"], sum);
        assert!(
            prediction["metrics"]["answer_in_context"].is_number(),
            "{prediction}"
        );
    }
    assert!(searched_twice > 0);
    // Twelve questions at the same step go out four at a time.
    let sizes: BTreeSet<u64> = bench
        .events_named("batch_dispatched")
        .iter()
        .map(|event| event["size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, BTreeSet::from([4]));
}

#[test]
fn self_rag_asks_how_sure_it_is_and_whether_its_answer_is_supported() {
    let bench = bench(SELF, 1);
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for prediction in &bench.predictions("rag") {
        let kinds = kinds(prediction);
        assert_eq!(kinds[0], "confidence");
        if kinds.contains(&"retrieve") {
            assert_eq!(kinds[..4], ["confidence", "retrieve", "answer", "support"]);
        }
        let fell_back = kinds.len() == 5;
        assert_eq!(
            fell_back,
            kinds.last() == Some(&"answer") && kinds.len() > 2
        );
        let holds_passages = prediction["retrieved"] != json!([]);
        assert_eq!(
            holds_passages,
            kinds.contains(&"retrieve") && !fell_back,
            "{prediction}"
        );
    }
}

#[test]
fn a_query_transform_is_a_generation_before_the_search() {
    let bench = bench("query_transform: [hyde, multiquery]", 2);
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.experiments().len(), 2);
    for path in bench.experiments() {
        let file = bench.read(&path.join("predictions.json"));
        for prediction in file["predictions"].as_array().unwrap() {
            let kinds = kinds(prediction);
            assert!(matches!(kinds[0], "hyde" | "multiquery"), "{kinds:?}");
            assert_eq!(kinds[1], "retrieve");
            assert_eq!(*kinds.last().unwrap(), "answer");
        }
    }
}

/// Replies on the way to answers that are on disk.
fn kept_steps(bench: &Bench) -> usize {
    let mut lines = 0;
    for path in bench.experiments() {
        for segment in fs::read_dir(path.join("steps")).into_iter().flatten() {
            // A file that is being made has another name a moment later.
            let bytes = fs::read(segment.unwrap().path()).unwrap_or_default();
            lines += String::from_utf8_lossy(&bytes).matches('\n').count();
        }
    }
    lines
}

#[test]
fn killed_in_the_middle_of_a_later_step_it_goes_on_there_with_the_same_answers() {
    for (agent, kills) in [(ITERATIVE, [2, 6, 11]), (SELF, [2, 14, 30])] {
        let clean = bench(agent, 2);
        let output = clean.run("");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let bench = bench(agent, 2);
        let mut known = 0;
        // Killed in an early step, in a later one, and near the end.
        for wanted in kills {
            let arguments: &[&str] = match known {
                0 => &["run", "study.yaml"],
                _ => &["resume", "outputs/faults"],
            };
            let mut child = bench
                .command(arguments, "worker::slow=sleep(60)")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while child.try_wait().unwrap().is_none() && kept_steps(&bench) < wanted {
                assert!(Instant::now() < deadline, "the run hangs");
                std::thread::sleep(Duration::from_millis(2));
            }
            // It may have ended by itself in this moment.
            let _ = child.kill();
            child.wait().unwrap();
            no_orphans(child.id());
            let kept = kept_steps(&bench);
            assert!(kept >= known, "a reply is gone");
            known = kept;
        }
        let output = bench.resume("");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert_eq!(timeless(&bench), timeless(&clean));
        // Nothing that was kept was asked for again.
        let asked: u64 = kept_steps(&clean) as u64;
        assert_eq!(kept_steps(&bench) as u64, asked, "{agent}");
        assert!(bench.journal_answers().values().all(|&count| count == 1));
    }
}

#[test]
fn a_worker_that_dies_in_an_inner_step_is_replaced_and_changes_no_answer() {
    let clean = bench(ITERATIVE, 2);
    assert_eq!(clean.run("").status.code(), Some(0));
    let bench = bench(ITERATIVE, 2);
    let at = bench.path("batches");
    let fault = format!(
        "worker::batch=return(sigkill after=1 at={}:1)",
        at.display()
    );
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(timeless(&bench), timeless(&clean));
    assert_eq!(bench.events_named("worker_restarted").len(), 1);
}

#[test]
fn passages_that_do_not_fit_into_the_window_are_cut_from_the_end_and_said() {
    let bench = bench("agent: fixed_rag", 60);
    let study = fs::read_to_string(bench.path("study.yaml")).unwrap();
    fs::write(
        bench.path("study.yaml"),
        study.replace("num_questions: 12", "num_questions: 3"),
    )
    .unwrap();
    let output = bench.run("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for prediction in bench.predictions("rag") {
        let retrieved = prediction["retrieved"].as_array().unwrap().len() as u64;
        let cut = prediction["passages_cut"].as_u64().unwrap_or(0);
        let prompt = prediction["prompt"].as_str().unwrap();
        let shown = prompt.lines().filter(|line| line.starts_with('[')).count() as u64;
        assert_eq!(shown, retrieved - cut, "{prompt}");
        assert!(cut < retrieved);
        assert!(
            prediction["tokens_in"].as_u64().unwrap() <= 2040,
            "{prediction}"
        );
        assert!(prompt.ends_with("\nAnswer:"), "{prompt}");
    }
    let cut = bench
        .predictions("rag")
        .iter()
        .filter(|p| p["passages_cut"].is_u64())
        .count();
    assert!(cut > 0, "60 passages fit");
}
