//! What was attempted: every event, with the outcome of its transaction.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ledger::PayloadHash;

/// Whether a consumer is promised the effects of a key in the key's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In the order of their sequence.
    PerKey,
    /// In any order.
    None,
}

/// What became of an event's transaction, as far as the event is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed, as the key's event with this number; `None` for an event without a key.
    Committed {
        /// Its position within its key.
        sequence: Option<u64>,
    },
    /// It is rolled back, or its savepoint is.
    RolledBack,
    /// Nobody heard. To be resolved by looking into the log, before the check.
    Unknown,
}

/// An event that somebody tried to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its key.
    pub key: Option<String>,
    /// The consumers that are to have an effect of it, if it is committed.
    pub wanted_by: Vec<String>,
    /// The hash of its payload.
    pub payload: PayloadHash,
    /// The number of its transaction, to look for it in a log of the run.
    pub transaction: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// All that was attempted in a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub(super) consumers: BTreeMap<String, Order>,
    pub(super) attempts: BTreeMap<Uuid, Attempt>,
    pub(super) repeated: Vec<Uuid>,
}

impl History {
    /// Declares a consumer.
    pub fn consumer(&mut self, name: impl Into<String>, order: Order) {
        self.consumers.insert(name.into(), order);
    }

    /// Writes down an attempt. An id that was attempted before is told by the check.
    pub fn attempt(&mut self, id: Uuid, attempt: Attempt) {
        if self.attempts.insert(id, attempt).is_some() {
            self.repeated.push(id);
        }
    }

    /// Writes down what became of an event; nothing for one that was not attempted.
    pub fn settle(&mut self, id: Uuid, outcome: Outcome) {
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.outcome = outcome;
        }
    }

    /// The events whose outcome nobody heard.
    #[must_use]
    pub fn unknown(&self) -> Vec<Uuid> {
        let unknown = self.attempts.iter().filter(|(_, of)| of.outcome == Outcome::Unknown);
        unknown.map(|(id, _)| *id).collect()
    }

    /// An attempt.
    #[must_use]
    pub fn get(&self, id: Uuid) -> Option<&Attempt> {
        self.attempts.get(&id)
    }

    /// All attempts, by id.
    pub fn attempts(&self) -> impl Iterator<Item = (Uuid, &Attempt)> {
        self.attempts.iter().map(|(id, attempt)| (*id, attempt))
    }

    /// Each committed event with each consumer that is to have an effect of it.
    pub fn wanted(&self) -> impl Iterator<Item = (Uuid, &str)> {
        let committed = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::Committed { .. });
        let committed = self.attempts.iter().filter(move |(_, attempt)| committed(attempt));
        committed.flat_map(|(id, attempt)| attempt.wanted_by.iter().map(|consumer| (*id, consumer.as_str())))
    }
}
