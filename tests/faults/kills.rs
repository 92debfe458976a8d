//! The supervisor itself is killed, at random moments, again and again.

use crate::bench::{Bench, Dice, Options, no_orphans};
use std::{
    collections::BTreeSet,
    process::Stdio,
    time::{Duration, Instant},
};

/// What `health` and people may rely on after a kill: every answer that an
/// event called durable.
fn acknowledged(bench: &Bench) -> usize {
    let mut last = std::collections::BTreeMap::new();
    for event in bench.events_named("progress") {
        let name = event["experiment"].as_str().unwrap().to_owned();
        last.insert(name, event["answered"].as_u64().unwrap());
    }
    last.values().sum::<u64>() as usize
}

/// Whether the last batch was dispatched and not yet on disk.
fn between_dispatch_and_persisted(bench: &Bench) -> bool {
    bench
        .events()
        .iter()
        .rev()
        .find_map(|event| match event["event"].as_str() {
            Some("batch_dispatched") => Some(true),
            Some("experiment_finished" | "study_finished") => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

#[test]
fn killed_again_and_again_nothing_acknowledged_is_lost_or_answered_twice() {
    let kills: usize = std::env::var("RAGICAMP_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(20);
    let options = Options {
        questions: 50,
        batch: 4,
        more: "",
    };
    let clean = Bench::clean(&options);
    let mut dice = Dice::new();
    let (mut done, mut between, mut studies) = (0, 0, 0);
    while done < kills {
        studies += 1;
        let bench = Bench::new(&options);
        let mut known = BTreeSet::new();
        // Each attempt gets killed, a few batches further on, until one ends.
        for attempt in 0.. {
            assert!(attempt < 200, "the study does not get ahead");
            let before = bench.events_named("batch_dispatched").len();
            let arguments: &[&str] = if attempt == 0 || !bench.study().join("study.yaml").exists() {
                &["run", "study.yaml"]
            } else {
                &["resume", "outputs/faults"]
            };
            let mut child = bench
                .command(arguments, "worker::slow=sleep(25)")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let wanted = before + 1 + dice.roll(4) as usize;
            let deadline = Instant::now() + Duration::from_secs(60);
            let ended = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if done < kills && bench.events_named("batch_dispatched").len() >= wanted {
                    std::thread::sleep(Duration::from_millis(dice.roll(40)));
                    break None;
                }
                assert!(Instant::now() < deadline, "the run hangs");
                std::thread::sleep(Duration::from_millis(2));
            };
            if let Some(status) = ended {
                assert_eq!(status.code(), Some(0));
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            done += 1;
            between += usize::from(between_dispatch_and_persisted(&bench));
            let journal = bench.journal_answers();
            assert!(
                journal.len() >= acknowledged(&bench),
                "an acknowledged answer is lost"
            );
            assert!(journal.values().all(|&count| count == 1), "answered twice");
            let now: BTreeSet<_> = journal.into_keys().collect();
            assert!(now.is_superset(&known), "an answer is gone");
            known = now;
            no_orphans(child.id());
        }
        assert_eq!(bench.answers(), clean);
        assert!(bench.journal_answers().values().all(|&count| count == 1));
    }
    eprintln!("{done} kills over {studies} studies, {between} between dispatch and persisted");
    assert!(
        between * 2 >= done,
        "only {between} of {done} kills hit a batch in flight"
    );
}

#[test]
fn killed_right_before_and_after_every_write_of_the_journal_it_goes_on() {
    let options = Options::default();
    let clean = Bench::clean(&options);
    for point in ["runner::dispatch", "runner::persist", "runner::persisted"] {
        for skip in [0, 2] {
            let bench = Bench::new(&options);
            // A panic outside of an experiment's control, caught as a bug of
            // ours, or an abort of the whole program: both must be survived.
            let output = bench.run(&format!("{point}={skip}*off->1*panic"));
            assert_eq!(output.status.code(), Some(101), "{point}");
            assert_eq!(bench.state("rag")["phase"], "complete", "the study goes on");
            assert_eq!(bench.resume("").status.code(), Some(0));
            assert_eq!(bench.answers(), clean, "{point} after {skip}");
            assert!(bench.journal_answers().values().all(|&count| count == 1));
        }
    }
}
