//! Ctrl-C, SIGTERM, and two runs at once.

use crate::bench::{Bench, Options, no_orphans, text};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::Child,
    time::{Duration, Instant},
};

fn wait_for_batches(bench: &Bench, batches: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.events_named("batch_dispatched").len() < batches {
        assert!(Instant::now() < deadline, "no batch was dispatched");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_first_signal_ends_in_good_order_and_resume_completes() {
    let options = Options::default();
    let clean = Bench::clean(&options);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::USR1, 138)] {
        let bench = Bench::new(&options);
        let child = bench.spawn("worker::slow=sleep(40)");
        wait_for_batches(&bench, 3);
        send(&child, signal);
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let state = bench.state("direct");
        assert_eq!(state["interrupted"], true, "{state}");
        assert_eq!(state["phase"], "generating", "{state}");
        assert!(
            state["predictions_complete"].as_u64().unwrap() >= 16,
            "{state}"
        );
        no_orphans(pid);
        assert!(
            text(&output).contains("ragicamp resume"),
            "{}",
            text(&output)
        );
        assert_eq!(bench.resume("").status.code(), Some(0));
        assert_eq!(bench.answers(), clean);
        assert!(bench.journal_answers().values().all(|&count| count == 1));
    }
}

#[test]
fn a_second_signal_kills_at_once_and_loses_nothing_acknowledged() {
    let options = Options::default();
    let bench = Bench::new(&options);
    // The run is stuck in a write when the second signal comes.
    let child = bench.spawn("runner::persist=2*off->sleep(20000)");
    wait_for_batches(&bench, 3);
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(200));
    send(&child, Signal::INT);
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(start.elapsed() < Duration::from_secs(5));
    no_orphans(pid);
    assert!(bench.journal_answers().len() >= 16);
    assert_eq!(bench.resume("").status.code(), Some(0));
    assert_eq!(bench.answers(), Bench::clean(&options));
}

#[test]
fn two_runs_on_one_directory_share_the_work_and_never_an_experiment() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let first = bench.spawn("worker::slow=sleep(30)");
    wait_for_batches(&bench, 1);
    let second = bench.spawn("worker::slow=sleep(30)");
    let (first, second) = (
        first.wait_with_output().unwrap(),
        second.wait_with_output().unwrap(),
    );
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    assert_eq!(bench.answers(), Bench::clean(&options));
    assert!(bench.journal_answers().values().all(|&count| count == 1));
    for experiment in ["direct", "rag"] {
        assert_eq!(
            bench.state(experiment)["attempt"],
            1,
            "{experiment} was begun once"
        );
    }
}
