#![allow(clippy::unwrap_used)]

mod model_worker;
mod steps;

use super::{BatchPolicy, Ending, RecordKind};
use crate::domain::{Event, Failure, FailureClass, Recovery, Threshold};
use model_worker::{Fate, Kill, ModelWorker, Trace, answer, settings};
use proptest::prelude::*;
use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

fn run(total: usize, batch: usize, worker: &mut ModelWorker) -> Trace {
    worker.run(
        settings(total),
        BatchPolicy::new(batch, None),
        (0..total).collect(),
    )
}

fn with_fate<'a>(fate: impl FnMut(usize, &[usize]) -> Fate + 'a) -> ModelWorker<'a> {
    ModelWorker {
        fate: Box::new(fate),
        ..ModelWorker::default()
    }
}

fn fail(class: FailureClass) -> Fate {
    Fate::Fail { after: 0, class }
}

fn ending(trace: &Trace) -> &Ending {
    &trace.outcome.as_ref().unwrap().ending
}

#[test]
fn story_1_a_batch_that_fails_once_is_halved_and_the_next_is_full_again() {
    let trace = run(
        100,
        32,
        &mut with_fate(|n, _| match n {
            1 => fail(FailureClass::Transient),
            _ => Fate::Fine,
        }),
    );
    assert_eq!(trace.sizes(), [32, 32, 16, 16, 32, 4]);
    assert_eq!(trace.answered(), (0..100).collect::<Vec<_>>());
    assert_eq!(ending(&trace), &Ending::Exhausted { last_failure: None });
    assert_eq!(trace.restarts, 1, "a transient failure needs no new worker");
}

#[test]
fn story_2_after_five_failures_in_a_row_the_rest_is_recorded_as_aborted() {
    let trace = run(
        100,
        32,
        &mut with_fate(|n, _| match n {
            0 => Fate::Fine,
            _ => fail(FailureClass::Transient),
        }),
    );
    assert_eq!(trace.answered(), (0..32).collect::<Vec<_>>());
    let aborted: Vec<_> = trace
        .journal
        .iter()
        .filter(|record| {
            matches!(
                record.kind,
                RecordKind::Aborted {
                    consecutive_failures: 5,
                    ..
                }
            )
        })
        .map(|record| record.idx)
        .collect();
    assert_eq!(aborted, (32..100).collect::<Vec<_>>());
    assert_eq!(trace.journal.len(), 100);
    assert!(matches!(
        ending(&trace),
        Ending::Aborted {
            consecutive_failures: 5,
            ..
        }
    ));
    // 32, 16, 8, 4, 2, 1, its second chance, and four more.
    assert_eq!(trace.batches.len() - 1, 11);
}

#[test]
fn story_3_a_worker_that_dies_in_every_first_batch_is_given_up_and_one_that_dies_once_is_not() {
    let trace = run(50, 32, &mut with_fate(|_, _| Fate::Die { after: 0 }));
    assert!(
        matches!(ending(&trace), Ending::Failed(failure) if failure.class == FailureClass::Permanent)
    );
    assert_eq!(trace.sizes(), [32, 16, 8, 4, 2, 1, 1]);

    let trace = run(
        50,
        32,
        &mut with_fate(|n, _| match n {
            0 => Fate::Die { after: 0 },
            _ => Fate::Fine,
        }),
    );
    assert_eq!(trace.answered().len(), 50);
    assert_eq!(trace.restarts, 2);
    assert_eq!(ending(&trace), &Ending::Exhausted { last_failure: None });
}

#[test]
fn halving_from_32_to_1_is_not_five_failures() {
    let trace = run(
        64,
        32,
        &mut with_fate(|n, _| {
            if n < 6 {
                fail(FailureClass::Transient)
            } else {
                Fate::Fine
            }
        }),
    );
    assert_eq!(trace.answered().len(), 64);
    assert!(
        !trace
            .events
            .iter()
            .any(|event| matches!(event, Event::Aborted { .. }))
    );
}

#[test]
fn one_poison_question_costs_only_itself_and_few_attempts() {
    for poison in 0..32 {
        let trace = run(
            32,
            32,
            &mut with_fate(|_, items| {
                if items.contains(&poison) {
                    fail(FailureClass::Transient)
                } else {
                    Fate::Fine
                }
            }),
        );
        assert_eq!(trace.answered().len(), 31);
        assert!(matches!(
            trace.records()[&poison][..],
            [RecordKind::Failed(_)]
        ));
        assert!(trace.batches.len() - 1 <= 2 * 5 + 1, "{:?}", trace.sizes());
        assert!(matches!(
            ending(&trace),
            Ending::Exhausted {
                last_failure: Some(_)
            }
        ));
    }
}

