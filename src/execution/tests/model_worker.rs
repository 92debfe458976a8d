//! A worker and a journal made of nothing, which misbehave on demand: they
//! duplicate, reorder and delay replies, die after sending, hang and lie.

#![allow(clippy::unwrap_used)]

use super::super::{
    BatchPolicy, Effect, Executor, ExecutorSettings, Input, Outcome, Record, RecordKind,
};
use crate::domain::{Event, Failure, FailureClass, FinishReason, Generated, Threshold};
use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
    time::Duration,
};

/// What a batch comes to. `after` items are answered first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Fine,
    Fail {
        after: usize,
        class: FailureClass,
    },
    Die {
        after: usize,
    },
    Hang {
        after: usize,
    },
    /// Says it is done without having answered all.
    LieDone {
        after: usize,
    },
    /// Every reply twice, in reverse order.
    RepeatReversed,
    /// Fails, and its answers come late, during the next batch.
    AnswerLate,
    /// Answers everything, then dies before it says so.
    DieAfterSending,
}

pub fn settings(total: usize) -> ExecutorSettings {
    ExecutorSettings {
        experiment: "e".into(),
        total,
        answered_before: 0,
        min_batch_size: 1,
        max_consecutive_failures: Threshold::After(NonZeroU32::new(5).unwrap()),
        batch_timeout: Duration::from_secs(60),
        load_timeout: Duration::from_secs(600),
        experiment_timeout: None,
        spent: Duration::ZERO,
        warm_worker: None,
        next_worker: 1,
        next_epoch: 1,
    }
}

pub fn answer(idx: usize) -> Generated {
    Generated {
        text: format!("answer {idx}"),
        tokens_in: 10,
        tokens_out: 2,
        finish: FinishReason::Stop,
        passages_cut: 0,
    }
}

/// What a run left behind.
#[derive(Debug, Default, Clone)]
pub struct Trace {
    pub batches: Vec<Vec<usize>>,
    pub events: Vec<Event>,
    pub journal: Vec<Record>,
    pub restarts: usize,
    pub clears: usize,
    pub outcome: Option<Outcome>,
    pub steps: usize,
}

impl Trace {
    pub fn sizes(&self) -> Vec<usize> {
        self.batches.iter().map(Vec::len).collect()
    }

    pub fn records(&self) -> BTreeMap<usize, Vec<&RecordKind>> {
        let mut records: BTreeMap<usize, Vec<&RecordKind>> = BTreeMap::new();
        for record in &self.journal {
            records.entry(record.idx).or_default().push(&record.kind);
        }
        records
    }

    pub fn answered(&self) -> Vec<usize> {
        let mut answered: Vec<_> = self
            .journal
            .iter()
            .filter(|record| matches!(record.kind, RecordKind::Answered { .. }))
            .map(|record| record.idx)
            .collect();
        answered.sort_unstable();
        answered
    }
}

/// Where a run is cut off, as by SIGKILL.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    pub at_step: usize,
    /// Records of the write in progress that reached the disk.
    pub torn: usize,
}

type FateOf<'a> = Box<dyn FnMut(usize, &[usize]) -> Fate + 'a>;

pub struct ModelWorker<'a> {
    /// (batch number from 0, its items) -> fate.
    pub fate: FateOf<'a>,
    /// Load attempt from 0 -> failure.
    pub load: Box<dyn FnMut(usize) -> Option<Failure> + 'a>,
    /// Questions that fail alone.
    pub bad: Vec<usize>,
    pub kill: Option<Kill>,
}

impl Default for ModelWorker<'_> {
    fn default() -> Self {
        Self {
            fate: Box::new(|_, _| Fate::Fine),
            load: Box::new(|_| None),
            bad: Vec::new(),
            kill: None,
        }
    }
}

