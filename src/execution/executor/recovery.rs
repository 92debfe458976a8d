//! What follows a failure: halving, one by one, streaks, replaced workers.

use super::{Effect, Ending, Executor, InFlight, Piece, Record, RecordKind, SmallestBatch, Worker};
use crate::domain::{Event, Failure, FailureClass, Recovery, Threshold};

/// Attempts to load a model before the experiment fails, when the failure is
/// one that may not come back.
const LOAD_ATTEMPTS: u32 = 2;

/// Worker deaths at the smallest batch, before the model ever answered, that
/// mean it never will.
const HOPELESS_DEATHS: u32 = 2;

impl Executor {
    pub(super) fn batch_failed(&mut self, failure: Failure) {
        let Some(batch) = self.in_flight.take() else {
            return;
        };
        self.emit(|experiment| Event::BatchFailed {
            experiment,
            size: batch.remaining.len(),
            class: failure.class,
            message: failure.first_line().to_owned(),
        });
        self.last_failure = Some(failure.clone());
        match failure.class.recovery() {
            Recovery::FailExperiment => {
                self.worker_abandoned = true;
                return self.end(Ending::Failed(failure));
            }
            Recovery::StopStudy => {
                self.worker_abandoned = true;
                return self.end(Ending::StopStudy(failure));
            }
            Recovery::RestartThenRetry => self.discard_worker(&failure),
            Recovery::Shrink => {
                let from = self.policy.size();
                if let Some(to) = self.policy.ran_out_of_memory(batch.size) {
                    self.tell_size(from, to, "out of memory");
                }
                self.effects.push(Effect::ClearGpu);
            }
            Recovery::Retry | Recovery::IsolateItem => {}
        }
        if batch.remaining.is_empty() {
            return;
        }
        let min = self.settings.min_batch_size.max(1);
        if batch.size > min && !batch.last_chance {
            self.halve(&batch, min, &failure);
        } else {
            self.smallest_failed(batch, failure);
        }
    }

    fn halve(&mut self, batch: &InFlight, min: usize, failure: &Failure) {
        let half = (batch.size / 2).max(min);
        if failure.class != FailureClass::Oom {
            let class = failure.class.as_str();
            self.tell_size(batch.size, half, &format!("{class}, once"));
        }
        for items in batch.remaining.chunks(half).rev() {
            self.retries.push_front(Piece {
                items: items.to_vec(),
                last_chance: false,
            });
        }
    }

    fn smallest_failed(&mut self, batch: InFlight, failure: Failure) {
        if failure.class == FailureClass::WorkerDied && !self.model_has_answered {
            self.deaths_at_smallest += 1;
            if self.deaths_at_smallest >= HOPELESS_DEATHS {
                let failure = Failure {
                    class: FailureClass::Permanent,
                    ..failure
                };
                return self.end(Ending::Failed(failure));
            }
        }
        // While a streak is open a lone question has no second chance: a dead
        // model should cost few attempts.
        let lone_in_streak = batch.size == 1 && self.streak > 0;
        if batch.last_chance || lone_in_streak {
            // One question is all of it, and that one failed.
            let smallest = self.smallest.get_or_insert(SmallestBatch {
                waiting: batch.remaining.len(),
                saved: false,
                lost: Vec::new(),
            });
            for &idx in &batch.remaining {
                smallest.waiting = smallest.waiting.saturating_sub(1);
                smallest.lost.push((idx, batch.size, failure.clone()));
            }
            for &idx in &batch.remaining {
                self.tell_question_failed(idx, &failure);
            }
            self.close_smallest();
        } else {
            self.smallest = Some(SmallestBatch {
                waiting: batch.remaining.len(),
                saved: batch.answered > 0,
                lost: Vec::new(),
            });
            for &idx in batch.remaining.iter().rev() {
                self.retries.push_front(Piece {
                    items: vec![idx],
                    last_chance: true,
                });
            }
        }
    }

    /// Counts the smallest batch once each of its questions is decided.
    pub(super) fn close_smallest(&mut self) {
        let Some(smallest) = self.smallest.take_if(|smallest| smallest.waiting == 0) else {
            return;
        };
        if smallest.lost.is_empty() {
            return;
        }
        if smallest.saved {
            for (idx, batch_size, failure) in smallest.lost {
                self.give_up_on(idx, batch_size, failure);
            }
            return;
        }
        self.streak = self.streak.saturating_add(1);
        self.held.extend(smallest.lost);
        match self.settings.max_consecutive_failures {
            Threshold::Never => {
                for (idx, batch_size, failure) in std::mem::take(&mut self.held) {
                    self.give_up_on(idx, batch_size, failure);
                }
            }
            Threshold::After(limit) if self.streak >= limit.get() => self.abort(),
            Threshold::After(_) => {}
        }
    }

    fn abort(&mut self) {
        let consecutive_failures = self.streak;
        let Some(failure) = self.last_failure.clone() else {
            return;
        };
        self.emit(|experiment| Event::Aborted {
            experiment,
            consecutive_failures,
            message: failure.first_line().to_owned(),
        });
        let mut given_up = std::mem::take(&mut self.held);
        let retries = std::mem::take(&mut self.retries);
        let untried = retries
            .into_iter()
            .flat_map(|piece| piece.items)
            .chain(std::mem::take(&mut self.fresh));
        given_up.extend(untried.map(|idx| (idx, 0, failure.clone())));
        for (idx, batch_size, failure) in given_up {
            self.unanswered += 1;
            self.keep(Record {
                idx,
                batch_size,
                kind: RecordKind::Aborted {
                    failure,
                    consecutive_failures,
                },
            });
        }
        self.end(Ending::Aborted {
            consecutive_failures,
            failure,
        });
    }

    pub(super) fn load_failed(&mut self, worker: u64, failure: Failure) {
        if worker != self.worker_number || !matches!(self.worker, Worker::Loading { .. }) {
            return;
        }
        self.worker = Worker::Absent;
        self.load_failures += 1;
        self.last_failure = Some(failure.clone());
        match failure.class.recovery() {
            Recovery::StopStudy => self.end(Ending::StopStudy(failure)),
            Recovery::FailExperiment => self.end(Ending::Failed(failure)),
            _ if self.load_failures >= LOAD_ATTEMPTS => self.end(Ending::Failed(failure)),
            _ => self.tell_restart(&failure),
        }
    }

    pub(super) fn worker_exited(&mut self, worker: u64, failure: Failure) {
        if worker != self.worker_number {
            return;
        }
        match self.worker {
            Worker::Loading { .. } => self.load_failed(worker, failure),
            // It has a batch: the next goes out in the step that ends the last.
            Worker::Ready => self.batch_failed(failure),
            Worker::Absent => {}
        }
    }
}
