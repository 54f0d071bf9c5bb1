//! Giving up the payload of what waits, and having it again.

use super::Lanes;
use crate::sink::entry::{Entry, Item};

impl<T: Item> Lanes<T> {
    /// Bytes of memory of the events that wait behind another or for their retry.
    #[must_use]
    pub fn blocked_bytes(&self) -> usize {
        self.blocked_bytes
    }

    /// Events that have given up their payload.
    #[must_use]
    pub fn unloaded(&self) -> usize {
        self.unloaded
    }

    /// Lets all that waits behind another or for its retry give up its payload.
    pub fn unload(&mut self) {
        let behind = self.lanes.values_mut().flat_map(|lane| &mut lane.behind);
        for entry in self.waiting.values_mut().chain(behind) {
            for item in entry.items_mut().filter(|item| !item.is_unloaded()) {
                let before = item.held_bytes();
                item.unload();
                if item.is_unloaded() {
                    let freed = before - item.held_bytes();
                    self.blocked_bytes -= freed;
                    self.queued_bytes -= freed;
                    self.unloaded += 1;
                }
            }
        }
    }

    /// The events whose payload is needed, at most `max_events` and `max_bytes` (and at least one): of the
    /// entries whose turn has come, and then of those behind them in their lanes, whose turn is next.
    #[must_use]
    pub fn wanted(&self, max_events: usize, max_bytes: usize) -> Vec<&T> {
        let next_in_lane = |entry: &Entry<T>| {
            let open = entry.lane().and_then(|lane| self.lanes.get(lane));
            open.into_iter().flat_map(|lane| &lane.behind).take(max_events)
        };
        let behind = self.loading.iter().flat_map(next_in_lane);
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for item in self.loading.iter().chain(behind).flat_map(Entry::items) {
            if !item.is_unloaded() {
                continue;
            }
            bytes += item.loaded_bytes();
            if !wanted.is_empty() && (wanted.len() >= max_events || bytes > max_bytes) {
                break;
            }
            wanted.push(item);
        }
        wanted
    }

    /// Whether an entry whose turn has come lacks its payload.
    #[must_use]
    pub fn wants_load(&self) -> bool {
        !self.loading.is_empty()
    }

    /// Lets `load` give back the payload of each event that lacks it and that it knows, and lets the
    /// entries that are whole again go before all others.
    pub fn load(&mut self, mut load: impl FnMut(&mut T)) {
        let mut whole = Vec::new();
        let lanes: Vec<String> = self
            .loading
            .iter()
            .filter_map(|entry| Some(entry.lane()?.to_owned()))
            .collect();
        for mut entry in std::mem::take(&mut self.loading) {
            let (grown, events) = fill(&mut entry, &mut load);
            self.queued_bytes += grown;
            self.unloaded -= events;
            if entry.is_unloaded() {
                self.loading.push(entry);
            } else {
                whole.push(entry);
            }
        }
        for entry in whole.into_iter().rev() {
            self.ready.push_front(entry);
        }
        for lane in lanes {
            let Some(open) = self.lanes.get_mut(&lane) else {
                continue;
            };
            // What is loaded ahead was asked for from the lane's beginning on.
            for entry in &mut open.behind {
                let lacked = entry.is_unloaded();
                let (grown, events) = fill(entry, &mut load);
                self.queued_bytes += grown;
                self.blocked_bytes += grown;
                self.unloaded -= events;
                if lacked && events == 0 {
                    break;
                }
            }
        }
    }
}

/// Returns the bytes that an entry has grown by, and how many of its events have their payload again.
fn fill<T: Item>(entry: &mut Entry<T>, load: &mut impl FnMut(&mut T)) -> (usize, usize) {
    let (mut grown, mut events) = (0, 0);
    for item in entry.items_mut().filter(|item| item.is_unloaded()) {
        let before = item.held_bytes();
        load(item);
        if !item.is_unloaded() {
            grown += item.held_bytes().saturating_sub(before);
            events += 1;
        }
    }
    if events > 0 {
        entry.weigh();
    }
    (grown, events)
}
