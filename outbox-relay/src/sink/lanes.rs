//! What may be sent next, in which order.
//!
//! Events with a lane (FIFO groups) go one at a time per lane: while one of a lane is in flight or
//! waits for its retry, the lane's later events wait behind it and nobody else does. Events
//! without a lane go at full width. Pure: it is told the time and what came of each event.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::publish::BatchLimits;

/// An event as the lanes see it.
pub trait Item {
    /// The lane whose order the event keeps; `None` for no order.
    fn lane(&self) -> Option<&str>;
    /// What the event takes of a request, in bytes.
    fn bytes(&self) -> usize;
}

/// An event that was sent or is to be sent, with its number of attempts so far.
#[derive(Debug)]
pub struct Attempt<T> {
    /// The event.
    pub item: T,
    /// How often it has failed.
    pub failures: u32,
}

/// The events that have been read and not settled, in their lanes.
#[derive(Debug)]
pub struct Lanes<T> {
    /// Ready to go, oldest first: events without a lane, and the head of each free lane.
    ready: VecDeque<Attempt<T>>,
    /// Events behind the head of their lane. A lane is here exactly while its head is ready, in
    /// flight or waiting.
    behind: HashMap<String, VecDeque<T>>,
    /// Failed events by the time of their next attempt; the number keeps equal times apart.
    waiting: BTreeMap<(Instant, u64), Attempt<T>>,
    next_number: u64,
    queued: usize,
    queued_bytes: usize,
}

impl<T: Item> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            behind: HashMap::new(),
            waiting: BTreeMap::new(),
            next_number: 0,
            queued: 0,
            queued_bytes: 0,
        }
    }
}

impl<T: Item> Lanes<T> {
    /// Adds an event that was read; events of a lane come in the lane's order.
    pub fn push(&mut self, item: T) {
        self.note_queued(&item);
        match item.lane() {
            None => self.ready.push_back(Attempt { item, failures: 0 }),
            Some(lane) => {
                if let Some(behind) = self.behind.get_mut(lane) {
                    behind.push_back(item);
                } else {
                    self.behind.insert(lane.to_owned(), VecDeque::new());
                    self.ready.push_back(Attempt { item, failures: 0 });
                }
            }
        }
    }

    /// Takes the next request's events: at most one of a lane, oldest first. Empty when nothing may
    /// be sent now.
    pub fn take_batch(&mut self, limits: BatchLimits, now: Instant) -> Vec<Attempt<T>> {
        self.wake(now);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits.max_entries
            && let Some(next) = self.ready.front()
            && (batch.is_empty() || bytes + next.item.bytes() <= limits.max_bytes)
            && let Some(next) = self.ready.pop_front()
        {
            bytes += next.item.bytes();
            self.queued -= 1;
            self.queued_bytes -= next.item.bytes();
            batch.push(next);
        }
        batch
    }

    /// Tells that a sent event is settled: its lane goes on.
    pub fn settle(&mut self, item: &T) {
        let Some(lane) = item.lane() else { return };
        match self.behind.get_mut(lane).and_then(VecDeque::pop_front) {
            Some(item) => self.ready.push_back(Attempt { item, failures: 0 }),
            None => {
                self.behind.remove(lane);
            }
        }
    }

    /// Tells that a sent event failed and is to be tried again at `at`: its lane waits for it.
    pub fn retry(&mut self, mut attempt: Attempt<T>, at: Instant) {
        self.note_queued(&attempt.item);
        attempt.failures = attempt.failures.saturating_add(1);
        self.waiting.insert((at, self.next_number), attempt);
        self.next_number += 1;
    }

    /// Events that are held here: ready, waiting or behind another.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes of the events that are held here.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Events that could be sent now, as of the last [`Lanes::take_batch`].
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// When the next failed event is due.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
    }

    fn note_queued(&mut self, item: &T) {
        self.queued += 1;
        self.queued_bytes += item.bytes();
    }
}

#[cfg(test)]
mod tests;
