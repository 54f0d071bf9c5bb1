//! What is written down while a run goes on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::{
    chaos::{now_ns, stage::Stage},
    ledger::{Attempt, History, Outcome},
};

/// Shared by everybody who has something to write down.
#[derive(Debug, Clone, Default)]
pub(super) struct Books(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    history: History,
    /// When the transaction of an event began.
    begun_ns: BTreeMap<Uuid, u64>,
    rolled_back: Vec<Uuid>,
    faults: Vec<Injected>,
}

/// A fault that has happened.
#[derive(Debug, Clone)]
pub(super) struct Injected {
    pub(super) name: String,
    pub(super) at_ns: u64,
}

impl Books {
    pub(super) fn of(stage: &Stage) -> Self {
        let books = Self::default();
        for consumer in &stage.consumers {
            books.pages().history.consumer(consumer.name, consumer.order);
        }
        books
    }

    /// An event is about to be written; until somebody says otherwise its outcome is unknown.
    pub(super) fn attempt(&self, id: Uuid, begun_ns: u64, attempt: Attempt) {
        let mut pages = self.pages();
        pages.history.attempt(id, attempt);
        pages.begun_ns.insert(id, begun_ns);
    }

    /// The server has confirmed the commit.
    pub(super) fn committed(&self, ids: &[Uuid]) {
        let mut pages = self.pages();
        for id in ids {
            // The number is read from the log in the end.
            pages.history.settle(*id, Outcome::Committed { sequence: None });
        }
    }

    /// The server has confirmed the rollback.
    pub(super) fn rolled_back(&self, ids: &[Uuid]) {
        let mut pages = self.pages();
        for id in ids {
            pages.history.settle(*id, Outcome::RolledBack);
            pages.rolled_back.push(*id);
        }
    }

    /// Some event that was rolled back.
    pub(super) fn some_rolled_back(&self) -> Option<Uuid> {
        self.pages().rolled_back.last().copied()
    }

    /// A fault begins now.
    pub(super) fn fault(&self, name: String) {
        self.pages().faults.push(Injected { name, at_ns: now_ns() });
    }

    /// The last fault of this name did not happen.
    pub(super) fn not_after_all(&self, name: &str) {
        let mut pages = self.pages();
        if let Some(place) = pages.faults.iter().rposition(|fault| fault.name == name) {
            pages.faults.remove(place);
        }
    }

    pub(super) fn faults(&self) -> Vec<Injected> {
        self.pages().faults.clone()
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for fault in &self.pages().faults {
            *counts.entry(fault.name.clone()).or_default() += 1;
        }
        counts
    }

    pub(super) fn history(&self) -> History {
        self.pages().history.clone()
    }

    pub(super) fn begun_ns(&self) -> BTreeMap<Uuid, u64> {
        self.pages().begun_ns.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
