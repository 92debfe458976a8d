//! The executor one step at a time: what it says to each thing that happens.

use super::{
    super::{BatchPolicy, Effect, Ending, Executor, ExecutorSettings, Input, Outcome, RecordKind},
    model_worker::{answer, settings},
};
use crate::domain::{Event, Failure, FailureClass};
use std::time::Duration;

struct Steps(Executor);

impl Steps {
    fn of(settings: ExecutorSettings, policy: BatchPolicy) -> Self {
        let all = 0..settings.total;
        Self(Executor::new(settings, policy, all))
    }

    /// With a worker that is ready, after the first batch went out.
    fn begun(settings: ExecutorSettings, batch: usize) -> Self {
        let mut steps = Self::of(settings, BatchPolicy::new(batch, None));
        steps.start();
        steps.take(Input::WorkerReady { worker: 1 });
        steps
    }

    fn start(&mut self) -> Vec<String> {
        self.0.start().iter().map(told).collect()
    }

    fn take(&mut self, input: Input) -> Vec<String> {
        self.0.step(input).iter().map(told).collect()
    }

    fn done(&mut self, epoch: u64, items: impl IntoIterator<Item = usize>) -> Vec<String> {
        for idx in items {
            assert_eq!(self.take(item(epoch, idx)), [""; 0]);
        }
        self.take(Input::BatchDone { epoch })
    }

    fn tick(&mut self, seconds: f64) -> Vec<String> {
        self.take(Input::Tick(Duration::from_secs_f64(seconds)))
    }
}

fn item(epoch: u64, idx: usize) -> Input {
    Input::ItemDone {
        epoch,
        idx,
        generated: answer(idx),
        latency: Duration::ZERO,
    }
}

fn failed(epoch: u64, class: FailureClass) -> Input {
    Input::BatchFailed {
        epoch,
        failure: Failure::new(class, "why"),
    }
}

/// How it ends with this input.
fn ended(steps: &mut Steps, input: Input) -> Ending {
    match steps.0.step(input).pop() {
        Some(Effect::Finish(outcome)) => outcome.ending,
        other => panic!("{other:?}"),
    }
}

fn told(effect: &Effect) -> String {
    match effect {
        Effect::Dispatch { epoch, items } => format!("batch {epoch}: {items:?}"),
        Effect::RestartWorker { worker } => format!("worker {worker}"),
        Effect::ClearGpu => "clear".to_owned(),
        Effect::Append { records } => {
            let each = records.iter().map(|record| match &record.kind {
                RecordKind::Answered { .. } => format!("{}", record.idx),
                RecordKind::Failed(_) => format!("{} failed", record.idx),
                RecordKind::Aborted { .. } => format!("{} aborted", record.idx),
            });
            format!("append {}", each.collect::<Vec<_>>().join(", "))
        }
        Effect::Sync { ticket } => format!("sync {ticket}"),
        Effect::Finish(outcome) => format!(
            "finish {} and {}{}",
            outcome.answered,
            outcome.unanswered,
            if outcome.worker_reusable {
                ""
            } else {
                ", kill it"
            }
        ),
        Effect::Emit(event) => match event {
            Event::BatchDispatched { size, .. } => format!("say: {size} go out"),
            Event::BatchFailed { size, class, .. } => format!("say: {size} failed, {class}"),
            Event::BatchSizeChanged {
                from, to, reason, ..
            } => format!("say: {from} to {to}, {reason}"),
            Event::Progress {
                answered,
                unanswered,
                total,
                tokens,
                ..
            } => format!("say: {answered} and {unanswered} of {total}, {tokens} tokens"),
            Event::QuestionFailed { idx, message, .. } => format!("say: {idx} failed, {message}"),
            Event::WorkerRestarted { worker, reason, .. } => {
                format!("say: worker {worker}, {reason}")
            }
            other => format!("{other:?}"),
        },
    }
}

