//! What a worker can do wrong in the middle of a batch.

use crate::bench::{Bench, Dice, Options, text};
use std::time::Instant;

const HASTY: Options = Options {
    questions: 40,
    batch: 8,
    more: "batch_timeout: 2\nload_timeout: 10\n",
};

/// Runs with a fault that is recoverable, and demands the clean answers.
fn recovers(fault: &str) -> Bench {
    let bench = Bench::new(&HASTY);
    let counter = bench.path("counter");
    let fault = fault.replace("COUNTER", &counter.display().to_string());
    let output = bench.run(&fault);
    assert_eq!(output.status.code(), Some(0), "{fault}: {}", text(&output));
    assert_eq!(bench.answers(), Bench::clean(&HASTY), "{fault}");
    assert!(
        bench.journal_answers().values().all(|&count| count == 1),
        "{fault}"
    );
    bench
}

#[test]
fn out_of_memory_above_four_questions_is_found_out_and_remembered() {
    let bench = recovers("worker::batch=return(oom over=4)");
    let failures = bench.events_named("batch_failed").len();
    assert_eq!(
        failures, 1,
        "the second experiment starts at the size that fits"
    );
    let largest = bench
        .predictions("rag")
        .iter()
        .map(|prediction| prediction["batch_size"].as_u64().unwrap())
        .max();
    assert_eq!(largest, Some(4));
}

#[test]
fn a_transient_failure_at_a_random_batch_costs_nothing() {
    let mut dice = Dice::new();
    let (batch, after) = (dice.roll(10), dice.roll(8));
    recovers(&format!(
        "worker::batch=return(transient after={after} at=COUNTER:{batch})"
    ));
}

#[test]
fn a_worker_that_is_killed_crashes_hangs_or_panics_in_a_batch_costs_that_batch() {
    let mut dice = Dice::new();
    for kind in [
        "sigkill",
        "sigsegv",
        "sigstop",
        "hang",
        "panic",
        "device_lost",
    ] {
        let (batch, after) = (dice.roll(10), dice.roll(8));
        let bench = recovers(&format!(
            "worker::batch=return({kind} after={after} at=COUNTER:{batch})"
        ));
        assert_eq!(bench.events_named("batch_failed").len(), 1, "{kind}");
        let restarts = bench.events_named("worker_restarted").len();
        assert_eq!(restarts, usize::from(kind != "panic"), "{kind}");
    }
}

#[test]
fn faults_in_every_third_batch_do_not_keep_a_study_from_its_end() {
    recovers("worker::batch=return(sigkill after=3 every=COUNTER:3)");
}

#[test]
fn a_poison_question_costs_only_itself() {
    let bench = Bench::new(&HASTY);
    let output = bench.run("worker::batch=return(transient idx=11)");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for experiment in ["direct", "rag"] {
        let state = bench.state(experiment);
        assert_eq!(
            state["phase"], "failed",
            "an unanswered question is never complete"
        );
        assert_eq!(state["predictions_complete"], 39);
        let failed: Vec<_> = bench
            .predictions(experiment)
            .into_iter()
            .filter(|prediction| !prediction["error"].is_null())
            .collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0]["idx"], 11);
        assert!(
            failed[0]["prediction"]
                .as_str()
                .unwrap()
                .starts_with("[ERROR: Error invalid")
        );
        assert_eq!(
            failed[0]["metrics"],
            serde_json::json!({}),
            "an error is never scored"
        );
    }
}

#[test]
fn a_model_that_hangs_while_loading_is_given_up_and_the_study_goes_on() {
    let bench = Bench::new(&Options {
        more: "load_timeout: 1\n",
        ..Options::default()
    });
    let start = Instant::now();
    let output = bench.run("worker::load=return(hang)");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(start.elapsed().as_secs() < 30);
    assert_eq!(bench.state("direct")["failure_class"], "timeout");
    assert_eq!(bench.state("rag")["failure_class"], "timeout");
}

#[test]
fn failures_of_loading_and_starting_fail_their_experiment_with_one_sentence() {
    for (fault, class, word) in [
        (
            "worker::load=return(missing)",
            "permanent",
            "model.norm.weight",
        ),
        ("worker::load=return(sigkill)", "worker_died", "SIGKILL"),
        ("worker::load=return(oom)", "oom", "out of memory"),
        (
            "worker::load=return(panic)",
            "transient",
            "panic on purpose",
        ),
        (
            "worker::spawn=return",
            "transient",
            "cannot start the worker",
        ),
    ] {
        let bench = Bench::new(&Options::default());
        let output = bench.run(fault);
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", text(&output));
        for experiment in ["direct", "rag"] {
            let state = bench.state(experiment);
            assert_eq!(state["phase"], "failed", "{fault}");
            assert_eq!(state["failure_class"], class, "{fault}");
            assert!(
                state["error"].as_str().unwrap().contains(word),
                "{fault}: {state}"
            );
        }
        assert_eq!(bench.resume("").status.code(), Some(0));
    }
}
