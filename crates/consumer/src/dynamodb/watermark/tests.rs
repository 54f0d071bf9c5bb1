//! The watermark against a model, and case by case.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn print(n: u8) -> Option<Print> {
    Some(Print([n; PRINT_BYTES]))
}

fn stored(mark: &Watermark) -> Item {
    let attributes = mark.attributes().into_iter().map(|(name, value)| (name, value.0));
    attributes.collect()
}

#[test]
fn a_watermark_is_read_as_it_was_written_and_nothing_else_is_one() {
    let one = Watermark::after(None, 1, print(1));
    let two = Watermark::after(Some(&one), 2, None);
    let three = Watermark::after(Some(&two), 3, print(3));
    for mark in [&one, &two, &three] {
        assert_eq!(Watermark::read(&stored(mark)).as_ref(), Some(mark));
    }
    assert_eq!(three.missed, BTreeSet::from([2]));
    assert_ne!(one.own, two.own);
    for name in ["last", "first", "own", "recent"] {
        let mut item = stored(&one);
        item.remove(name);
        assert_eq!(Watermark::read(&item), None, "{name}");
    }
    let mut item = stored(&one);
    item.insert("recent".to_owned(), AttributeValue::B(vec![1, 2, 3].into()));
    assert_eq!(Watermark::read(&item), None);
}

#[test]
fn another_event_is_told_among_the_recent_ones_and_taken_for_a_duplicate_before_them() {
    let mut mark = Watermark::after(None, 1, print(1));
    for sequence in 2..=40 {
        mark = Watermark::after(Some(&mark), sequence, print(u8::try_from(sequence).unwrap()));
    }
    let turn = |sequence, print| GapGuard::from_one().turn(Some(&mark), sequence, print);
    assert_eq!(turn(40, print(40)), Turn::Duplicate);
    assert_eq!(turn(40, print(7)), Turn::Mismatch);
    assert_eq!(turn(9, print(9)), Turn::Duplicate);
    assert_eq!(turn(9, print(7)), Turn::Mismatch);
    assert_eq!(turn(8, print(7)), Turn::Duplicate);
    assert_eq!(turn(41, print(7)), Turn::Next);
    assert_eq!(turn(43, print(7)), Turn::Gap { expected: 41 });
}

#[test]
fn a_long_key_has_an_item_of_its_own_too() {
    let key = |length: usize, last: &str| Watermark::key("c", &("x".repeat(length) + last));
    assert!(key(2_047, "a") != key(2_047, "b"));
    let Attribute(AttributeValue::S(long)) = &key(2_047, "a").parts[0].1 else {
        panic!("no text")
    };
    assert!(long.starts_with("c#keyhash#"));
}

#[test]
fn a_write_that_is_applied_late_is_recognised_and_one_that_was_not_changes_nothing() {
    let key = || Watermark::key("c", "k");
    let first = Watermark::after(None, 1, print(1));
    let stamp = Stamp::new(GapGuard::from_one(), key(), Some(&first), 2, print(2));
    let settled = |mark: &Watermark| stamp.settled_by(Some(&stored(mark)), &Verdict::Done);
    assert_eq!(settled(&first), None, "nothing has happened");
    assert_eq!(settled(&stamp.after), Some(Verdict::Done));
    let beyond = Watermark::after(Some(&stamp.after), 3, print(3));
    assert_eq!(settled(&beyond), Some(Verdict::Duplicate), "applied, and gone beyond");
    let other = Watermark::after(Some(&first), 2, print(9));
    assert_eq!(settled(&other), Some(Failure::payload_mismatch().into()));
    let passed_by = Watermark::after(Some(&first), 2, None);
    assert!(matches!(
        settled(&passed_by),
        Some(Verdict::Failed(Failure::Retryable(_)))
    ));
    assert!(matches!(
        stamp.settled_by(None, &Verdict::Done),
        Some(Verdict::Failed(Failure::Retryable(_)))
    ));
}

proptest! {
    /// Deliveries of the events of one key in any order, some of which are set aside the first time.
    #[test]
    fn whatever_is_delivered_in_whatever_order_each_event_has_its_turn_once(
        deliveries in prop::collection::vec((1_i64..12, any::<bool>()), 1..150),
        from_one in any::<bool>(),
    ) {
        let guard = if from_one { GapGuard::from_one() } else { GapGuard::from_first_seen() };
        let mut mark: Option<Watermark> = None;
        let mut effects: Vec<i64> = Vec::new();
        let mut set_aside: HashMap<i64, bool> = HashMap::new();
        for (sequence, is_rejected) in deliveries {
            let own = print(u8::try_from(sequence).unwrap());
            let before = mark.as_ref().map_or(0, |mark| mark.last);
            match guard.turn(mark.as_ref(), sequence, own) {
                Turn::Next if is_rejected => {
                    set_aside.insert(sequence, true);
                    mark = Some(Watermark::after(mark.as_ref(), sequence, None));
                }
                Turn::Next => {
                    prop_assert!(mark.is_none() || sequence == before + 1);
                    effects.push(sequence);
                    mark = Some(Watermark::after(mark.as_ref(), sequence, own));
                }
                Turn::Late => {
                    prop_assert_eq!(set_aside.insert(sequence, false), Some(true));
                    effects.push(sequence);
                    mark = Some(Watermark::after(mark.as_ref(), sequence, own));
                }
                Turn::Duplicate => prop_assert!(effects.contains(&sequence), "lost: {sequence}"),
                Turn::Mismatch => prop_assert!(false, "{sequence} was taken for another"),
                Turn::Before => prop_assert!(!from_one && sequence < mark.as_ref().map_or(0, |mark| mark.first)),
                Turn::Gap { expected } => {
                    prop_assert!(sequence > expected && expected == before + 1);
                }
            }
        }
        let mut once = effects.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), effects.len(), "an effect twice");
        let in_turn: Vec<i64> = effects.iter().copied().filter(|sequence| !set_aside.contains_key(sequence)).collect();
        prop_assert!(in_turn.is_sorted());
    }
}