#[test]
fn answers_are_appended_before_the_next_batch_and_synced_after_it() {
    let mut steps = Steps::of(settings(5), BatchPolicy::new(2, None));
    assert_eq!(steps.start(), ["worker 1"]);
    let first = steps.take(Input::WorkerReady { worker: 1 });
    assert_eq!(first, ["say: 2 go out", "batch 1: [0, 1]"]);
    assert_eq!(
        steps.done(1, [1, 0]),
        ["append 1, 0", "say: 2 go out", "batch 2: [2, 3]", "sync 1"]
    );
    let told = steps.take(Input::Persisted { ticket: 1 });
    assert_eq!(told, ["say: 2 and 0 of 5, 24 tokens"]);
    assert_eq!(steps.take(Input::Persisted { ticket: 1 }), [""; 0]);
    assert_eq!(
        steps.done(2, [2, 3]),
        ["append 2, 3", "say: 1 go out", "batch 3: [4]", "sync 2"]
    );
    assert_eq!(steps.0.next_epoch(), 4);
    // The end waits for everything to be on disk.
    assert_eq!(steps.done(3, [4]), ["append 4", "sync 3"]);
    let told = steps.take(Input::Persisted { ticket: 2 });
    assert_eq!(told, ["say: 4 and 0 of 5, 48 tokens"]);
    assert_eq!(
        steps.take(Input::Persisted { ticket: 3 }),
        ["say: 5 and 0 of 5, 60 tokens", "finish 5 and 0"]
    );
    assert_eq!(steps.tick(1e9), [""; 0]);
}

#[test]
fn what_another_worker_says_counts_for_nothing() {
    let mut steps = Steps::of(settings(4), BatchPolicy::new(2, None));
    steps.start();
    assert_eq!(steps.take(Input::WorkerReady { worker: 9 }), [""; 0]);
    let died = |worker| Input::WorkerExited {
        worker,
        failure: Failure::new(FailureClass::WorkerDied, "why"),
    };
    assert_eq!(steps.take(died(9)), [""; 0]);
    steps.take(Input::WorkerReady { worker: 1 });
    assert_eq!(steps.take(died(9)), [""; 0]);
    assert_eq!(steps.take(Input::WorkerReady { worker: 1 }), [""; 0]);
    assert_eq!(steps.take(item(7, 0)), [""; 0]);
    assert_eq!(
        steps.take(died(1)),
        [
            "say: 2 failed, worker_died",
            "say: worker 2, why",
            "say: 2 to 1, worker_died, once",
            "worker 2"
        ]
    );
    assert_eq!(steps.take(died(1)), [""; 0]);
    assert_eq!(
        steps.take(died(2)),
        ["say: worker 3, why", "worker 3"],
        "it died while it loaded"
    );
    // Of the batch that died nothing is taken any more.
    steps.take(Input::WorkerReady { worker: 3 });
    assert_eq!(steps.take(item(1, 0)), [""; 0]);
    assert_eq!(steps.take(item(2, 1)), [""; 0], "not asked in this batch");
    let after = steps.done(2, [0]);
    assert_eq!(after[0], "append 0");
}

#[test]
fn a_load_that_fails_is_tried_once_more_unless_it_can_not_help() {
    let load_failed = |worker, class| Input::LoadFailed {
        worker,
        failure: Failure::new(class, "why"),
    };
    let mut steps = Steps::of(settings(4), BatchPolicy::new(2, None));
    steps.start();
    assert_eq!(
        steps.take(load_failed(9, FailureClass::Transient)),
        [""; 0],
        "of another worker"
    );
    assert_eq!(
        steps.take(load_failed(1, FailureClass::Transient)),
        ["say: worker 2, why", "worker 2"]
    );
    let failure = Failure::new(FailureClass::Transient, "why");
    assert_eq!(
        ended(&mut steps, load_failed(2, FailureClass::Transient)),
        Ending::Failed(failure)
    );

    let mut steps = Steps::of(settings(4), BatchPolicy::new(2, None));
    steps.start();
    let failure = Failure::new(FailureClass::Environment, "why");
    assert_eq!(
        ended(&mut steps, load_failed(1, FailureClass::Environment)),
        Ending::StopStudy(failure)
    );

    let mut steps = Steps::begun(settings(4), 2);
    assert_eq!(
        steps.take(load_failed(1, FailureClass::Permanent)),
        [""; 0],
        "it is loaded"
    );
}

#[test]
fn after_the_end_only_the_disk_is_listened_to() {
    let mut steps = Steps::begun(settings(4), 2);
    steps.done(1, [0, 1]);
    assert_eq!(steps.take(item(2, 2)), [""; 0]);
    assert_eq!(steps.take(Input::Cancel), ["append 2", "sync 2"]);
    assert_eq!(steps.take(item(2, 3)), [""; 0]);
    assert_eq!(steps.take(failed(2, FailureClass::Oom)), [""; 0]);
    assert_eq!(steps.tick(1e9), [""; 0]);
    let told = steps.take(Input::Persisted { ticket: 1 });
    assert_eq!(told, ["say: 2 and 0 of 4, 24 tokens"]);
    assert_eq!(
        steps.take(Input::Persisted { ticket: 2 }),
        ["say: 3 and 0 of 4, 36 tokens", "finish 3 and 0, kill it"]
    );
}

