use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    lane: Option<String>,
    number: usize,
}

impl Item for Event {
    fn lane(&self) -> Option<&str> {
        self.lane.as_deref()
    }
    fn bytes(&self) -> usize {
        100
    }
}

fn event(lane: &str, number: usize) -> Event {
    Event {
        lane: (!lane.is_empty()).then(|| lane.to_owned()),
        number,
    }
}

const LIMITS: BatchLimits = BatchLimits {
    max_entries: 3,
    max_bytes: 1_000,
};

fn numbers(batch: &[Attempt<Event>]) -> Vec<usize> {
    batch.iter().map(|attempt| attempt.item.number).collect()
}

#[test]
fn a_batch_holds_one_event_of_a_lane_and_any_number_without_one() {
    let mut lanes = Lanes::default();
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
    let mut lanes = Lanes::default();
    for (lane, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
        lanes.push(event(lane, number));
    }
    let now = Instant::now();
    let mut batch = lanes.take_batch(LIMITS, now);
    let ok = batch.pop().unwrap();
    let later = now + Duration::from_secs(1);
    lanes.retry(batch.pop().unwrap(), later);
    lanes.settle(&ok.item);
    assert_eq!(numbers(&lanes.take_batch(LIMITS, now)), [4]);
    assert_eq!(lanes.next_retry(), Some(later));
    let again = lanes.take_batch(LIMITS, later);
    assert_eq!((numbers(&again), again[0].failures), (vec![1], 1));
}

#[test]
fn a_batch_stays_within_its_bytes_but_always_holds_one_event() {
    let mut lanes = Lanes::default();
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

proptest! {
    #[test]
    fn whatever_fails_each_lane_is_settled_in_order_and_nothing_is_lost(
        lanes_of_events in proptest::collection::vec(0_u8..6, 1..60),
        fates in proptest::collection::vec(any::<(bool, u8)>(), 400),
    ) {
        let mut lanes = Lanes::default();
        let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, lane) in lanes_of_events.iter().enumerate() {
            let lane = if *lane == 0 { String::new() } else { lane.to_string() };
            lanes.push(event(&lane, number));
            expected.entry(lane).or_default().push(number);
        }
        let mut settled: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut in_flight: Vec<Attempt<Event>> = Vec::new();
        let mut now = Instant::now();
        for (fails, pick) in fates {
            in_flight.extend(lanes.take_batch(LIMITS, now));
            let mut busy: Vec<&str> = in_flight.iter().filter_map(|attempt| attempt.item.lane()).collect();
            let all = busy.len();
            busy.sort_unstable();
            busy.dedup();
            prop_assert_eq!(busy.len(), all, "one in flight per lane");
            if in_flight.is_empty() {
                now += Duration::from_secs(1);
                continue;
            }
            let attempt = in_flight.remove(usize::from(pick) % in_flight.len());
            if fails {
                lanes.retry(attempt, now + Duration::from_millis(u64::from(pick)));
            } else {
                lanes.settle(&attempt.item);
                let lane = attempt.item.lane.clone().unwrap_or_default();
                settled.entry(lane).or_default().push(attempt.item.number);
            }
        }
        while lanes.queued() > 0 || !in_flight.is_empty() {
            now += Duration::from_secs(1);
            in_flight.extend(lanes.take_batch(LIMITS, now));
            for attempt in in_flight.drain(..) {
                lanes.settle(&attempt.item);
                settled.entry(attempt.item.lane.unwrap_or_default()).or_default().push(attempt.item.number);
            }
        }
        if let Some(free) = settled.get_mut("") {
            free.sort_unstable();
        }
        prop_assert_eq!(settled, expected);
    }
}
