use super::protocol::Reply;
use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Progress alone is told at most this often: it is there for deadlines of
/// seconds, and a fast model takes hundreds of steps a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Replies on their way to the supervisor.
///
/// Items that come out of one step of the model go out in one write, at the
/// step's end: a wake-up of the supervisor per item would cost more than the
/// item. The last items of a batch wait for the reply that ends it.
pub struct Outbox<'a> {
    socket: &'a UnixStream,
    lines: Vec<u8>,
    /// Tokens of steps that were not told yet.
    tokens: usize,
    told: Instant,
    /// Items of the batch that were not added yet.
    expected: usize,
}

impl<'a> Outbox<'a> {
    /// Replies to a batch of `expected` items, 0 where it is no batch.
    pub fn new(socket: &'a UnixStream, expected: usize) -> Self {
        Self {
            socket,
            lines: Vec::new(),
            tokens: 0,
            told: Instant::now(),
            expected,
        }
    }

    /// Adds a reply; it goes out with the end of the step.
    pub fn add(&mut self, reply: &Reply) -> io::Result<()> {
        let items = match reply {
            Reply::Item { .. } | Reply::ItemFailed { .. } => 1,
            Reply::Encoded { indices, .. } => indices.len(),
            _ => 0,
        };
        self.expected = self.expected.saturating_sub(items);
        serde_json::to_writer(&mut self.lines, reply)?;
        self.lines.push(b'\n');
        Ok(())
    }

    /// A step of the model is over.
    pub fn step(&mut self, epoch: u64, tokens: usize) -> io::Result<()> {
        self.tokens += tokens;
        // A finished item is progress too and needs no second line.
        if self.lines.is_empty() {
            if self.told.elapsed() < PROGRESS_EVERY {
                return Ok(());
            }
            let tokens = std::mem::take(&mut self.tokens);
            self.add(&Reply::Progress { epoch, tokens })?;
        }
        if self.expected == 0 {
            return Ok(());
        }
        self.flush()
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> io::Result<()> {
        self.told = Instant::now();
        self.socket.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}
