use crate::{artifacts::EventLog, domain::Event};
use std::sync::{Mutex, PoisonError};

/// Whoever wants to know what happens: a terminal, a JSON stream.
pub trait Listener: Send {
    /// Something happened.
    fn hear(&mut self, event: &Event);

    /// A remark that is no event: building an index, a dataset's warning.
    fn remark(&mut self, text: &str);
}

/// The listener and `events.jsonl`, which all lanes tell what happens.
pub(super) struct Audience<'a> {
    listener: &'a mut dyn Listener,
    log: Option<EventLog>,
}

impl<'a> Audience<'a> {
    pub fn new(listener: &'a mut dyn Listener, log: EventLog) -> Mutex<Self> {
        Mutex::new(Self {
            listener,
            log: Some(log),
        })
    }
}

/// A lane's way to them.
pub(super) struct Ears<'a>(pub &'a dyn Hear);

pub(super) trait Hear: Sync {
    fn hear(&self, event: &Event);
    fn remark(&self, text: &str);
}

impl Hear for Mutex<Audience<'_>> {
    fn hear(&self, event: &Event) {
        let mut audience = self.lock().unwrap_or_else(PoisonError::into_inner);
        // events.jsonl is for watching. A study must not fail over it, and
        // where the disk is full the journal says so with more weight.
        if let Some(log) = &mut audience.log
            && let Err(error) = log.append(event)
        {
            audience
                .listener
                .remark(&format!("events are no longer kept: {error}"));
            audience.log = None;
        }
        audience.listener.hear(event);
    }

    fn remark(&self, text: &str) {
        let mut audience = self.lock().unwrap_or_else(PoisonError::into_inner);
        audience.listener.remark(text);
    }
}

impl Ears<'_> {
    pub fn hear(&mut self, event: &Event) {
        self.0.hear(event);
    }

    pub fn remark(&mut self, text: &str) {
        self.0.remark(text);
    }
}
