//! What may be sent next, in which order.
//!
//! An entry (one event, or a bundle of several) with a lane (a FIFO group) shares it: one request of a
//! lane is out at a time. While an entry that is ordered is in flight or waits for its retry, the lane's
//! later entries wait behind it and nobody else does. Entries of a lane that are not ordered may share a
//! request, and one that waits for its retry holds up nobody. Entries without a lane go at full width.
//! Pure: it is told the time and what came of each entry.
//!
//! What waits may be unloaded: it keeps its place and gives up its payload, which is asked for again when
//! its turn comes (`store`).

mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use super::entry::{Entry, Item};
use crate::{
    planted::{Bug, is_planted},
    publish::BatchLimits,
};

/// Most bytes of memory that the events of one request take, unless it is one event.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The entries that have been read and not settled, in their lanes.
#[derive(Debug)]
pub struct Lanes<T> {
    /// Ready to go, oldest first: entries without a lane, and the head of each free lane.
    ready: VecDeque<Entry<T>>,
    /// A lane is here exactly while one of its entries is out.
    lanes: HashMap<String, Lane<T>>,
    /// Failed entries by the time of their next attempt; the number keeps equal times apart.
    waiting: BTreeMap<(Instant, u64), Entry<T>>,
    /// Entries whose turn has come and whose payload has to be loaded first.
    loading: Vec<Entry<T>>,
    next_number: u64,
    /// What one entry may hold; `None` for one event.
    bundle: Option<BatchLimits>,
    queued: usize,
    queued_bytes: usize,
    /// Of these, what is behind another or waits for its retry.
    blocked_bytes: usize,
    unloaded: usize,
}

#[derive(Debug)]
struct Lane<T> {
    /// Entries that are ready, being loaded or in flight, and an ordered one that waits for its retry.
    out: usize,
    /// Those that wait for them, in order.
    behind: VecDeque<Entry<T>>,
}

impl<T: Item> Lanes<T> {
    /// Empty lanes whose entries may grow up to `bundle` while they wait for their turn.
    #[must_use]
    pub fn new(bundle: Option<BatchLimits>) -> Self {
        Self {
            ready: VecDeque::new(),
            lanes: HashMap::new(),
            waiting: BTreeMap::new(),
            loading: Vec::new(),
            next_number: 0,
            bundle,
            queued: 0,
            queued_bytes: 0,
            blocked_bytes: 0,
            unloaded: 0,
        }
    }

