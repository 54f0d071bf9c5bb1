use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    lane: Option<String>,
    is_ordered: bool,
    number: usize,
    is_unloaded: bool,
    /// What it takes of the memory; of a request it takes 100 bytes.
    held_bytes: usize,
}

impl Item for Event {
    fn lane(&self) -> Option<&str> {
        self.lane.as_deref()
    }
    fn is_ordered(&self) -> bool {
        self.is_ordered
    }
    fn bytes(&self) -> usize {
        100
    }
    fn held_bytes(&self) -> usize {
        if self.is_unloaded { 0 } else { self.held_bytes }
    }
    fn group(&self) -> &str {
        self.lane.as_deref().unwrap_or("tenant")
    }
    fn may_be_bundled(&self) -> bool {
        true
    }
    fn loaded_bytes(&self) -> usize {
        150
    }
    fn unload(&mut self) {
        self.is_unloaded = true;
    }
    fn is_unloaded(&self) -> bool {
        self.is_unloaded
    }
}

fn event(lane: &str, number: usize) -> Entry<Event> {
    Entry::of(Event {
        lane: (!lane.is_empty()).then(|| lane.to_owned()),
        is_ordered: !lane.is_empty(),
        number,
        is_unloaded: false,
        held_bytes: 150,
    })
}

/// Of a lane, and not ordered in it.
fn loose(lane: &str, number: usize) -> Entry<Event> {
    Entry::of(Event {
        lane: Some(lane.to_owned()),
        is_ordered: false,
        number,
        is_unloaded: false,
        held_bytes: 150,
    })
}

const LIMITS: BatchLimits = BatchLimits {
    max_entries: 3,
    max_bytes: 1_000,
};
const BUNDLE: BatchLimits = BatchLimits {
    max_entries: 4,
    max_bytes: 350,
};

fn numbers(batch: &[Entry<Event>]) -> Vec<usize> {
    batch.iter().flat_map(Entry::items).map(|event| event.number).collect()
}

#[test]
fn a_batch_holds_one_event_of_a_lane_and_any_number_without_one() {
    let mut lanes = Lanes::new(None);
    for (lane, number) in [("a", 1), ("a", 2), ("", 3), ("", 4), ("b", 5)] {
        lanes.push(event(lane, number));
    }
    let now = Instant::now();
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [1, 3, 4]);
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [5]);
    assert!(lanes.take_batch(LIMITS, now).is_empty(), "2 waits for 1");
    lanes.settle(&event("a", 1));
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [2]);
    assert_eq!((lanes.queued(), lanes.queued_bytes()), (0, 0));
}

#[test]
fn a_failed_event_holds_its_lane_and_nobody_else() {
    let mut lanes = Lanes::new(None);
    for (lane, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
        lanes.push(event(lane, number));
    }
    let now = Instant::now();
    let mut batch = lanes.take_batch(LIMITS, now);
    let ok = batch.pop().unwrap();
    let later = now + Duration::from_secs(1);
    lanes.retry(batch.pop().unwrap(), later);
    lanes.settle(&ok);
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [4]);
    assert_eq!(lanes.next_retry(), Some(later));
    let again = lanes.take_batch(LIMITS, later);
    assert_eq!((numbers(&again), again[0].failures), (vec![1], 1));
}

#[test]
fn a_batch_stays_within_its_bytes_but_always_holds_one_event() {
    let mut lanes = Lanes::new(None);
    for number in 0..3 {
        lanes.push(event("", number));
    }
    let limits = |max_bytes| BatchLimits {
        max_entries: 10,
        max_bytes,
    };
    let now = Instant::now();
    assert_eq!(numbers(&lanes.take_batch(limits(10), now)), [0]);
    assert_eq!(numbers(&lanes.take_batch(limits(200), now)), [1, 2]);
}

#[test]
fn a_batch_of_what_goes_by_reference_stays_within_its_memory_too() {
    for lane in [None, Some("tenant")] {
        let mut lanes = Lanes::new(None);
        for number in 1..=3 {
            lanes.push(Entry::of(Event {
                lane: lane.map(str::to_owned),
                is_ordered: false,
                number,
                is_unloaded: false,
                held_bytes: MAX_REQUEST_BYTES / 2,
            }));
        }
        let now = Instant::now();
        let first = lanes.take_batch(LIMITS, now);
        assert_eq!(numbers(&first), [1, 2], "{lane:?}");
        first.iter().for_each(|batch| lanes.settle(batch));
        assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [3], "{lane:?}");
    }
}

