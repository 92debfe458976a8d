use crate::domain::{Event, Failure, Generated};
use std::time::Duration;

/// What happened outside.
///
/// Replies to a dispatch carry its `epoch`, and what a worker process says
/// of itself carries the process's number: whatever is older than the newest
/// is ignored, so late, repeated and reordered messages do no harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker has loaded the model.
    WorkerReady {
        /// The process's number.
        worker: u64,
    },
    /// A worker could not load the model, or could not be started.
    LoadFailed {
        /// The process's number.
        worker: u64,
        /// Why.
        failure: Failure,
    },
    /// Tokens were computed in the batch of this epoch.
    Progress {
        /// The batch's epoch.
        epoch: u64,
    },
    /// A question was answered.
    ItemDone {
        /// The batch's epoch.
        epoch: u64,
        /// The question's idx.
        idx: usize,
        /// The answer.
        generated: Generated,
        /// From dispatch to this reply.
        latency: Duration,
    },
    /// A question can not be answered; its batch goes on.
    ItemFailed {
        /// The batch's epoch.
        epoch: u64,
        /// The question's idx.
        idx: usize,
        /// Why.
        failure: Failure,
    },
    /// A batch came to its end.
    BatchDone {
        /// The batch's epoch.
        epoch: u64,
    },
    /// A batch failed as a whole; items told before stay valid.
    BatchFailed {
        /// The batch's epoch.
        epoch: u64,
        /// Why.
        failure: Failure,
    },
    /// The worker process is gone.
    WorkerExited {
        /// The process's number.
        worker: u64,
        /// How it ended, with the tail of its log.
        failure: Failure,
    },
    /// Records are durable.
    Persisted {
        /// The ticket of [`Effect::Sync`].
        ticket: u64,
    },
    /// Records could not be made durable.
    PersistFailed {
        /// Why.
        failure: Failure,
    },
    /// Something else can not be kept any more: nothing further is to be
    /// begun, and what was answered is to be kept.
    Stop {
        /// Why.
        failure: Failure,
    },
    /// Time since the executor started. Comes several times a second.
    Tick(Duration),
    /// The user, or a signal, asks to stop.
    Cancel,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send these questions to the worker as one batch.
    Dispatch {
        /// Goes with every reply.
        epoch: u64,
        /// The questions' idx.
        items: Vec<usize>,
    },
    /// End the present worker, if there is one, and start a new one. The
    /// first worker of an experiment is asked for with this too.
    RestartWorker {
        /// The number of the process to start.
        worker: u64,
    },
    /// Have the worker give back cached device memory.
    ClearGpu,
    /// Append these records to the journal: from here on the end of this
    /// process does not lose them.
    Append {
        /// One per question.
        records: Vec<Record>,
    },
    /// Make all that was appended durable: from here on the end of the machine
    /// does not lose it.
    Sync {
        /// Comes back with [`Input::Persisted`].
        ticket: u64,
    },
    /// Tell the people.
    Emit(Event),
    /// The experiment's generation is over. No effect follows.
    Finish(Outcome),
}

/// What is known about one question, to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The question's idx.
    pub idx: usize,
    /// Size of the batch it was last tried in; 0 when it never was.
    pub batch_size: usize,
    /// Its answer, or why there is none.
    pub kind: RecordKind,
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordKind {
    /// It was answered.
    Answered {
        /// The answer.
        generated: Generated,
        /// From dispatch to reply.
        latency: Duration,
    },
    /// It was tried, and failed.
    Failed(Failure),
    /// The run was given up before, or on, this question.
    Aborted {
        /// Its own failure, or the last one.
        failure: Failure,
        /// Failures in a row that led to it.
        consecutive_failures: u32,
    },
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub ending: Ending,
    /// Questions answered by this executor.
    pub answered: usize,
    /// Questions it recorded without an answer.
    pub unanswered: usize,
    /// True when the worker is idle and sound: it may serve the next
    /// experiment. False: it must be killed.
    pub worker_reusable: bool,
}

/// Why generation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Every question was tried; `unanswered` tells whether all succeeded.
    Exhausted {
        /// The last failure, when a question has no answer.
        last_failure: Option<Failure>,
    },
    /// Too many failures in a row.
    Aborted {
        /// How many.
        consecutive_failures: u32,
        /// The last of them.
        failure: Failure,
    },
    /// A failure that no retry can help, or a time limit.
    Failed(Failure),
    /// The user, or a signal, asked for it.
    Interrupted,
    /// Nothing can be kept any more: the whole study stops.
    StopStudy(Failure),
}
