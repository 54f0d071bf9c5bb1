//! What the proxy writes down.

use std::collections::HashMap;

use super::Entry;
use crate::rights::Calls;

/// One request that hands over messages.
#[derive(Debug, Clone)]
pub struct Send {
    /// What was asked.
    pub entries: Vec<Entry>,
    /// How many of them the target took; `None` while it is on its way or when nothing came of it.
    pub taken: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) sends: Vec<Send>,
    pub(super) taken: Vec<Entry>,
    pub(super) overlapping_groups: Vec<String>,
    pub(super) calls: Calls,
    in_flight: HashMap<(String, String), usize>,
}

impl Record {
    /// A request has come; the number is its place among the sends.
    pub(super) fn begin(&mut self, entries: &[Entry]) -> usize {
        for place in fifo_groups(entries) {
            let requests = self.in_flight.entry(place.clone()).or_default();
            *requests += 1;
            if *requests > 1 {
                self.overlapping_groups.push(place.1);
            }
        }
        self.sends.push(Send {
            entries: entries.to_vec(),
            taken: None,
        });
        self.sends.len() - 1
    }

    /// The target has taken these entries.
    pub(super) fn take(&mut self, send: usize, entries: &[Entry]) {
        self.taken.extend_from_slice(entries);
        self.sends[send].taken = Some(entries.len());
    }

    /// The request's caller has its answer, or never will.
    pub(super) fn end(&mut self, send: usize) {
        for place in fifo_groups(&self.sends[send].entries.clone()) {
            if let Some(requests) = self.in_flight.get_mut(&place) {
                *requests = requests.saturating_sub(1);
            }
        }
    }
}

/// The FIFO groups of a request, each once, with their queue or topic.
fn fifo_groups(entries: &[Entry]) -> Vec<(String, String)> {
    let fifo = entries.iter().filter(|entry| entry.queue.ends_with(".fifo"));
    let mut groups: Vec<_> = fifo
        .filter_map(|entry| Some((entry.queue.clone(), entry.group.clone()?)))
        .collect();
    groups.sort();
    groups.dedup();
    groups
}
