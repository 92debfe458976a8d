//! Records on their way to the disk.

use super::{Effect, Executor, Record, RecordKind};
use crate::domain::{Event, Failure};

impl Executor {
    pub(super) fn persisted(&mut self, ticket: u64) {
        let Some((answered, unanswered, tokens)) = self.tickets.remove(&ticket) else {
            return;
        };
        self.durable.0 += answered;
        self.durable.1 += unanswered;
        self.durable.2 += tokens;
        let (answered, unanswered, tokens) = self.durable;
        let (before, total) = (self.settings.answered_before, self.settings.total);
        let batch_size = self.policy.size();
        self.emit(|experiment| Event::Progress {
            experiment,
            answered: before + answered,
            unanswered,
            total,
            tokens,
            batch_size,
        });
    }

    pub(super) fn keep(&mut self, record: Record) {
        if self.unflushed.is_empty() {
            self.unflushed_since = self.now;
        }
        self.unflushed.push(record);
    }

    pub(super) fn give_up_on(&mut self, idx: usize, batch_size: usize, failure: Failure) {
        self.unanswered += 1;
        self.keep(Record {
            idx,
            batch_size,
            kind: RecordKind::Failed(failure),
        });
    }

    /// Hands over what was kept. It is durable after [`Self::sync`].
    pub(super) fn flush(&mut self) {
        if self.unflushed.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.unflushed);
        let counts = &mut self.unsynced;
        for record in &records {
            match &record.kind {
                RecordKind::Answered { generated, .. } => {
                    counts.0 += 1;
                    counts.2 += generated.tokens_in + generated.tokens_out;
                }
                RecordKind::Failed(_) | RecordKind::Aborted { .. } => counts.1 += 1,
            }
        }
        self.effects.push(Effect::Append { records });
    }

    /// Asks for the disk's word over what was handed over.
    pub(super) fn sync(&mut self) {
        let counts = std::mem::take(&mut self.unsynced);
        if counts.0 + counts.1 == 0 {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, counts);
        self.effects.push(Effect::Sync { ticket });
    }
}
