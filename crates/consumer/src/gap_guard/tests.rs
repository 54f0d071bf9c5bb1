//! The watermark against a model, and case by case.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn print(n: u8) -> Option<Print> {
    Some(Print::test(n))
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
fn an_event_that_comes_late_is_told_from_another_one_afterwards_as_those_in_turn_are() {
    let mut mark = Watermark::after(None, 1, print(1));
    mark = Watermark::after(Some(&mark), 2, None);
    mark = Watermark::after(Some(&mark), 3, print(3));
    let turn = |mark: &Watermark, sequence, print| GapGuard::from_one().turn(Some(mark), sequence, print);
    assert_eq!(turn(&mark, 2, print(2)), Turn::Late);
    mark = Watermark::after(Some(&mark), 2, print(2));
    assert_eq!(turn(&mark, 2, print(2)), Turn::Duplicate);
    assert_eq!(turn(&mark, 2, print(9)), Turn::Mismatch);
    assert_eq!(
        (turn(&mark, 1, print(1)), turn(&mark, 3, print(3))),
        (Turn::Duplicate, Turn::Duplicate)
    );
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