impl ModelWorker<'_> {
    pub fn run(
        &mut self,
        settings: ExecutorSettings,
        policy: BatchPolicy,
        outstanding: Vec<usize>,
    ) -> Trace {
        let mut executor = Executor::new(settings.clone(), policy, outstanding);
        let mut trace = Trace::default();
        let mut inbox: VecDeque<Input> = VecDeque::new();
        let mut late: Vec<Input> = Vec::new();
        let mut now = Duration::ZERO;
        let mut worker = settings.warm_worker.unwrap_or(0);
        let mut effects = executor.start();
        loop {
            for effect in effects {
                if self.kill.is_some_and(|kill| trace.steps >= kill.at_step) {
                    if let (Effect::Append { records }, Some(kill)) = (&effect, self.kill) {
                        trace
                            .journal
                            .extend(records.iter().take(kill.torn).cloned());
                    }
                    return trace;
                }
                trace.steps += 1;
                match effect {
                    Effect::RestartWorker { worker: number } => {
                        worker = number;
                        match (self.load)(trace.restarts) {
                            Some(failure) => inbox.push_back(Input::LoadFailed { worker, failure }),
                            None => inbox.push_back(Input::WorkerReady { worker }),
                        }
                        trace.restarts += 1;
                    }
                    Effect::Dispatch { epoch, items } => {
                        let fate = (self.fate)(trace.batches.len(), &items);
                        trace.batches.push(items.clone());
                        inbox.extend(late.drain(..));
                        self.serve(fate, epoch, worker, &items, &mut inbox, &mut late);
                    }
                    Effect::ClearGpu => trace.clears += 1,
                    Effect::Append { records } => trace.journal.extend(records),
                    Effect::Sync { ticket } => inbox.push_back(Input::Persisted { ticket }),
                    Effect::Emit(event) => trace.events.push(event),
                    Effect::Finish(outcome) => {
                        trace.outcome = Some(outcome);
                        return trace;
                    }
                }
            }
            assert!(trace.batches.len() < 100_000, "the executor does not end");
            effects = match inbox.pop_front() {
                Some(input) => executor.step(input),
                None => {
                    now += Duration::from_secs(10);
                    assert!(
                        now < Duration::from_secs(10_000_000),
                        "nothing happens any more"
                    );
                    executor.step(Input::Tick(now))
                }
            };
        }
    }

    fn serve(
        &self,
        fate: Fate,
        epoch: u64,
        worker: u64,
        items: &[usize],
        inbox: &mut VecDeque<Input>,
        late: &mut Vec<Input>,
    ) {
        let reply = |&idx: &usize| {
            if self.bad.contains(&idx) {
                Input::ItemFailed {
                    epoch,
                    idx,
                    failure: Failure::new(FailureClass::BadItem, "prompt too long"),
                }
            } else {
                Input::ItemDone {
                    epoch,
                    idx,
                    generated: answer(idx),
                    latency: Duration::from_millis(5),
                }
            }
        };
        let died = Input::WorkerExited {
            worker,
            failure: Failure::new(FailureClass::WorkerDied, "the worker was killed by SIGKILL"),
        };
        match fate {
            Fate::Fine => {
                inbox.extend(items.iter().map(reply));
                inbox.push_back(Input::BatchDone { epoch });
            }
            Fate::Fail { after, class } => {
                inbox.extend(items.iter().take(after).map(reply));
                inbox.push_back(Input::BatchFailed {
                    epoch,
                    failure: Failure::new(class, "Error invalid configuration argument"),
                });
            }
            Fate::Die { after } => {
                inbox.extend(items.iter().take(after).map(reply));
                inbox.push_back(died);
            }
            Fate::Hang { after } => inbox.extend(items.iter().take(after).map(reply)),
            Fate::LieDone { after } => {
                inbox.extend(items.iter().take(after).map(reply));
                inbox.push_back(Input::BatchDone { epoch });
            }
            Fate::RepeatReversed => {
                inbox.extend(items.iter().rev().map(reply));
                inbox.extend(items.iter().map(reply));
                inbox.push_back(Input::BatchDone { epoch });
                inbox.push_back(Input::BatchDone { epoch });
            }
            Fate::AnswerLate => {
                late.extend(items.iter().map(reply));
                late.push(Input::BatchDone { epoch });
                inbox.push_back(Input::BatchFailed {
                    epoch,
                    failure: Failure::new(FailureClass::Transient, "launch failed"),
                });
            }
            Fate::DieAfterSending => {
                inbox.extend(items.iter().map(reply));
                inbox.push_back(died);
            }
        }
    }
}