#[test]
fn what_waits_behind_a_bundle_becomes_the_next_one() {
    let mut lanes = Lanes::new(Some(BUNDLE));
    for number in 1..=6 {
        lanes.push(event("a", number));
    }
    let now = Instant::now();
    let first = lanes.take_batch(LIMITS, now).remove(0);
    assert_eq!(first.len(), 1, "gathering is not the lanes' work");
    lanes.settle(&first);
    let second = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&second), [2, 3, 4], "three of 100 bytes fit into 350");
    lanes.settle(&second[0]);
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [5, 6]);
}

#[test]
fn an_isolated_bundle_is_sent_event_by_event_each_in_a_request_of_its_own() {
    let mut lanes = Lanes::new(Some(BUNDLE));
    let mut bundle = event("a", 1);
    bundle.take(event("a", 2));
    lanes.push(bundle);
    lanes.push(event("a", 3));
    lanes.push(event("b", 4));
    let now = Instant::now();
    let mut batch = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&batch), [1, 2, 4]);
    lanes.settle(&batch.pop().unwrap());
    lanes.isolate(batch.pop().unwrap(), now);
    lanes.push(event("b", 5));
    let mut order = Vec::new();
    while let batch = lanes.take_batch(LIMITS, now)
        && !batch.is_empty()
    {
        order.push(numbers(&batch));
        for entry in &batch {
            lanes.settle(entry);
        }
    }
    assert_eq!(order, [vec![5], vec![1], vec![2], vec![3]]);
}

#[test]
fn a_closed_lane_gives_up_all_that_waits_and_is_free_again() {
    let mut lanes = Lanes::new(None);
    for (lane, number) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
        lanes.push(event(lane, number));
    }
    let now = Instant::now();
    let batch = lanes.take_batch(LIMITS, now);
    let followers: Vec<usize> = lanes.close(&batch[0]).into_iter().map(|event| event.number).collect();
    assert_eq!(followers, [2, 4]);
    assert_eq!((lanes.queued(), lanes.queued_bytes()), (0, 0));
    lanes.push(event("a", 5));
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [5]);
}

#[test]
fn a_lanes_events_that_are_not_ordered_share_one_request_and_none_holds_up_the_others() {
    let mut lanes = Lanes::new(None);
    for number in 1..=5 {
        lanes.push(loose("t", number));
    }
    let now = Instant::now();
    let mut batch = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&batch), [1, 2, 3]);
    assert!(
        lanes.take_batch(LIMITS, now).is_empty(),
        "one request of a lane at a time"
    );
    let later = now + Duration::from_secs(1);
    lanes.retry(batch.remove(0), later);
    lanes.settle(&batch[0]);
    assert!(lanes.take_batch(LIMITS, now).is_empty(), "3 is out");
    lanes.settle(&batch[1]);
    let next = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&next), [4, 5], "1 waits for its retry alone");
    assert!(lanes.take_batch(LIMITS, later).is_empty());
    next.iter().for_each(|entry| lanes.settle(entry));
    let again = lanes.take_batch(LIMITS, later);
    assert_eq!(numbers(&again), [1]);
    assert!(lanes.close(&again[0]).is_empty(), "nobody follows it");
    assert_eq!((lanes.queued(), lanes.queued_bytes(), lanes.blocked_bytes()), (0, 0, 0));
}

#[test]
fn a_key_that_is_called_like_a_tenant_shares_its_lane_and_takes_only_its_own_followers_along() {
    let mut lanes = Lanes::new(None);
    for entry in [event("a", 1), loose("a", 2), event("a", 3)] {
        lanes.push(entry);
    }
    let now = Instant::now();
    let batch = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&batch), [1], "one in flight of a group");
    let followers: Vec<usize> = lanes.close(&batch[0]).into_iter().map(|event| event.number).collect();
    assert_eq!(followers, [3]);
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [2]);
}

