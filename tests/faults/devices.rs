//! Several devices on one host, some of them sick.

use crate::bench::{Bench, Options, no_orphans, text};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn two_workers(bench: &Bench, failpoints: &str) -> Command {
    let arguments = ["run", "study.yaml", "--device", "cpu", "--workers", "2"];
    bench.command(&arguments, failpoints)
}

fn run(bench: &Bench, failpoints: &str) -> Output {
    two_workers(bench, failpoints).output().unwrap()
}

fn devices(bench: &Bench) -> BTreeSet<String> {
    let started = bench.events_named("experiment_started");
    started
        .iter()
        .map(|event| event["device"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_devices_share_the_work_and_answer_as_one_does() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let output = run(&bench, "worker::slow=sleep(20)");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(bench.answers(), Bench::clean(&options));
    assert_eq!(
        devices(&bench),
        BTreeSet::from(["cpu/1".to_owned(), "cpu/2".to_owned()])
    );
    assert!(bench.journal_answers().values().all(|&count| count == 1));
    assert!(text(&output).contains(" on cpu/2"), "{}", text(&output));
}

#[test]
fn a_device_that_can_not_be_used_is_given_up_and_its_work_done_elsewhere() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let output = run(&bench, "worker::load=return(device@cpu/2)");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains("cpu/2 is given up"),
        "{}",
        text(&output)
    );
    assert_eq!(bench.answers(), Bench::clean(&options));
}

#[test]
fn what_one_device_could_not_start_another_tries() {
    let options = Options {
        more: "load_timeout: 3\n",
        ..Options::default()
    };
    let clean = Bench::clean(&options);
    for fault in ["sigkill", "hang"] {
        let bench = Bench::new(&options);
        let output = run(&bench, &format!("worker::load=return({fault}@cpu/1)"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(
            text(&output).contains("another device tries"),
            "{}",
            text(&output)
        );
        assert_eq!(bench.answers(), clean, "{fault}");
        for path in bench.experiments() {
            assert!(!path.join("error.log").exists(), "{}", path.display());
        }
    }
}

#[test]
fn when_no_device_can_be_used_the_study_stops_and_can_be_resumed() {
    let options = Options::default();
    let bench = Bench::new(&options);
    let output = run(&bench, "worker::load=return(device)");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(
        text(&output).contains("the device can not be opened"),
        "{}",
        text(&output)
    );
    assert_eq!(bench.resume("").status.code(), Some(0));
    assert_eq!(bench.answers(), Bench::clean(&options));
}

#[test]
fn a_signal_ends_all_devices_in_good_order() {
    let options = Options {
        questions: 80,
        ..Options::default()
    };
    let bench = Bench::new(&options);
    // Building the index would take as long as the other experiment.
    let fetched = bench
        .command(&["fetch", "study.yaml"], "")
        .output()
        .unwrap();
    assert_eq!(fetched.status.code(), Some(0), "{}", text(&fetched));
    let child = two_workers(&bench, "worker::slow=sleep(200)")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let busy = |bench: &Bench| {
        let batches = bench.events_named("batch_dispatched");
        let names: BTreeSet<_> = batches
            .iter()
            .map(|batch| batch["experiment"].to_string())
            .collect();
        names.len()
    };
    while busy(&bench) < 2 {
        assert!(Instant::now() < deadline, "two devices never worked");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id();
    kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::INT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    no_orphans(pid);
    for experiment in ["direct", "rag"] {
        let state = bench.state(experiment);
        assert_eq!(state["interrupted"], true, "{state}\n{}", text(&output));
    }
    assert_eq!(bench.resume("").status.code(), Some(0));
    assert_eq!(bench.answers(), Bench::clean(&options));
    assert!(bench.journal_answers().values().all(|&count| count == 1));
}
