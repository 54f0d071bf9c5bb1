//! What may be said of a list of deliveries.

use std::collections::{HashMap, HashSet};

use system_tests::Entry;

/// How many deliveries there were beyond the first of each event.
pub(crate) fn duplicates(taken: &[Entry]) -> usize {
    taken.len() - ids(taken).len()
}

pub(crate) fn ids(taken: &[Entry]) -> HashSet<String> {
    taken.iter().map(|entry| entry.event_id.clone()).collect()
}

/// First deliveries of each key come in the order of their sequence, without a gap from 1 on.
pub(crate) fn assert_keys_in_order(taken: &[Entry]) {
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, i64> = HashMap::new();
    for entry in taken.iter().filter(|entry| seen.insert(&entry.event_id)) {
        let (Some(key), Some(sequence)) = (entry.key.as_deref(), entry.sequence) else {
            continue;
        };
        let last = last.entry(key).or_default();
        assert_eq!(
            sequence,
            *last + 1,
            "first deliveries of key {key} are out of order: {sequence} came after {last}"
        );
        *last = sequence;
    }
}
