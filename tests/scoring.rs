//! Metrics whose scores models give, with the real program and tiny models.
#![cfg(all(feature = "inference", feature = "index"))]
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

const DIRECT: &str = "direct_embedded_reader_default_quick_none";
const RAG: &str = "rag_embedded_reader_bm25_k2_default_quick_none";
const QUESTIONS: usize = 6;

/// A study, and copies of the models that its metrics ask.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(metrics: &str) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        copy(
            &fixtures.join("bertscore/roberta_bytes"),
            &bench.path("roberta"),
        );
        copy(
            &fixtures.join("encoders/xlm_roberta_nli"),
            &bench.path("nli"),
        );
        let towns = ["Oslo", "Rome", "Lima", "Bern", "Kyiv", "Doha"];
        let lands = ["Norway", "Italy", "Peru", "Switzerland", "Ukraine", "Qatar"];
        let (mut corpus, mut questions) = (String::new(), String::new());
        for (n, (town, land)) in towns.iter().zip(lands).enumerate().take(QUESTIONS) {
            let text = format!("{town} is the capital of {land}.");
            let passage = json!({"id": n.to_string(), "text": text});
            corpus += &format!("{passage}\n");
            let question = format!("What is the capital of {land}?");
            // The last one has no gold answer.
            let answers = if n + 1 < QUESTIONS {
                vec![town]
            } else {
                vec![]
            };
            let question = json!({"question": question, "answers": answers});
            questions += &format!("{question}\n");
        }
        fs::write(bench.path("corpus.jsonl"), corpus).unwrap();
        fs::write(bench.path("quick.jsonl"), questions).unwrap();
        bench.write_study(metrics, "");
        bench
    }

    fn write_study(&self, metrics: &str, more: &str) {
        let study = format!(
            "\
name: s
datasets: [{{name: quick, path: quick.jsonl, fields: {{question: question, answers: answers}}}}]
direct: {{models: ['embedded:reader'], prompts: [default], quantization: [none]}}
rag:
  models: ['embedded:reader']
  retrievers: [{{type: bm25, name: bm25, corpus: corpus.jsonl}}]
  top_k_values: [2]
  prompts: [default]
  quantization: [none]
generation: {{max_new_tokens: 8, temperature: 0}}
metrics: [{metrics}]
bertscore: {{model: 'hf:./roberta', layer: 3}}
nli: {{model: 'hf:./nli'}}
{more}
"
        );
        fs::write(self.path("study.yaml"), study).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ragicamp"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("RAGICAMP_CACHE", self.path("cache"))
            .env("RAGICAMP_MODELS", self.path("models"))
            .env("HF_HUB_OFFLINE", "1")
            .env("RAGICAMP_DEVICE", "cpu")
            .env_remove("FAILPOINTS");
        command
    }

    fn call(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        exits(&output, code);
        shown(&output)
    }

    fn json(&self, experiment: &str, file: &str) -> Value {
        let path = self.path("outputs/s").join(experiment).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    fn metrics(&self, experiment: &str) -> Value {
        self.json(experiment, "results.json")["metrics"].clone()
    }

    /// The scores of every answer by a metric; null where it has none.
    fn scores(&self, experiment: &str, metric: &str) -> Vec<Value> {
        let predictions = self.json(experiment, "predictions.json");
        let predictions = predictions["predictions"].as_array().unwrap();
        predictions
            .iter()
            .map(|one| one["metrics"][metric].clone())
            .collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
}

fn phase(bench: &Bench, experiment: &str) -> Value {
    bench.json(experiment, "state.json")["phase"].clone()
}

const ALL: &str = "f1, bertscore, bertscore_precision, faithfulness, hallucination";

#[test]
fn models_score_every_answer_after_the_last_one_was_given() {
    let bench = Bench::new(ALL);
    let said = bench.call(0, &["run", "study.yaml"]);
    for experiment in [DIRECT, RAG] {
        assert_eq!(phase(&bench, experiment), "complete", "{said}");
        let metrics = bench.metrics(experiment);
        assert_eq!(metrics["n_scored"], QUESTIONS - 1, "{metrics}");
        assert_eq!(metrics["coverage"], 1.0);
        let bounds = metrics["bertscore_ci95"].as_array().unwrap();
        let mean = metrics["bertscore"].as_f64().unwrap();
        assert!(bounds[0].as_f64().unwrap() <= mean && mean <= bounds[1].as_f64().unwrap());
        assert!(metrics["bertscore_failed"].is_null(), "{metrics}");
        let scores = bench.scores(experiment, "bertscore");
        assert!(
            scores[..QUESTIONS - 1].iter().all(Value::is_f64),
            "{scores:?}"
        );
        assert!(
            scores[QUESTIONS - 1].is_null(),
            "there is nothing to compare it with"
        );
    }
    // What was retrieved bears an answer out, whether there is a gold one or not.
    let metrics = bench.metrics(RAG);
    assert_eq!(metrics["faithfulness_n"], QUESTIONS, "{metrics}");
    for metric in ["faithfulness", "hallucination"] {
        let scores = bench.scores(RAG, metric);
        assert!(
            scores
                .iter()
                .all(|score| (0.0..=1.0).contains(&score.as_f64().unwrap()))
        );
        assert!(bench.metrics(DIRECT)[metric].is_null());
    }

    // No generator was there any more when the first of them was loaded.
    let events = fs::read_to_string(bench.path("outputs/s/events.jsonl")).unwrap();
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let finished: Vec<usize> = (0..events.len())
        .filter(|&at| events[at]["event"] == "experiment_finished")
        .collect();
    assert_eq!(finished.len(), 2, "each is finished once");
    let answered = events
        .iter()
        .rposition(|event| event["event"] == "progress");
    assert!(answered.unwrap() < finished[0]);
    assert!(events[finished[0]]["phase"] == "complete");

    // The same scores from a file.
    let file = format!("outputs/s/{DIRECT}/predictions.json");
    let evaluated = bench.call(
        0,
        &[
            "evaluate",
            &file,
            "--metrics",
            "bertscore",
            "--bertscore-model",
            "hf:./roberta",
            "--bertscore-layer",
            "3",
            "--json",
        ],
    );
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(
        evaluated["aggregate_metrics"]["bertscore"],
        bench.metrics(DIRECT)["bertscore"]
    );

    // Nothing is left to do.
    let again = bench.call(0, &["run", "study.yaml"]);
    assert!(again.contains("0 model loads"), "{again}");
}

#[test]
fn a_model_that_is_not_here_leaves_its_metric_uncomputed_and_the_rest_goes_on() {
    let bench = Bench::new("f1, bertscore, faithfulness");
    fs::remove_dir_all(bench.path("roberta")).unwrap();
    let said = bench.call(0, &["run", "study.yaml"]);
    let warned: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("'bertscore'"))
        .collect();
    assert_eq!(warned.len(), 1, "{said}");
    assert!(warned[0].contains("known but not available"), "{said}");
    assert!(warned[0].contains("./roberta"), "{said}");
    assert_eq!(phase(&bench, RAG), "complete");
    let metrics = bench.metrics(RAG);
    assert!(
        metrics["f1"].is_f64() && metrics["faithfulness"].is_f64(),
        "{metrics}"
    );
    assert!(metrics.get("bertscore").is_none(), "{metrics}");

    let said = bench.call(2, &["metrics", "outputs/s", "-m", "bertscore"]);
    assert!(
        said.contains("the metric bertscore is not computed: "),
        "{said}"
    );
    assert!(!said.contains("not scored"), "{said}");

    // The usual models are on the hub.
    let file = format!("outputs/s/{RAG}/predictions.json");
    let said = bench.call(2, &["evaluate", &file, "--metrics", "bertscore"]);
    assert!(said.contains("FacebookAI/roberta-large"), "{said}");
}

