//! The watermark as an item.

use super::*;

fn print(n: u8) -> Option<Print> {
    Some(Print::test(n))
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