#[test]
fn what_is_blocked_gives_up_its_payload_and_has_it_again_when_its_turn_comes() {
    let mut lanes = Lanes::new(None);
    for (lane, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 4)] {
        lanes.push(event(lane, number));
    }
    let now = Instant::now();
    let batch = lanes.take_batch(LIMITS, now);
    assert_eq!(numbers(&batch), [1, 4]);
    lanes.unload();
    assert_eq!((lanes.queued(), lanes.queued_bytes(), lanes.unloaded()), (2, 0, 2));
    lanes.settle(&batch[0]);
    assert!(lanes.take_batch(LIMITS, now).is_empty(), "2 has nothing to send");
    let wanted: Vec<usize> = lanes.wanted(10, 10_000).into_iter().map(|event| event.number).collect();
    assert_eq!(wanted, [2, 3], "and its follower's turn is next");
    assert_eq!(lanes.wanted(10, 1).len(), 1);
    assert_eq!((lanes.wanted(10, 299).len(), lanes.wanted(10, 300).len()), (1, 2));
    lanes.push(event("a", 5));
    lanes.load(|event| event.is_unloaded = false);
    assert_eq!(
        (lanes.unloaded(), lanes.queued_bytes(), lanes.blocked_bytes()),
        (0, 450, 300)
    );
    let mut order = Vec::new();
    while let [entry] = lanes.take_batch(LIMITS, now).as_slice() {
        order.extend(numbers(std::slice::from_ref(entry)));
        lanes.settle(entry);
    }
    assert_eq!(order, [2, 3, 5]);
    assert_eq!((lanes.queued(), lanes.queued_bytes(), lanes.blocked_bytes()), (0, 0, 0));
}

proptest! {
    #[test]
    fn whatever_fails_each_lane_is_settled_in_order_and_nothing_is_lost(
        lanes_of_events in proptest::collection::vec(0_u8..6, 1..60),
        fates in proptest::collection::vec(any::<(u8, u8)>(), 400),
        bundled in any::<bool>(),
    ) {
        let mut lanes = Lanes::new(bundled.then_some(BUNDLE));
        let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, lane) in lanes_of_events.iter().enumerate() {
            // Lane 1 has events that are ordered and events that are not.
            let lane = if *lane == 0 { String::new() } else { lane.to_string() };
            let is_loose = lane == "1" && number % 2 == 0;
            lanes.push(if is_loose { loose(&lane, number) } else { event(&lane, number) });
            expected.entry(if is_loose { String::new() } else { lane }).or_default().push(number);
        }
        // Settled or given up; both are the end of an event, and in one lane they come in order.
        let mut ended: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut end = |event: Event| {
            let lane = event.lane.filter(|_| event.is_ordered).unwrap_or_default();
            ended.entry(lane).or_default().push(event.number);
        };
        let mut in_flight: Vec<Entry<Event>> = Vec::new();
        let mut now = Instant::now();
        for (fate, pick) in fates {
            in_flight.extend(lanes.take_batch(LIMITS, now));
            prop_assert!(in_flight.iter().all(|entry| !entry.is_unloaded()), "nothing is sent without its payload");
            match fate / 8 {
                0..=3 => lanes.unload(),
                4..=15 => {
                    let wanted: Vec<usize> = lanes.wanted(3, 400).into_iter().map(|event| event.number).collect();
                    lanes.load(|event| event.is_unloaded &= !wanted.contains(&event.number));
                }
                _ => {}
            }
            let ordered = in_flight.iter().filter(|entry| entry.is_ordered());
            let mut busy: Vec<&str> = ordered.filter_map(Entry::lane).collect();
            let all = busy.len();
            busy.sort_unstable();
            busy.dedup();
            prop_assert_eq!(busy.len(), all, "one in flight per lane");
            if in_flight.is_empty() {
                now += Duration::from_secs(1);
                continue;
            }
            let entry = in_flight.remove(usize::from(pick) % in_flight.len());
            match fate % 8 {
                0..=2 => lanes.retry(entry, now + Duration::from_millis(u64::from(pick))),
                3 => lanes.isolate(entry, now),
                4 if entry.len() == 1 => {
                    let followers = lanes.close(&entry);
                    entry.into_items().chain(followers).for_each(&mut end);
                }
                _ => {
                    lanes.settle(&entry);
                    entry.into_items().for_each(&mut end);
                }
            }
        }
        while lanes.queued() > 0 || !in_flight.is_empty() {
            now += Duration::from_secs(1);
            in_flight.extend(lanes.take_batch(LIMITS, now));
            lanes.load(|event| event.is_unloaded = false);
            for entry in in_flight.drain(..) {
                lanes.settle(&entry);
                entry.into_items().for_each(&mut end);
            }
        }
        prop_assert_eq!((lanes.queued_bytes(), lanes.blocked_bytes(), lanes.unloaded(), lanes.ready(), lanes.next_retry()),
            (0, 0, 0, 0, None));
        if let Some(free) = ended.get_mut("") {
            free.sort_unstable();
        }
        prop_assert_eq!(ended, expected);
    }
}
