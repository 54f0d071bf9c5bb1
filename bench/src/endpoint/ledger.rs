//! What came: how often, when, and in which order.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use serde::{Deserialize, Serialize};

use super::scan::Event;

/// Bytes of one element of `GET /arrivals`: the id, then the nanoseconds, both big-endian.
pub(crate) const ARRIVAL_BYTES: usize = 24;

/// What came since the last reset. Times are of the machine's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Requests that send events.
    pub(crate) requests: u64,
    /// Other requests: looking a target up.
    pub(crate) lookups: u64,
    /// Entries that were applied.
    pub(crate) entries: u64,
    /// Different events among them.
    pub(crate) events: u64,
    /// Copies of events that had come before.
    pub(crate) duplicates: u64,
    /// Entries that failed on purpose.
    pub(crate) failed: u64,
    /// Requests answered 503 on purpose.
    pub(crate) unavailable: u64,
    /// First deliveries on a FIFO target with a sequence below one that had come for their key.
    pub(crate) inversions: u64,
    /// Events on a FIFO target that came while a request with their key was not answered yet.
    pub(crate) overlaps: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    /// When the first request that sends events had come.
    pub(crate) first_ns: u64,
    /// When the last one was answered.
    pub(crate) last_ns: u64,
}

/// See [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) stats: Stats,
    arrivals: HashMap<u128, u64, BuildHasherDefault<IdHasher>>,
    keys: HashMap<Box<[u8]>, Key>,
}

#[derive(Debug, Default)]
struct Key {
    highest: u64,
    unanswered: u32,
}

impl Ledger {
    /// Notes that an event came; `is_fifo` when its order counts.
    pub(super) fn arrived(&mut self, event: &Event<'_>, is_fifo: bool, now_ns: u64) {
        let is_new = match self.arrivals.entry(event.id) {
            Entry::Vacant(vacant) => {
                vacant.insert(now_ns);
                self.stats.events += 1;
                true
            }
            Entry::Occupied(_) => {
                self.stats.duplicates += 1;
                false
            }
        };
        let Some((name, sequence)) = event.place.filter(|_| is_fifo) else {
            return;
        };
        if !self.keys.contains_key(name) {
            self.keys.insert(name.into(), Key::default());
        }
        let Some(key) = self.keys.get_mut(name) else { return };
        if is_new {
            self.stats.inversions += u64::from(sequence < key.highest);
            key.highest = key.highest.max(sequence);
        }
        self.stats.overlaps += u64::from(key.unanswered > 0);
    }

    /// Notes that a request with this key waits for its answer; said after all its events have
    /// arrived, since a bundle may hold several of one key.
    pub(super) fn waits(&mut self, key: &[u8]) {
        if let Some(key) = self.keys.get_mut(key) {
            key.unanswered += 1;
        }
    }

    /// Notes that such a request is answered.
    pub(super) fn answered(&mut self, key: &[u8]) {
        if let Some(key) = self.keys.get_mut(key) {
            key.unanswered = key.unanswered.saturating_sub(1);
        }
    }

    /// First arrivals, [`ARRIVAL_BYTES`] each.
    pub(super) fn arrivals(&self) -> Vec<u8> {
        let arrival = |(id, ns): (&u128, &u64)| id.to_be_bytes().into_iter().chain(ns.to_be_bytes());
        self.arrivals.iter().flat_map(arrival).collect()
    }
}

/// Event ids are random enough to be their own hash.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8) {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u128, sequence: u64) -> Event<'static> {
        Event {
            id,
            place: Some((b"k", sequence)),
        }
    }

    #[test]
    fn copies_inversions_and_overlaps_are_told_apart() {
        let mut ledger = Ledger::default();
        let mut deliver = |id, sequence| {
            ledger.arrived(&event(id, sequence), true, 1);
            ledger.waits(b"k");
            ledger.answered(b"k");
        };
        deliver(1, 1);
        deliver(3, 3);
        deliver(3, 3);
        deliver(2, 2); // comes after its successor
        deliver(1, 1); // a copy is never out of order
        assert_eq!((ledger.stats.events, ledger.stats.duplicates), (3, 2));
        assert_eq!((ledger.stats.inversions, ledger.stats.overlaps), (1, 0));

        ledger.arrived(&event(4, 4), true, 2);
        ledger.waits(b"k");
        ledger.arrived(&event(5, 5), true, 2);
        assert_eq!(ledger.stats.overlaps, 1);
        ledger.arrived(&event(6, 1), false, 2);
        assert_eq!((ledger.stats.inversions, ledger.stats.overlaps), (1, 1));
        assert_eq!(ledger.arrivals().len(), 6 * ARRIVAL_BYTES);
    }
}
