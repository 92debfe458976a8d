//! The three stories that must be seen, on events and artifacts.

use crate::bench::{Bench, Options, text};

const HUNDRED: Options = Options {
    questions: 100,
    batch: 32,
    more: "",
};

fn sizes(bench: &Bench, experiment: &str) -> Vec<u64> {
    bench
        .events_named("batch_dispatched")
        .iter()
        .filter(|event| {
            event["experiment"]
                .as_str()
                .unwrap()
                .starts_with(experiment)
        })
        .map(|event| event["size"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_batch_that_fails_once_is_halved_and_the_next_is_full_again() {
    let bench = Bench::new(&HUNDRED);
    let counter = bench.path("counter");
    let fault = format!("worker::batch=return(transient at={}:1)", counter.display());
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(sizes(&bench, "direct"), [32, 32, 16, 16, 32, 4]);
    assert_eq!(bench.state("direct")["phase"], "complete");
    assert_eq!(bench.state("direct")["predictions_complete"], 100);
    assert_eq!(bench.answers(), Bench::clean(&HUNDRED));
}

#[test]
fn after_five_failures_in_a_row_the_rest_is_aborted_and_the_study_goes_on() {
    let bench = Bench::new(&HUNDRED);
    // Batches 1 to 11 fail: 32, 16, 8, 4, 2, 1, its second chance, and four
    // more; then the other experiment begins and all is well.
    let counter = bench.path("counter");
    let fault = format!(
        "worker::batch=return(transient from={}:1 until=12)",
        counter.display()
    );
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let state = bench.state("direct");
    assert_eq!(state["phase"], "failed");
    assert_eq!(state["predictions_complete"], 32);
    assert_eq!(
        state["error"],
        "Error invalid configuration argument at line 380 in file /src/csrc/ops.cu"
    );
    let predictions = bench.predictions("direct");
    assert_eq!(predictions.len(), 100);
    let aborted = predictions
        .iter()
        .filter(|prediction| prediction["prediction"] == "[ABORTED: 5 consecutive failures]")
        .count();
    assert_eq!(aborted, 68);
    assert!(predictions.iter().all(|prediction| {
        prediction["error"].is_null()
            != prediction["prediction"]
                .as_str()
                .unwrap()
                .starts_with("[ABORTED")
    }));
    let log = std::fs::read_to_string(bench.experiment("direct").join("error.log")).unwrap();
    assert!(
        log.starts_with("Error: Error invalid configuration argument at line 380"),
        "{log}"
    );
    assert!(
        log.contains("\nModel: embedded:reader\nQuantization: none\n"),
        "{log}"
    );
    assert_eq!(bench.state("rag")["phase"], "complete");

    // What was computed is not computed again, and the end is a clean run's.
    let output = bench.resume("");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.answers(), Bench::clean(&HUNDRED));
    assert!(bench.journal_answers().values().all(|&count| count == 1));
    assert!(!bench.experiment("direct").join("error.log").exists());
}

#[test]
fn a_worker_that_always_dies_fails_its_experiment_and_one_that_dies_once_does_not() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let counter = bench.path("counter");
    // 8, 4, 2, 1 and the second chance, then the other experiment.
    let fault = format!(
        "worker::batch=return(sigsegv from={}:0 until=5)",
        counter.display()
    );
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let state = bench.state("direct");
    assert_eq!(state["phase"], "failed");
    assert_eq!(state["failure_class"], "permanent");
    let log = std::fs::read_to_string(bench.experiment("direct").join("error.log")).unwrap();
    assert!(log.contains("SIGSEGV"), "{log}");
    assert!(
        log.contains("[fault] sigsegv"),
        "the worker's last lines are in it: {log}"
    );
    assert_eq!(bench.state("rag")["phase"], "complete");

    let bench = Bench::new(&options);
    let counter = bench.path("counter");
    let fault = format!("worker::batch=return(sigkill at={}:0)", counter.display());
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.events_named("worker_restarted").len(), 1);
    assert_eq!(bench.answers(), Bench::clean(&options));
}
