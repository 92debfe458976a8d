use crate::worker::WorkerMessage;

/// The one channel of a run.
#[derive(Debug)]
pub enum Message {
    /// A worker said something.
    Worker(WorkerMessage),
    /// SIGINT, SIGTERM or SIGHUP arrived.
    Signal,
}

impl From<WorkerMessage> for Message {
    fn from(message: WorkerMessage) -> Self {
        Self::Worker(message)
    }
}