#[test]
fn a_model_that_can_not_be_loaded_is_a_missing_score_and_never_one() {
    let bench = Bench::new("f1, bertscore");
    let weights = bench.path("roberta/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..1000]).unwrap();
    let said = bench.call(1, &["run", "study.yaml"]);
    let state = bench.json(DIRECT, "state.json");
    assert_eq!(state["phase"], "computing_metrics", "{said}");
    let error = state["error"].as_str().unwrap();
    assert!(
        error.contains("the metric bertscore is not computed: 5 of 5 answers have no score: "),
        "{error}"
    );
    let metrics = bench.metrics(DIRECT);
    assert!(
        metrics["bertscore"].is_null() && metrics["f1"].is_f64(),
        "{metrics}"
    );
    assert_eq!(metrics["bertscore_failed"], 5);

    fs::write(&weights, whole).unwrap();
    let said = bench.call(0, &["resume", "outputs/s"]);
    assert!(
        said.contains("0 model loads"),
        "nothing is answered again: {said}"
    );
    let state = bench.json(DIRECT, "state.json");
    assert_eq!(
        (&state["phase"], &state["error"]),
        (&json!("complete"), &Value::Null)
    );
    let metrics = bench.metrics(DIRECT);
    assert!(metrics["bertscore"].is_f64(), "{metrics}");
    assert!(metrics.get("bertscore_failed").is_none(), "{metrics}");
}

#[test]
fn a_model_without_the_labels_of_inference_says_so() {
    let bench = Bench::new("faithfulness");
    let config = bench.path("nli/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"entailment\"", "\"implied\"")).unwrap();
    bench.call(1, &["run", "study.yaml"]);
    let error = bench.json(RAG, "state.json")["error"].to_string();
    assert!(error.contains("contradiction, implied, neutral"), "{error}");
    assert_eq!(
        phase(&bench, DIRECT),
        "complete",
        "it has no passages to ask about"
    );
}

