//! Two writes to one item as one, where the order between them makes no difference. Pure.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    attribute::{Attribute, size_bytes},
    store::{Change, Changes, Write},
};
use crate::outbox::MAX_PARCEL_BYTES;

/// The write that does what `a` and `b` do, which are on one item; `None` where there is none.
///
/// Merged are additions of integers without a condition, checks of the same condition, and events that go to
/// one parcel of the outbox: each event gets what it would have got alone, whichever comes first.
pub(crate) fn merge(a: &Write, b: &Write) -> Option<Write> {
    match (&a.change, &b.change) {
        (Change::Update(first), Change::Update(second)) if a.condition.is_none() && b.condition.is_none() => {
            let mut merged = a.clone();
            merged.change = Change::Update(appended(first, second).or_else(|| sum(first, second))?);
            Some(merged)
        }
        (Change::Check, Change::Check) if a.condition == b.condition => Some(a.clone()),
        _ => None,
    }
}

/// Only the outbox appends: what it sets beside the list tells this write from others, and one will do.
fn appended(a: &Changes, b: &Changes) -> Option<Changes> {
    let ([(name, first)], [(also, second)]) = (&a.append[..], &b.append[..]) else {
        return None;
    };
    let mut list = first.0.as_l().ok()?.clone();
    list.extend_from_slice(second.0.as_l().ok().filter(|_| name == also)?);
    let list = Attribute(AttributeValue::L(list));
    // What is too large for an item fails all that are merged into it; so they go one after the other.
    (size_bytes(&list.0) <= MAX_PARCEL_BYTES).then(|| Changes {
        append: vec![(name.clone(), list)],
        ..b.clone()
    })
}

fn sum(a: &Changes, b: &Changes) -> Option<Changes> {
    let only_adds = |changes: &Changes| {
        changes.set.is_empty()
            && changes.set_if_absent.is_empty()
            && changes.append.is_empty()
            && changes.remove.is_empty()
    };
    if !only_adds(a) || !only_adds(b) {
        return None;
    }
    let mut add = a.add.clone();
    for (name, value) in &b.add {
        match add.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => {
                let sum = integer(known)?.checked_add(integer(value)?)?;
                *known = Attribute(AttributeValue::N(sum.to_string()));
            }
            None => add.push((name.clone(), value.clone())),
        }
    }
    Some(Changes {
        add,
        ..Changes::default()
    })
}

/// DynamoDB's numbers have 38 digits: an `i128` holds each of them that is an integer.
fn integer(value: &Attribute) -> Option<i128> {
    value.0.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Condition, Effects, Key};

    fn write(describe: impl FnOnce(&mut Effects, Key)) -> Write {
        let mut effects = Effects::default();
        describe(&mut effects, Key::new("pk", "x"));
        effects.list[0].write(&HashMap::new())
    }

    #[test]
    fn only_what_commutes_is_merged() {
        let add = |name: &'static str, n: i64| {
            write(|effects, key| {
                effects.update("t", key).add(name, n);
            })
        };
        let merged = merge(&add("n", 2), &add("n", -5)).unwrap();
        let Change::Update(changes) = merged.change else {
            panic!("no update")
        };
        assert_eq!(changes.add[0].1.0, AttributeValue::N("-3".to_owned()));
        assert!(merge(&add("n", 2), &add("m", 1)).is_some());

        let guarded = write(|effects, key| {
            effects
                .update("t", key)
                .add("n", 1)
                .only_if(Condition::less_than("n", 10));
        });
        let set = write(|effects, key| {
            effects.update("t", key).set("n", 1);
        });
        let of_a_set = write(|effects, key| {
            let set = AttributeValue::Ss(vec!["a".to_owned()]);
            effects.update("t", key).add("n", set);
        });
        let decimal = write(|effects, key| {
            effects.update("t", key).add("n", AttributeValue::N("0.5".to_owned()));
        });
        let deleted = write(|effects, key| {
            effects.delete("t", key);
        });
        for other in [guarded, set, of_a_set, decimal, deleted] {
            assert!(merge(&add("n", 1), &other).is_none());
            assert!(merge(&other, &add("n", 1)).is_none());
        }
    }

    #[test]
    fn the_same_check_is_one_and_another_is_not() {
        let check = |value: i64| {
            write(|effects, key| {
                effects.check("t", key, Condition::at_least("n", value));
            })
        };
        assert!(merge(&check(1), &check(1)).is_some());
        assert!(merge(&check(1), &check(2)).is_none());
    }
}