#[test]
fn the_first_ending_counts_whatever_happens_while_the_disk_is_waited_for() {
    let limited = ExecutorSettings {
        experiment_timeout: Some(Duration::from_secs(40)),
        ..settings(4)
    };
    let failure = || Failure::new(FailureClass::Environment, "later");
    let later = [
        Input::Tick(Duration::from_secs(41)),
        Input::Stop { failure: failure() },
        Input::WorkerExited {
            worker: 1,
            failure: failure(),
        },
    ];
    for later in later {
        let mut steps = Steps::begun(limited.clone(), 4);
        assert_eq!(steps.done(1, 0..4), ["append 0, 1, 2, 3", "sync 1"]);
        assert_eq!(steps.take(later.clone()), [""; 0], "{later:?}");
        let last = steps.0.step(Input::Persisted { ticket: 1 });
        let finish = Effect::Finish(Outcome {
            ending: Ending::Exhausted { last_failure: None },
            answered: 4,
            unanswered: 0,
            worker_reusable: true,
        });
        assert_eq!(last.last(), Some(&finish), "{later:?}");
    }
}

#[test]
fn a_disk_that_takes_nothing_ends_it_at_once() {
    let mut steps = Steps::begun(settings(4), 2);
    steps.done(1, [0, 1]);
    let failure = Failure::new(FailureClass::Environment, "full");
    assert_eq!(
        steps.take(Input::PersistFailed { failure }),
        ["finish 2 and 0, kill it"]
    );
    assert_eq!(steps.take(Input::Persisted { ticket: 1 }), [""; 0]);
}

#[test]
fn what_else_can_not_be_kept_stops_the_study_with_every_answer() {
    let mut steps = Steps::begun(settings(4), 2);
    steps.take(item(1, 1));
    let failure = Failure::new(FailureClass::Environment, "stale");
    assert_eq!(steps.take(Input::Stop { failure }), ["append 1", "sync 1"]);
    assert_eq!(
        steps.take(Input::Persisted { ticket: 1 }),
        ["say: 1 and 0 of 4, 12 tokens", "finish 1 and 0, kill it"]
    );
}

#[test]
fn a_batch_hangs_when_nothing_came_for_longer_than_its_limit() {
    let mut steps = Steps::begun(settings(4), 2);
    assert_eq!(steps.tick(60.0), [""; 0]);
    // A token is progress, and so is an answer; of other batches it is not.
    steps.take(Input::Progress { epoch: 1 });
    assert_eq!(steps.tick(119.0), [""; 0]);
    steps.take(item(1, 0));
    assert_eq!(steps.tick(120.0), [""; 0]);
    steps.take(Input::Progress { epoch: 7 });
    assert_eq!(steps.tick(179.0), ["append 0", "sync 1"]);
    let hung = steps.tick(179.1);
    assert_eq!(hung[0], "say: 1 failed, hang");
    assert_eq!(hung.last().unwrap(), "worker 2");
}

#[test]
fn loading_and_the_experiment_have_limits_of_their_own() {
    let mut steps = Steps::of(settings(4), BatchPolicy::new(2, None));
    steps.start();
    assert_eq!(steps.tick(600.0), [""; 0]);
    assert_eq!(steps.tick(600.1), ["finish 0 and 0, kill it"]);

    let limited = ExecutorSettings {
        experiment_timeout: Some(Duration::from_secs(40)),
        spent: Duration::from_secs(10),
        ..settings(4)
    };
    let mut steps = Steps::begun(limited, 2);
    steps.take(item(1, 0));
    assert_eq!(steps.tick(1.9), [""; 0]);
    assert_eq!(steps.tick(29.9), ["append 0", "sync 1"]);
    assert_eq!(steps.tick(30.0), [""; 0]);
    assert_eq!(
        steps.take(Input::Persisted { ticket: 1 }),
        ["say: 1 and 0 of 4, 12 tokens", "finish 1 and 0, kill it"]
    );
}