#[test]
fn what_metrics_has_added_stays_when_the_study_asks_for_more() {
    let bench = Bench::new("exact_match");
    bench.call(0, &["run", "study.yaml"]);
    bench.call(0, &["metrics", "outputs/s", "-m", "rouge_l,bertscore"]);
    let added = bench.metrics(RAG);
    let scores = bench.scores(RAG, "bertscore");
    assert!(
        added["rouge_l"].is_f64() && added["bertscore"].is_f64(),
        "{added}"
    );
    assert!(added["exact_match"].is_f64(), "the others stay: {added}");

    // The model is not even looked for: the answers are what they were.
    fs::rename(bench.path("roberta"), bench.path("elsewhere")).unwrap();
    bench.write_study("exact_match, f1", "");
    bench.call(0, &["run", "study.yaml"]);
    let metrics = bench.metrics(RAG);
    for name in [
        "exact_match",
        "rouge_l",
        "rouge_l_ci95",
        "bertscore",
        "bertscore_ci95",
    ] {
        assert_eq!(metrics[name], added[name], "{name}");
    }
    assert!(metrics["f1"].is_f64(), "{metrics}");
    assert_eq!(bench.scores(RAG, "bertscore"), scores);
    let state = bench.json(RAG, "state.json");
    let all = json!(["exact_match", "f1", "rouge_l", "bertscore"]);
    assert_eq!(state["metrics_computed"], all);
    assert_eq!(state["metrics_requested"], all);
    assert_eq!(state["phase"], "complete");
}

#[test]
fn what_metrics_has_added_is_computed_again_where_answers_come_in() {
    let bench = Bench::new("exact_match");
    bench.write_study("exact_match", "num_questions: 2");
    bench.call(0, &["run", "study.yaml"]);
    bench.call(0, &["metrics", "outputs/s", "-m", "rouge_l,bertscore"]);
    assert!(bench.scores(RAG, "bertscore")[1].is_f64());

    bench.write_study("exact_match", "num_questions: 4");
    bench.call(0, &["run", "study.yaml"]);
    for metric in ["rouge_l", "bertscore"] {
        let scores = bench.scores(RAG, metric);
        assert!(
            scores.len() == 4 && scores.iter().all(Value::is_f64),
            "{scores:?}"
        );
    }

    // A score of other answers is no score of these.
    fs::remove_dir_all(bench.path("roberta")).unwrap();
    bench.write_study("exact_match", "");
    let said = bench.call(0, &["run", "study.yaml"]);
    assert!(said.contains("the metric bertscore is dropped"), "{said}");
    let metrics = bench.metrics(RAG);
    assert!(metrics.get("bertscore").is_none(), "{metrics}");
    assert!(metrics["rouge_l"].is_f64(), "{metrics}");
    assert_eq!(phase(&bench, RAG), "complete");
}

