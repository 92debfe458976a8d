use crate::{artifacts::EventLog, domain::Event};

/// Whoever wants to know what happens: a terminal, a JSON stream.
pub trait Listener {
    /// Something happened.
    fn hear(&mut self, event: &Event);

    /// A remark that is no event: building an index, a dataset's warning.
    fn remark(&mut self, text: &str);
}

/// Passes events on to the listener and to `events.jsonl`.
pub(super) struct Ears<'a> {
    pub listener: &'a mut dyn Listener,
    pub log: Option<EventLog>,
}

impl Ears<'_> {
    pub fn hear(&mut self, event: &Event) {
        // events.jsonl is for watching. A study must not fail over it, and
        // where the disk is full the journal says so with more weight.
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(event)
        {
            self.listener
                .remark(&format!("events are no longer kept: {error}"));
            self.log = None;
        }
        self.listener.hear(event);
    }

    pub fn remark(&mut self, text: &str) {
        self.listener.remark(text);
    }
}