#[test]
fn answers_of_a_long_batch_wait_two_seconds_at_most() {
    let mut steps = Steps::begun(settings(8), 8);
    steps.tick(10.0);
    steps.take(item(1, 3));
    steps.tick(11.0);
    steps.take(item(1, 5));
    assert_eq!(steps.tick(11.9), [""; 0]);
    assert_eq!(steps.tick(12.0), ["append 3, 5", "sync 1"]);
    steps.take(item(1, 0));
    assert_eq!(steps.tick(13.9), [""; 0]);
    assert_eq!(steps.tick(14.0), ["append 0", "sync 2"]);
}

#[test]
fn what_goes_wrong_is_told() {
    let mut steps = Steps::begun(settings(8), 4);
    assert_eq!(
        steps.take(failed(1, FailureClass::Oom)),
        [
            "say: 4 failed, oom",
            "say: 4 to 2, out of memory",
            "clear",
            "say: 2 go out",
            "batch 2: [0, 1]"
        ]
    );
    assert_eq!(
        steps.take(failed(2, FailureClass::Transient)),
        [
            "say: 2 failed, transient",
            "say: 2 to 1, transient, once",
            "say: 1 go out",
            "batch 3: [0]"
        ]
    );
    let bad = Input::ItemFailed {
        epoch: 3,
        idx: 0,
        failure: Failure::new(FailureClass::BadItem, "too long\nby far"),
    };
    assert_eq!(
        steps.take(bad),
        ["say: 0 failed, too long", "append 0 failed", "sync 1"]
    );
    let next = steps.take(Input::BatchDone { epoch: 3 });
    assert_eq!(next, ["say: 1 go out", "batch 4: [1]"]);
    assert_eq!(
        steps.take(Input::Persisted { ticket: 1 }),
        ["say: 0 and 1 of 8, 0 tokens"]
    );
}

#[test]
fn a_worker_that_ends_a_batch_too_early_has_not_answered_the_rest() {
    let mut steps = Steps::begun(settings(2), 2);
    steps.take(item(1, 0));
    assert_eq!(
        steps.take(Input::BatchDone { epoch: 1 }),
        [
            "say: 1 failed, transient",
            "say: 2 to 1, transient, once",
            "append 0",
            "say: 1 go out",
            "batch 2: [1]",
            "sync 1"
        ]
    );
}

#[test]
fn batches_grow_again_when_they_are_answered_and_not_when_they_are_refused() {
    let sizes = |refused: bool| {
        let mut steps = Steps::of(settings(400), BatchPolicy::new(8, Some(4)));
        steps.start();
        steps.take(Input::WorkerReady { worker: 1 });
        for epoch in 1..40 {
            for idx in (epoch as usize - 1) * 4..epoch as usize * 4 {
                let failure = Failure::new(FailureClass::BadItem, "no");
                steps.take(match refused {
                    true => Input::ItemFailed {
                        epoch,
                        idx,
                        failure,
                    },
                    false => item(epoch, idx),
                });
            }
            let told = steps.take(Input::BatchDone { epoch });
            if told.iter().any(|told| told.starts_with("say: 4 to 5")) {
                return Some(epoch);
            }
        }
        None
    };
    assert_eq!(sizes(true), None);
    assert!(sizes(false).is_some());
}

#[test]
fn an_automatic_size_counts_from_the_next_batch_on() {
    let mut steps = Steps::of(settings(8), BatchPolicy::new(1, None));
    steps.start();
    steps.0.set_policy(BatchPolicy::new(3, None));
    assert_eq!(steps.0.policy().size(), 3);
    let first = steps.take(Input::WorkerReady { worker: 1 });
    assert_eq!(first[1], "batch 1: [0, 1, 2]");
}

#[test]
fn a_warm_worker_is_asked_at_once_and_under_epochs_of_its_own() {
    let warm = ExecutorSettings {
        warm_worker: Some(3),
        next_worker: 4,
        next_epoch: 12,
        ..settings(2)
    };
    let mut steps = Steps::of(warm, BatchPolicy::new(2, None));
    assert_eq!(steps.start(), ["say: 2 go out", "batch 12: [0, 1]"]);
    let died = Input::WorkerExited {
        worker: 3,
        failure: Failure::new(FailureClass::WorkerDied, "why"),
    };
    assert_eq!(steps.take(died).last().unwrap(), "worker 4");
    assert_eq!(steps.0.next_epoch(), 13);
}