#[test]
fn a_file_may_bring_the_passages_of_its_answers() {
    let bench = Bench::new("f1");
    let record = |passages: &Value| {
        json!({"question": "What is the capital of Norway?", "prediction": "Oslo. Or so.",
            "passages": passages, "answers": ["Oslo"]})
    };
    let texts = json!(["Oslo is the capital of Norway.", "Bergen is not."]);
    let objects = json!([{"text": texts[0]}, {"text": texts[1]}]);
    let lines = format!("{}\n{}\n", record(&texts), record(&objects));
    fs::write(bench.path("p.jsonl"), lines).unwrap();
    let evaluate = |code, file: &str| {
        let metrics = "faithfulness,hallucination,answer_in_context";
        let arguments = [
            "evaluate",
            file,
            "--metrics",
            metrics,
            "--nli-model",
            "hf:./nli",
        ];
        let items = [arguments.as_slice(), &["--json", "--items"]].concat();
        bench.call(code, &items)
    };
    let evaluated: Value = serde_json::from_str(&evaluate(0, "p.jsonl")).unwrap();
    let items = evaluated["items"].as_array().unwrap();
    assert_eq!(items[0]["metrics"], items[1]["metrics"]);
    assert_eq!(items[0]["metrics"]["answer_in_context"], 1.0);
    let faithful = items[0]["metrics"]["faithfulness"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&faithful));

    fs::write(
        bench.path("none.jsonl"),
        "{\"question\": \"q\", \"prediction\": \"a\"}\n{\"question\": \"r\", \"prediction\": \"b\"}\n",
    )
    .unwrap();
    let said = bench.call(
        2,
        &[
            "evaluate",
            "none.jsonl",
            "--metrics",
            "faithfulness",
            "--nli-model",
            "hf:./nli",
        ],
    );
    assert!(said.contains("belong under passages or contexts"), "{said}");
}

#[test]
fn a_question_s_own_passages_are_given_to_the_model_and_to_the_metrics() {
    let bench = Bench::new("exact_match");
    let study = "\
name: s
datasets: [{name: quick, path: own.jsonl, fields: {context: passage}}]
rag: {models: ['embedded:reader'], retrievers: [gold], top_k_values: [1], quantization: [none]}
metrics: [exact_match, answer_in_context, context_recall, recall@5, faithfulness]
nli: {model: 'hf:./nli'}
";
    fs::write(bench.path("study.yaml"), study).unwrap();
    let own = |n: usize, passages: &Value| {
        let question = format!("Where was {n} born?");
        json!({"question": question, "answers": ["Oslo"], "supporting": ["p"], "passage": passages})
    };
    let lines = [
        own(1, &json!("She was born in Oslo.")),
        own(2, &json!(["He was born in Rome.", "Or in Oslo."])),
    ];
    fs::write(
        bench.path("own.jsonl"),
        format!("{}\n{}\n", lines[0], lines[1]),
    )
    .unwrap();
    bench.call(0, &["run", "study.yaml"]);
    let gold = "rag_embedded_reader_gold_k1_default_quick_none";
    let predictions = bench.json(gold, "predictions.json");
    let first = &predictions["predictions"][0];
    assert!(
        first["prompt"]
            .as_str()
            .unwrap()
            .contains("She was born in Oslo.")
    );
    assert_eq!(first["retrieved"][0]["id"], "context#0");
    assert_eq!(
        bench.scores(gold, "answer_in_context"),
        [1.0, 0.0],
        "the first passage only"
    );
    assert!(bench.metrics(gold)["faithfulness"].is_f64());
    assert!(
        bench.metrics(gold)["recall@5"].is_null(),
        "nothing was searched"
    );
    bench.call(0, &["verify", "outputs/s"]);
    let questions = bench.json(gold, "questions.json");
    assert_eq!(questions["questions"][1]["context"][1], "Or in Oslo.");

    fs::write(
        bench.path("study.yaml"),
        study.replace("fields: {context: passage}", "fields: {}"),
    )
    .unwrap();
    let said = bench.call(1, &["run", "study.yaml", "--output", "elsewhere"]);
    assert!(
        said.contains("has passages of its own: say where they are"),
        "{said}"
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn a_worker_that_dies_while_it_scores_is_replaced() {
    let bench = Bench::new("bertscore, faithfulness");
    let count = bench.path("batches").display().to_string();
    let output = bench
        .command(&["run", "study.yaml"])
        .env(
            "FAILPOINTS",
            format!("worker::encode=return(sigkill at={count}:0)"),
        )
        .output()
        .unwrap();
    exits(&output, 0);
    assert!(fs::metadata(bench.path("batches")).unwrap().len() > 2);
    for experiment in [DIRECT, RAG] {
        assert!(bench.metrics(experiment)["bertscore"].is_f64());
    }
}
