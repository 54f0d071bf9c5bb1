//! What the cursor has moved over before it was sent: events of a sink that sends at most once.

use std::collections::BTreeMap;

use crate::log::Seq;

/// The events that the cursor has moved over, or will with the save that they wait for, and of which it
/// is not known what became: each with its time, microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Passed {
    events: BTreeMap<Seq, i64>,
}

impl Passed {
    pub(super) fn begin(&mut self, seq: Seq, time_micros: i64) {
        self.events.insert(seq, time_micros);
    }

    pub(super) fn end(&mut self, seq: Seq) {
        self.events.remove(&seq);
    }

    /// The first of them: its position and its time.
    pub(super) fn oldest(&self) -> Option<(Seq, i64)> {
        self.events.first_key_value().map(|(seq, time)| (*seq, *time))
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Forgets all of them, and returns how many there were.
    pub(super) fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.events).len()
    }
}
