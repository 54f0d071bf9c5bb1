//! Which records of a batch may run side by side.

use std::collections::HashMap;

use oncebox_envelope::EventId;

use crate::record::Record;

/// Records that are worked on one after the other, in the order of the batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// A failure ends the lane: whatever follows would overtake it.
    pub(crate) is_ordered: bool,
    /// Positions in the batch.
    pub(crate) records: Vec<usize>,
}

#[derive(PartialEq, Eq, Hash)]
enum LaneKey<'a> {
    /// FIFO: one lane for each message group.
    Group(&'a str),
    /// Standard: copies of one event share a lane, so that they do not race each other.
    Event(EventId),
    /// Standard and unreadable: nothing to share.
    Alone(usize),
}

/// Sorts a batch into lanes; lanes stand in the order of their first record.
pub(crate) fn lanes(records: &[Record]) -> Vec<Lane> {
    let mut by_key: HashMap<LaneKey<'_>, usize> = HashMap::new();
    let mut lanes: Vec<Lane> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let key = match (&record.group, record.identity()) {
            (Some(group), _) => LaneKey::Group(group),
            (None, Some((id, _))) => LaneKey::Event(id),
            (None, None) => LaneKey::Alone(index),
        };
        let lane = *by_key.entry(key).or_insert_with(|| {
            lanes.push(Lane {
                is_ordered: record.group.is_some(),
                records: Vec::new(),
            });
            lanes.len() - 1
        });
        lanes[lane].records.push(index);
    }
    lanes
}
