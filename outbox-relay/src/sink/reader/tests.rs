use super::*;
use crate::log::{cursor::Base, snapshot::Snapshot};

fn horizon(xmax: i64, seq: Seq) -> Horizon {
    let snapshot: Snapshot = format!("{xmax}:{xmax}:").parse().unwrap();
    Horizon {
        next_xid: snapshot.xmax(),
        snapshot,
        seq_before: seq,
        seq_after: seq,
    }
}

fn claim(shards: &[i16], under_way: Option<(Horizon, Seq)>) -> Claim {
    Claim {
        sink: "tap".to_owned(),
        shards: shards.iter().map(|shard| (*shard, 1)).collect(),
        place: Place {
            base: Base::beginning(),
            under_way,
        },
    }
}

fn found(events: &[(Seq, i16)]) -> Vec<Found> {
    let found = |(seq, shard): &(Seq, i16)| Found {
        seq: *seq,
        shard: *shard,
        time_micros: *seq,
    };
    events.iter().map(found).collect()
}

#[test]
fn parts_at_different_places_are_read_apart_until_they_meet_and_together_from_then_on() {
    let target = horizon(700, 10);
    let mut reader = Reader::new(vec![
        claim(&[0, 1], Some((target.clone(), 4))),
        claim(&[2], Some((target, 8))),
    ]);
    assert_eq!(reader.shards(), [0, 1, 2]);

    let first = reader.next_page().unwrap();
    assert_eq!((first.position, first.shards.as_slice()), (8, [2_i16].as_slice()));
    let tickets = reader.read(&first, &found(&[(9, 2)]), 10);
    reader.settle(tickets[0]);

    // The part that has read everything may look on while the other is behind.
    assert!(reader.wants_look());
    reader.extend(&horizon(800, 20));
    let second = reader.next_page().unwrap();
    assert_eq!(
        (second.position, second.shards.as_slice()),
        (4, [0_i16, 1].as_slice()),
        "in turn"
    );
    let tickets = reader.read(&second, &found(&[(6, 0), (7, 1)]), 10);
    for ticket in tickets {
        reader.settle(ticket);
    }
    let third = reader.next_page().unwrap();
    assert_eq!((third.position, third.shards.as_slice()), (10, [2_i16].as_slice()));
    reader.read(&third, &[], 20);

    reader.extend(&horizon(800, 20));
    let fourth = reader.next_page().unwrap();
    assert_eq!(fourth.shards, [0, 1]);
    reader.read(&fourth, &[], 20);
    assert!(reader.next_page().is_none());

    reader.extend(&horizon(900, 30));
    let together = reader.next_page().unwrap();
    assert_eq!(
        (together.position, together.shards.as_slice()),
        (20, [0_i16, 1, 2].as_slice())
    );
    let tickets = reader.read(&together, &found(&[(22, 2), (25, 1)]), 30);
    reader.settle(tickets[0]);
    let places = reader.places("tap", true);
    assert_eq!(
        places[0].place.under_way.as_ref().unwrap().1,
        24,
        "the first part has an event out"
    );
    assert_eq!(places[1].place.under_way, None, "the second has nothing");
    assert_eq!(
        (reader.len(), reader.oldest_micros(), reader.published_to(30)),
        (1, Some(25), 24)
    );
    reader.settle(tickets[1]);
    assert!(reader.is_empty());
}

#[test]
fn only_parts_that_have_moved_are_saved_unless_all_are_wanted() {
    let target = horizon(700, 10);
    let mut reader = Reader::new(vec![
        claim(&[0], Some((target.clone(), 4))),
        claim(&[1], Some((target, 8))),
    ]);
    assert!(!reader.has_moved());
    let page = reader.next_page().unwrap();
    reader.read(&page, &[], 10);
    assert!(reader.has_moved());
    let moved = reader.places("tap", false);
    assert_eq!(moved.len(), 1);
    assert_eq!(reader.places("tap", true).len(), 2);
    reader.saved(moved);
    assert!(!reader.has_moved());
}
