//! Gathering events into bundles: until one is full, or its first event has waited long enough.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::entry::{Entry, Item};
use crate::publish::BatchLimits;

/// What one bundle may hold and how long it waits to be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleLimits {
    /// Events and bytes of one bundle.
    pub size: BatchLimits,
    /// Longest that an event waits for others of its group.
    pub linger: Duration,
}

/// Bundles that are not full yet, at most one per group.
#[derive(Debug)]
pub struct Gather<T> {
    limits: BundleLimits,
    open: HashMap<String, (Entry<T>, (Instant, u64))>,
    /// The open bundles by when they have to go; the number keeps equal times apart.
    due: BTreeMap<(Instant, u64), String>,
    next_number: u64,
    bytes: usize,
}

impl<T: Item> Gather<T> {
    /// Nothing gathered yet.
    #[must_use]
    pub fn new(limits: BundleLimits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            due: BTreeMap::new(),
            next_number: 0,
            bytes: 0,
        }
    }

    /// Adds an event; returns what must go before or with it: a bundle of its group that it does not
    /// fit into, or one that it has filled. In the order of the group.
    pub fn push(&mut self, item: T, now: Instant) -> Vec<Entry<T>> {
        let mut ready = Vec::new();
        let group = item.group().to_owned();
        self.bytes += item.held_bytes();
        let mut entry = Entry::of(item);
        if let Some((mut open, key)) = self.open.remove(&group) {
            self.due.remove(&key);
            if open.may_take(&entry, self.limits.size) {
                open.take(entry);
                if self.is_full(&open) {
                    self.give(open, &mut ready);
                } else {
                    self.due.insert(key, group.clone());
                    self.open.insert(group, (open, key));
                }
                return ready;
            }
            self.give(open, &mut ready);
        }
        let is_single = entry.items().any(|item| !item.may_be_bundled());
        if is_single || self.is_full(&entry) {
            self.give(entry, &mut ready);
            return ready;
        }
        entry.alone = false;
        let key = (now + self.limits.linger, self.next_number);
        self.next_number += 1;
        self.due.insert(key, group.clone());
        self.open.insert(group, (entry, key));
        ready
    }

    /// Takes the bundles whose time has come.
    pub fn take_due(&mut self, now: Instant) -> Vec<Entry<T>> {
        let mut ready = Vec::new();
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let group = first.remove();
            if let Some((entry, _)) = self.open.remove(&group) {
                self.give(entry, &mut ready);
            }
        }
        ready
    }

    /// When the next bundle has to go.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Events that are held here.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.open.values().map(|(entry, _)| entry.len()).sum()
    }

    /// Bytes of memory that the events take that are held here.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Every event that is held here, in no order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.open.values().flat_map(|(entry, _)| entry.items())
    }

    /// Takes the ordered events of a lane out: they follow one that will not be sent.
    pub fn close(&mut self, lane: &str) -> Vec<T> {
        match self.open.get(lane) {
            Some((entry, _)) if entry.lane() == Some(lane) && entry.is_ordered() => {}
            _ => return Vec::new(),
        }
        let Some((entry, key)) = self.open.remove(lane) else {
            return Vec::new();
        };
        self.due.remove(&key);
        self.bytes -= entry.held_bytes();
        entry.into_items().collect()
    }

    fn give(&mut self, entry: Entry<T>, ready: &mut Vec<Entry<T>>) {
        self.bytes -= entry.held_bytes();
        ready.push(entry);
    }

    fn is_full(&self, entry: &Entry<T>) -> bool {
        entry.len() >= self.limits.size.max_entries || entry.bytes() >= self.limits.size.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::entry::Item;

    #[derive(Debug, PartialEq, Clone)]
    struct Event(u32, &'static str, usize);

    impl Item for Event {
        fn lane(&self) -> Option<&str> {
            Some(self.1)
        }
        fn is_ordered(&self) -> bool {
            true
        }
        fn bytes(&self) -> usize {
            self.2
        }
        fn held_bytes(&self) -> usize {
            self.2
        }
        fn group(&self) -> &str {
            self.1
        }
        fn may_be_bundled(&self) -> bool {
            self.2 < 100
        }
        fn loaded_bytes(&self) -> usize {
            self.2
        }
        fn unload(&mut self) {}
        fn is_unloaded(&self) -> bool {
            false
        }
    }

    fn numbers(entries: Vec<Entry<Event>>) -> Vec<Vec<u32>> {
        let numbers = |entry: Entry<Event>| entry.into_items().map(|event| event.0).collect();
        entries.into_iter().map(numbers).collect()
    }

    fn gather() -> Gather<Event> {
        Gather::new(BundleLimits {
            size: BatchLimits {
                max_entries: 3,
                max_bytes: 50,
            },
            linger: Duration::from_millis(20),
        })
    }

    #[test]
    fn a_bundle_goes_when_it_is_full_and_never_mixes_groups() {
        let (mut gather, now) = (gather(), Instant::now());
        assert!(gather.push(Event(1, "a", 1), now).is_empty());
        assert!(gather.push(Event(2, "b", 1), now).is_empty());
        assert!(gather.push(Event(3, "a", 1), now).is_empty());
        assert_eq!(numbers(gather.push(Event(4, "a", 1), now)), [[1, 3, 4]]);
        assert_eq!(
            numbers(gather.push(Event(5, "b", 50), now)),
            [[2], [5]],
            "too large together, full by itself"
        );
        assert_eq!(
            (gather.queued(), gather.queued_bytes(), gather.next_due()),
            (0, 0, None)
        );
    }

    #[test]
    fn a_bundle_goes_when_its_first_event_has_waited_long_enough() {
        let (mut gather, now) = (gather(), Instant::now());
        let later = now + Duration::from_millis(15);
        gather.push(Event(1, "a", 1), now);
        gather.push(Event(2, "b", 1), later);
        gather.push(Event(3, "a", 1), later);
        assert_eq!(gather.next_due(), Some(now + Duration::from_millis(20)));
        assert!(gather.take_due(later).is_empty());
        assert_eq!(numbers(gather.take_due(now + Duration::from_millis(20))), [[1, 3]]);
        assert_eq!(numbers(gather.take_due(now + Duration::from_millis(35))), [[2]]);
    }

    #[test]
    fn what_may_not_be_bundled_goes_by_itself_and_behind_its_predecessors() {
        let (mut gather, now) = (gather(), Instant::now());
        gather.push(Event(1, "a", 1), now);
        assert_eq!(numbers(gather.push(Event(2, "a", 100), now)), [[1], [2]]);
    }

    #[test]
    fn a_closed_lane_gives_up_what_was_gathered() {
        let (mut gather, now) = (gather(), Instant::now());
        gather.push(Event(1, "a", 1), now);
        gather.push(Event(2, "b", 1), now);
        assert_eq!(gather.close("a"), [Event(1, "a", 1)]);
        assert_eq!(
            (gather.close("a").len(), gather.queued(), gather.queued_bytes()),
            (0, 1, 1)
        );
    }
}