#[test]
fn a_model_that_fits_only_one_question_completes_and_is_remembered() {
    let trace = run(
        40,
        32,
        &mut with_fate(|_, items| {
            if items.len() > 1 {
                fail(FailureClass::Oom)
            } else {
                Fate::Fine
            }
        }),
    );
    assert_eq!(trace.answered().len(), 40);
    assert!(trace.clears >= 5, "memory is cleared before each retry");
    let growth_attempts = trace.sizes()[5..].iter().filter(|&&size| size > 1).count();
    assert!(growth_attempts <= 2, "grows slowly: {:?}", trace.sizes());
}

#[test]
fn out_of_memory_lasts_for_the_batches_after_it_and_a_transient_failure_does_not() {
    let trace = run(
        96,
        32,
        &mut with_fate(|n, _| {
            if n == 0 {
                fail(FailureClass::Oom)
            } else {
                Fate::Fine
            }
        }),
    );
    assert_eq!(trace.sizes(), [32, 16, 16, 16, 16, 16, 16]);
    let learned = BatchPolicy::new(32, Some(16));
    let next = ModelWorker::default().run(settings(40), learned, (0..40).collect());
    assert_eq!(next.sizes(), [16, 16, 8]);
}

#[test]
fn at_the_minimum_the_items_are_tried_one_by_one() {
    let mut eight = settings(8);
    eight.min_batch_size = 8;
    let trace = with_fate(|_, items| {
        if items.len() > 1 || items == [3] {
            fail(FailureClass::Transient)
        } else {
            Fate::Fine
        }
    })
    .run(eight, BatchPolicy::new(8, None), (0..8).collect());
    assert_eq!(trace.sizes(), [8, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(trace.answered().len(), 7);
}

#[test]
fn a_smallest_batch_of_many_of_which_nothing_is_saved_is_one_failure() {
    let mut four = settings(40);
    four.min_batch_size = 4;
    let trace = with_fate(|_, _| fail(FailureClass::Transient)).run(
        four,
        BatchPolicy::new(4, None),
        (0..40).collect(),
    );
    assert_eq!(trace.batches.len(), 5 * (1 + 4));
    assert_eq!(trace.journal.len(), 40);
}

#[test]
fn a_smallest_batch_of_which_one_question_was_answered_is_no_failure() {
    let mut strict = settings(40);
    strict.min_batch_size = 4;
    strict.max_consecutive_failures = Threshold::After(NonZeroU32::MIN);
    let trace = with_fate(|_, items| Fate::Fail {
        after: usize::from(items.len() > 1),
        class: FailureClass::Transient,
    })
    .run(strict, BatchPolicy::new(4, None), (0..40).collect());
    assert!(matches!(ending(&trace), Ending::Exhausted { .. }));
    assert_eq!(trace.answered(), (0..40).step_by(4).collect::<Vec<_>>());
    assert_eq!(trace.journal.len(), 40);
}

#[test]
fn one_success_resets_the_count() {
    // Every question whose idx is not a multiple of five fails: four in a row.
    let trace = run(
        50,
        1,
        &mut with_fate(|_, items| {
            if items[0] % 5 == 0 {
                Fate::Fine
            } else {
                fail(FailureClass::Transient)
            }
        }),
    );
    assert!(matches!(ending(&trace), Ending::Exhausted { .. }));
    assert_eq!(trace.answered().len(), 10);
    assert_eq!(trace.journal.len(), 50);
}

#[test]
fn with_never_a_dead_model_is_tried_to_the_end_and_every_question_is_written_down() {
    let mut never = settings(20);
    never.max_consecutive_failures = Threshold::Never;
    let trace = with_fate(|_, _| fail(FailureClass::Transient)).run(
        never,
        BatchPolicy::new(4, None),
        (0..20).collect(),
    );
    assert_eq!(trace.journal.len(), 20);
    assert!(matches!(
        ending(&trace),
        Ending::Exhausted {
            last_failure: Some(_)
        }
    ));
}

#[test]
fn answers_told_before_a_failure_are_kept_and_not_asked_for_again() {
    let trace = run(
        8,
        8,
        &mut with_fate(|n, _| match n {
            0 => Fate::Die { after: 5 },
            _ => Fate::Fine,
        }),
    );
    assert_eq!(trace.batches[1..].concat(), [5, 6, 7]);
    assert_eq!(trace.journal.len(), 8);
}

#[test]
fn bad_questions_cost_only_themselves_and_never_abort() {
    let mut worker = ModelWorker {
        bad: (0..20).collect(),
        ..ModelWorker::default()
    };
    let trace = run(30, 4, &mut worker);
    assert_eq!(trace.answered().len(), 10);
    assert_eq!(trace.batches.len(), 8);
}

#[test]
fn a_hung_batch_gets_a_new_worker_and_half_the_size() {
    let trace = run(
        8,
        8,
        &mut with_fate(|n, _| {
            if n == 0 {
                Fate::Hang { after: 1 }
            } else {
                Fate::Fine
            }
        }),
    );
    assert_eq!(trace.sizes(), [8, 4, 3]);
    assert_eq!(trace.restarts, 2);
}

#[test]
fn a_model_that_can_not_be_loaded_fails_at_once_and_a_load_that_dies_once_is_tried_again() {
    let mut worker = ModelWorker {
        load: Box::new(|_| Some(Failure::new(FailureClass::Permanent, "weights missing"))),
        ..ModelWorker::default()
    };
    let trace = run(8, 8, &mut worker);
    assert_eq!(trace.restarts, 1);
    assert!(
        matches!(ending(&trace), Ending::Failed(failure) if failure.message == "weights missing")
    );

    let mut worker = ModelWorker {
        load: Box::new(|n| (n == 0).then(|| Failure::new(FailureClass::WorkerDied, "killed"))),
        ..ModelWorker::default()
    };
    assert_eq!(run(8, 8, &mut worker).answered().len(), 8);
}

#[test]
fn an_environment_failure_stops_the_study_with_what_was_told() {
    let trace = run(
        8,
        4,
        &mut with_fate(|n, _| match n {
            0 => Fate::Fine,
            _ => Fate::Fail {
                after: 1,
                class: FailureClass::Environment,
            },
        }),
    );
    assert!(matches!(ending(&trace), Ending::StopStudy(_)));
    assert_eq!(trace.answered(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_experiment_timeout_keeps_what_there_is() {
    let mut hurried = settings(8);
    hurried.experiment_timeout = Some(Duration::from_secs(20));
    let trace = with_fate(|n, _| {
        if n == 0 {
            Fate::Fine
        } else {
            Fate::Hang { after: 1 }
        }
    })
    .run(hurried, BatchPolicy::new(4, None), (0..8).collect());
    assert!(
        matches!(ending(&trace), Ending::Failed(failure) if failure.class == FailureClass::Timeout)
    );
    assert_eq!(trace.answered(), [0, 1, 2, 3, 4]);
    assert!(!trace.outcome.as_ref().unwrap().worker_reusable);
}

#[test]
fn every_class_has_the_recovery_of_the_table() {
    let table: Vec<_> = FailureClass::ALL
        .iter()
        .map(|class| class.recovery())
        .collect();
    assert_eq!(
        table,
        [
            Recovery::Shrink,
            Recovery::Retry,
            Recovery::RestartThenRetry,
            Recovery::RestartThenRetry,
            Recovery::RestartThenRetry,
            Recovery::IsolateItem,
            Recovery::FailExperiment,
            Recovery::FailExperiment,
            Recovery::StopStudy,
        ]
    );
    for class in FailureClass::ALL {
        let trace = run(
            16,
            8,
            &mut with_fate(|n, _| if n == 0 { fail(class) } else { Fate::Fine }),
        );
        let restarted = trace.restarts == 2;
        match class.recovery() {
            Recovery::FailExperiment | Recovery::StopStudy => assert_eq!(trace.answered().len(), 0),
            _ => assert_eq!(trace.answered().len(), 16, "{class}"),
        }
        assert_eq!(
            restarted,
            class.recovery() == Recovery::RestartThenRetry,
            "{class}"
        );
        assert_eq!(trace.clears > 0, class == FailureClass::Oom, "{class}");
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let after = 0usize..8;
    let class = prop::sample::select(vec![
        FailureClass::Oom,
        FailureClass::Transient,
        FailureClass::DeviceLost,
        FailureClass::BadItem,
    ]);
    prop_oneof![
        3 => Just(Fate::Fine),
        2 => (after.clone(), class).prop_map(|(after, class)| Fate::Fail { after, class }),
        1 => after.clone().prop_map(|after| Fate::Die { after }),
        1 => after.clone().prop_map(|after| Fate::Hang { after }),
        1 => after.prop_map(|after| Fate::LieDone { after }),
        1 => Just(Fate::RepeatReversed),
        1 => Just(Fate::AnswerLate),
        1 => Just(Fate::DieAfterSending),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the worker does for ever: the run ends, and no question has
    /// two records; if it was not cut short, each has exactly one.
    #[test]
    fn any_fault_script_ends_with_one_record_per_question(
        script in prop::collection::vec(any_fate(), 1..40),
        total in 0usize..60,
        batch in 1usize..33,
        min in 1usize..9,
        bad in prop::collection::vec(0usize..60, 0..4),
    ) {
        let mut worker = ModelWorker {
            fate: Box::new(|n, _| script[n % script.len()]),
            bad: bad.clone(),
            ..ModelWorker::default()
        };
        let mut settings = settings(total);
        settings.min_batch_size = min;
        let trace = worker.run(settings, BatchPolicy::new(batch, None), (0..total).collect());
        let records = trace.records();
        prop_assert!(records.values().all(|records| records.len() == 1));
        for record in &trace.journal {
            if let RecordKind::Answered { generated, .. } = &record.kind {
                prop_assert_eq!(generated, &answer(record.idx));
            }
        }
        let outcome = trace.outcome.clone().unwrap();
        prop_assert_eq!(outcome.answered + outcome.unanswered, trace.journal.len());
        if matches!(outcome.ending, Ending::Exhausted { .. } | Ending::Aborted { .. }) {
            prop_assert_eq!(records.len(), total);
        }
        if matches!(outcome.ending, Ending::Exhausted { last_failure: None }) {
            prop_assert_eq!(trace.answered().len(), total);
        }
    }

    /// Faults that end, and kills at any step: resumed until nothing is
    /// outstanding, the answers are those of the uninterrupted run, nothing
    /// acknowledged is asked again, and nothing is answered twice.
    #[test]
    fn killed_at_any_step_and_resumed_it_equals_the_uninterrupted_run(
        script in prop::collection::vec(any_fate(), 0..30),
        kills in prop::collection::vec((1usize..120, 0usize..6), 0..8),
        total in 1usize..60,
        batch in 1usize..33,
    ) {
        let mut journal = Vec::new();
        let mut answered: BTreeSet<usize> = BTreeSet::new();
        let mut dispatched = 0;
        let mut kills = kills.into_iter();
        for _attempt in 0..60 {
            let outstanding: Vec<_> = (0..total).filter(|idx| !answered.contains(idx)).collect();
            if outstanding.is_empty() {
                break;
            }
            let mut worker = ModelWorker {
                fate: Box::new(|_, _| {
                    dispatched += 1;
                    script.get(dispatched - 1).copied().unwrap_or(Fate::Fine)
                }),
                kill: kills.next().map(|(at_step, torn)| Kill { at_step, torn }),
                ..ModelWorker::default()
            };
            let trace = worker.run(settings(total), BatchPolicy::new(batch, None), outstanding);
            prop_assert!(trace.batches.iter().flatten().all(|idx| !answered.contains(idx)));
            for idx in trace.answered() {
                prop_assert!(answered.insert(idx), "question {} was answered twice", idx);
            }
            journal.extend(trace.journal);
        }
        prop_assert_eq!(answered.len(), total);
        for record in journal {
            if let RecordKind::Answered { generated, .. } = record.kind {
                prop_assert_eq!(generated, answer(record.idx));
            }
        }
    }

    /// What was asked and is not in the journal when the process ends is one
    /// batch, wherever it ends.
    #[test]
    fn a_kill_at_any_step_costs_one_batch_at_most(
        at_step in 1usize..120,
        torn in 0usize..40,
        total in 1usize..60,
        batch in 1usize..33,
    ) {
        let mut worker = ModelWorker {
            kill: Some(Kill { at_step, torn }),
            ..ModelWorker::default()
        };
        let trace = worker.run(settings(total), BatchPolicy::new(batch, None), (0..total).collect());
        let kept = trace.answered();
        let last = trace.batches.last();
        for idx in trace.batches.iter().flatten().filter(|idx| !kept.contains(idx)) {
            prop_assert!(last.is_some_and(|last| last.contains(idx)), "question {} is asked again", idx);
        }
    }
}
