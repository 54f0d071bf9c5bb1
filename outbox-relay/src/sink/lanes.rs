//! What may be sent next, in which order.
//!
//! An entry (one event, or a bundle of several) with a lane (a FIFO group) goes one at a time per
//! lane: while one of a lane is in flight or waits for its retry, the lane's later entries wait
//! behind it and nobody else does. Entries without a lane go at full width. Pure: it is told the time
//! and what came of each entry.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use super::entry::{Entry, Item};
use crate::publish::BatchLimits;

/// The entries that have been read and not settled, in their lanes.
#[derive(Debug)]
pub struct Lanes<T> {
    /// Ready to go, oldest first: entries without a lane, and the head of each free lane.
    ready: VecDeque<Entry<T>>,
    /// Entries behind the head of their lane. A lane is here exactly while its head is ready, in
    /// flight or waiting.
    behind: HashMap<String, VecDeque<Entry<T>>>,
    /// Failed entries by the time of their next attempt; the number keeps equal times apart.
    waiting: BTreeMap<(Instant, u64), Entry<T>>,
    next_number: u64,
    /// What one entry may hold; `None` for one event.
    bundle: Option<BatchLimits>,
    queued: usize,
    queued_bytes: usize,
}

impl<T: Item> Lanes<T> {
    /// Empty lanes whose entries may grow up to `bundle` while they wait for their turn.
    #[must_use]
    pub fn new(bundle: Option<BatchLimits>) -> Self {
        Self {
            ready: VecDeque::new(),
            behind: HashMap::new(),
            waiting: BTreeMap::new(),
            next_number: 0,
            bundle,
            queued: 0,
            queued_bytes: 0,
        }
    }

    /// Adds a new entry; those of a lane come in the lane's order.
    pub fn push(&mut self, entry: Entry<T>) {
        self.note_queued(&entry);
        match entry.lane() {
            None => self.ready.push_back(entry),
            Some(lane) => {
                if let Some(behind) = self.behind.get_mut(lane) {
                    behind.push_back(entry);
                } else {
                    self.behind.insert(lane.to_owned(), VecDeque::new());
                    self.ready.push_back(entry);
                }
            }
        }
    }

    /// Takes the next request's entries: at most one of a lane, oldest first. Empty when nothing may
    /// be sent now.
    pub fn take_batch(&mut self, limits: BatchLimits, now: Instant) -> Vec<Entry<T>> {
        self.wake(now);
        let mut batch: Vec<Entry<T>> = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits.max_entries
            && let Some(next) = self.ready.front()
            && (batch.is_empty() || (bytes + next.bytes() <= limits.max_bytes && !next.alone))
            && let Some(next) = self.ready.pop_front()
        {
            bytes += next.bytes();
            self.queued -= next.len();
            self.queued_bytes -= next.held_bytes();
            let is_alone = next.alone;
            batch.push(next);
            if is_alone {
                break;
            }
        }
        batch
    }

    /// Tells that a sent entry is settled: its lane goes on.
    pub fn settle(&mut self, entry: &Entry<T>) {
        let Some(lane) = entry.lane() else { return };
        let Some(behind) = self.behind.get_mut(lane) else {
            return;
        };
        match behind.pop_front() {
            Some(mut next) => {
                if let Some(limits) = self.bundle {
                    while let Some(follower) = behind.front()
                        && next.may_take(follower, limits)
                        && let Some(follower) = behind.pop_front()
                    {
                        next.take(follower);
                    }
                }
                self.ready.push_back(next);
            }
            None => {
                self.behind.remove(lane);
            }
        }
    }

    /// Tells that a sent entry failed and is to be tried again at `at`: its lane waits for it.
    pub fn retry(&mut self, mut entry: Entry<T>, at: Instant) {
        entry.failures = entry.failures.saturating_add(1);
        self.wait(entry, at);
    }

    /// Tells that a sent entry failed for a reason that may be a neighbour's: it is sent again by
    /// itself, a bundle taken apart. Its lane waits for all of it, in order.
    pub fn isolate(&mut self, entry: Entry<T>, at: Instant) {
        let failures = entry.failures;
        let lane = entry.lane().map(str::to_owned);
        let mut singles = entry.into_items().map(|item| {
            let mut single = Entry::of(item);
            (single.failures, single.alone) = (failures, true);
            single
        });
        let Some(first) = singles.next() else { return };
        let rest: Vec<Entry<T>> = singles.collect();
        self.wait(first, at);
        match lane.and_then(|lane| self.behind.get_mut(&lane)) {
            Some(behind) => {
                for single in rest.into_iter().rev() {
                    self.queued += single.len();
                    self.queued_bytes += single.held_bytes();
                    behind.push_front(single);
                }
            }
            None => {
                for single in rest {
                    self.wait(single, at);
                }
            }
        }
    }

    /// Closes the lane of an entry that was sent and will not be sent again: returns what was behind
    /// it, in order. The lane is free for what is pushed from now on.
    pub fn close(&mut self, entry: &Entry<T>) -> Vec<T> {
        let behind = entry.lane().and_then(|lane| self.behind.remove(lane));
        let mut followers = Vec::new();
        for entry in behind.into_iter().flatten() {
            self.queued -= entry.len();
            self.queued_bytes -= entry.held_bytes();
            followers.extend(entry.into_items());
        }
        followers
    }

    /// Events that are held here: ready, waiting or behind another.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes of memory that the events take that are held here.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Entries that could be sent now, as of the last [`Lanes::take_batch`].
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// When the next failed entry is due.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn wait(&mut self, entry: Entry<T>, at: Instant) {
        self.note_queued(&entry);
        self.waiting.insert((at, self.next_number), entry);
        self.next_number += 1;
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
    }

    fn note_queued(&mut self, entry: &Entry<T>) {
        self.queued += entry.len();
        self.queued_bytes += entry.held_bytes();
    }
}

#[cfg(test)]
mod tests;