    /// Adds a new entry; those of a lane come in the lane's order.
    pub fn push(&mut self, entry: Entry<T>) {
        self.note_queued(&entry);
        self.unloaded += entry.items().filter(|item| item.is_unloaded()).count();
        if let Some(lane) = entry.lane()
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            self.blocked_bytes += entry.held_bytes();
            lane.behind.push_back(entry);
        } else {
            self.begin(entry);
        }
    }

    /// Takes the next request's entries, oldest first: of a lane at most one, or several that are not
    /// ordered. Empty when nothing may be sent now.
    pub fn take_batch(&mut self, limits: BatchLimits, now: Instant) -> Vec<Entry<T>> {
        self.wake(now);
        let mut batch: Vec<Entry<T>> = Vec::new();
        let (mut bytes, mut held) = (0, 0);
        while batch.len() < limits.max_entries
            && let Some(next) = self.ready.front()
            && (batch.is_empty() || next.is_unloaded() || (fits(bytes, held, next, limits) && !next.alone))
            && let Some(next) = self.ready.pop_front()
        {
            if next.is_unloaded() {
                self.loading.push(next);
                continue;
            }
            bytes += next.bytes();
            held += next.held_bytes();
            self.note_taken(&next);
            let (is_alone, is_ordered) = (next.alone, next.is_ordered());
            let lane = (!is_alone && !is_ordered)
                .then(|| next.lane().map(str::to_owned))
                .flatten();
            batch.push(next);
            if is_alone {
                break;
            }
            if let Some(lane) = lane {
                self.take_more(&lane, limits, &mut batch, (&mut bytes, &mut held));
            }
        }
        batch
    }

    /// Fills a request with further entries of a lane that are not ordered.
    fn take_more(
        &mut self,
        lane: &str,
        limits: BatchLimits,
        batch: &mut Vec<Entry<T>>,
        (bytes, held): (&mut usize, &mut usize),
    ) {
        while batch.len() < limits.max_entries
            && let Some(open) = self.lanes.get_mut(lane)
            && let Some(next) = open.behind.front()
            && !(next.is_ordered() || next.alone || next.is_unloaded())
            && fits(*bytes, *held, next, limits)
            && let Some(next) = open.behind.pop_front()
        {
            open.out += 1;
            *bytes += next.bytes();
            *held += next.held_bytes();
            self.blocked_bytes -= next.held_bytes();
            self.note_taken(&next);
            batch.push(next);
        }
    }

    /// Tells that a sent entry is settled: its lane goes on.
    pub fn settle(&mut self, entry: &Entry<T>) {
        if let Some(lane) = entry.lane() {
            self.free(lane);
        }
    }

    /// Tells that a sent entry failed and is to be tried again at `at`: its lane waits for it if it is
    /// ordered.
    pub fn retry(&mut self, mut entry: Entry<T>, at: Instant) {
        entry.failures = entry.failures.saturating_add(1);
        if !entry.is_ordered() || is_planted(Bug::RetryOutOfOrder) {
            self.settle(&entry);
        }
        self.wait(entry, at);
    }

    /// Tells that a sent entry failed for a reason that may be a neighbour's: it is sent again by
    /// itself, a bundle taken apart. If it is ordered its lane waits for all of it, in order.
    pub fn isolate(&mut self, entry: Entry<T>, at: Instant) {
        let (failures, is_ordered) = (entry.failures, entry.is_ordered());
        if !is_ordered {
            self.settle(&entry);
        }
        let lane = entry.lane().filter(|_| is_ordered).map(str::to_owned);
        let mut singles = entry.into_items().map(|item| {
            let mut single = Entry::of(item);
            (single.failures, single.alone) = (failures, true);
            single
        });
        let Some(first) = singles.next() else { return };
        let rest: Vec<Entry<T>> = singles.collect();
        self.wait(first, at);
        if lane.as_ref().is_some_and(|lane| self.lanes.contains_key(lane)) {
            for single in rest.into_iter().rev() {
                self.note_queued(&single);
                self.blocked_bytes += single.held_bytes();
                if let Some(open) = lane.as_ref().and_then(|lane| self.lanes.get_mut(lane)) {
                    open.behind.push_front(single);
                }
            }
        } else {
            for single in rest {
                self.wait(single, at);
            }
        }
    }

    /// Tells that an entry was sent and will not be sent again. If it is ordered, returns the ordered
    /// ones behind it, in order, which leave the lane with it. What is pushed from now on goes on.
    pub fn close(&mut self, entry: &Entry<T>) -> Vec<T> {
        let mut followers = Vec::new();
        if entry.is_ordered()
            && let Some(lane) = entry.lane()
            && let Some(open) = self.lanes.get_mut(lane)
        {
            let (ordered, others) = std::mem::take(&mut open.behind)
                .into_iter()
                .partition(Entry::is_ordered);
            open.behind = others;
            let ordered: VecDeque<Entry<T>> = ordered;
            for entry in ordered {
                self.blocked_bytes -= entry.held_bytes();
                self.note_taken(&entry);
                self.unloaded -= entry.items().filter(|item| item.is_unloaded()).count();
                followers.extend(entry.into_items());
            }
        }
        self.settle(entry);
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

    /// Every event that is held here, in no order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        let behind = self.lanes.values().flat_map(|lane| &lane.behind);
        let entries = self.ready.iter().chain(self.waiting.values()).chain(&self.loading);
        entries.chain(behind).flat_map(Entry::items)
    }

    fn begin(&mut self, entry: Entry<T>) {
        if let Some(lane) = entry.lane() {
            let behind = VecDeque::new();
            self.lanes.insert(lane.to_owned(), Lane { out: 1, behind });
        }
        self.ready.push_back(entry);
    }

    /// One entry of the lane is out no more.
    fn free(&mut self, lane: &str) {
        let Some(open) = self.lanes.get_mut(lane) else { return };
        open.out -= 1;
        if open.out > 0 {
            return;
        }
        let Some(mut next) = open.behind.pop_front() else {
            self.lanes.remove(lane);
            return;
        };
        open.out = 1;
        self.blocked_bytes -= next.held_bytes();
        if let Some(limits) = self.bundle {
            while let Some(follower) = open.behind.front()
                && next.may_take(follower, limits)
                && let Some(follower) = open.behind.pop_front()
            {
                self.blocked_bytes -= follower.held_bytes();
                next.take(follower);
            }
        }
        self.ready.push_back(next);
    }

    fn wait(&mut self, entry: Entry<T>, at: Instant) {
        self.note_queued(&entry);
        self.blocked_bytes += entry.held_bytes();
        self.waiting.insert((at, self.next_number), entry);
        self.next_number += 1;
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let entry = entry.remove();
            if entry.is_ordered() || entry.lane().is_none() {
                self.blocked_bytes -= entry.held_bytes();
                self.ready.push_back(entry);
            } else if let Some(open) = entry.lane().and_then(|lane| self.lanes.get_mut(lane)) {
                open.behind.push_front(entry);
            } else {
                self.blocked_bytes -= entry.held_bytes();
                self.begin(entry);
            }
        }
    }

    fn note_queued(&mut self, entry: &Entry<T>) {
        self.queued += entry.len();
        self.queued_bytes += entry.held_bytes();
    }

    fn note_taken(&mut self, entry: &Entry<T>) {
        self.queued -= entry.len();
        self.queued_bytes -= entry.held_bytes();
    }
}

/// Whether a request of so many bytes, and so many held in memory, may take another entry. What goes by
/// reference takes little of the request and much of the memory.
fn fits<T: Item>(bytes: usize, held: usize, next: &Entry<T>, limits: BatchLimits) -> bool {
    let most = limits.max_bytes.max(MAX_REQUEST_BYTES);
    bytes + next.bytes() <= limits.max_bytes && held + next.held_bytes() <= most
}

#[cfg(test)]
mod tests;
