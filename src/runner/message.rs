use crate::worker::WorkerMessage;

/// The one channel of a lane.
#[derive(Debug)]
pub enum Message {
    /// A worker said something.
    Worker(WorkerMessage),
    /// A signal arrived, or another lane can not go on.
    Stop,
}

impl From<WorkerMessage> for Message {
    fn from(message: WorkerMessage) -> Self {
        Self::Worker(message)
    }
}
