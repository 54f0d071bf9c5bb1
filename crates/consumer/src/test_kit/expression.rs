//! What conditions and changes mean, as DynamoDB reads them. Pure.

use std::cmp::Ordering;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::dynamodb::{
    Condition, Test, size_bytes,
    store::{Change, Changes, Item, Write},
};

/// Developer Guide, "Item size": 400 KB.
const MAX_ITEM_BYTES: usize = 400 * 1024;
const INVALID: &str = "ValidationError";

/// Whether a condition holds for an item, or for its absence.
pub(super) fn holds(condition: &Condition, item: Option<&Item>) -> bool {
    test(&condition.0, item)
}

fn test(condition: &Test, item: Option<&Item>) -> bool {
    let value = |name: &String| item.and_then(|item| item.get(name));
    match condition {
        Test::Exists(name) => value(name).is_some(),
        Test::Absent(name) => value(name).is_none(),
        Test::Compare(name, operator, expected) => {
            let order = value(name).and_then(|value| compare(value, &expected.0));
            match *operator {
                "=" => order == Some(Ordering::Equal),
                // Also where the attribute is absent, or of another type.
                "<>" => order != Some(Ordering::Equal),
                "<" => order == Some(Ordering::Less),
                ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                _ => false,
            }
        }
        Test::Both(a, b) => test(a, item) && test(b, item),
        Test::Either(a, b) => test(a, item) || test(b, item),
    }
}

/// The order of two values of one type; `None` where there is none. Of types that have no order it only says
/// which are equal.
fn compare(a: &AttributeValue, b: &AttributeValue) -> Option<Ordering> {
    match (a, b) {
        (AttributeValue::N(a), AttributeValue::N(b)) => match (a.parse::<i128>(), b.parse::<i128>()) {
            (Ok(a), Ok(b)) => Some(a.cmp(&b)),
            _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?),
        },
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.as_ref().cmp(b.as_ref())),
        (AttributeValue::Ss(a), AttributeValue::Ss(b)) | (AttributeValue::Ns(a), AttributeValue::Ns(b)) => {
            is_same_set(a, b).then_some(Ordering::Equal)
        }
        (AttributeValue::Bs(a), AttributeValue::Bs(b)) => is_same_set(a, b).then_some(Ordering::Equal),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

/// The item after a write; `None` where there is none then.
///
/// # Errors
/// The code with which DynamoDB refuses it.
pub(super) fn apply(write: &Write, before: Option<&Item>) -> Result<Option<Item>, &'static str> {
    let key = write
        .key
        .parts
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()));
    let item: Item = match &write.change {
        Change::Delete => return Ok(None),
        Change::Check => return Ok(before.cloned()),
        Change::Put(attributes) => {
            let attributes = attributes.iter().map(|(name, value)| (name.clone(), value.0.clone()));
            attributes.chain(key).collect()
        }
        Change::Update(changes) => {
            let mut item = before.cloned().unwrap_or_else(|| key.collect());
            update(changes, before, &mut item)?;
            if write
                .key
                .parts
                .iter()
                .any(|(name, value)| item.get(name) != Some(&value.0))
            {
                // An update of the key.
                return Err(INVALID);
            }
            item
        }
    };
    let bytes: usize = item.iter().map(|(name, value)| name.len() + size_bytes(value)).sum();
    if bytes > MAX_ITEM_BYTES {
        return Err(INVALID);
    }
    Ok(Some(item))
}

fn update(changes: &Changes, before: Option<&Item>, item: &mut Item) -> Result<(), &'static str> {
    for (name, value) in &changes.set {
        item.insert(name.clone(), value.0.clone());
    }
    for (name, value) in &changes.set_if_absent {
        if before.is_none_or(|before| !before.contains_key(name)) {
            item.insert(name.clone(), value.0.clone());
        }
    }
    for (name, value) in &changes.add {
        let sum = match (item.get(name), &value.0) {
            (None, added) => added.clone(),
            (Some(AttributeValue::N(a)), AttributeValue::N(b)) => {
                let sum = a.parse::<i128>().ok().zip(b.parse::<i128>().ok());
                let sum = sum.and_then(|(a, b)| a.checked_add(b)).ok_or(INVALID)?;
                AttributeValue::N(sum.to_string())
            }
            (Some(AttributeValue::Ss(a)), AttributeValue::Ss(b)) => AttributeValue::Ss(union(a, b)),
            (Some(AttributeValue::Ns(a)), AttributeValue::Ns(b)) => AttributeValue::Ns(union(a, b)),
            (Some(AttributeValue::Bs(a)), AttributeValue::Bs(b)) => AttributeValue::Bs(union(a, b)),
            _ => return Err(INVALID),
        };
        item.insert(name.clone(), sum);
    }
    for (name, value) in &changes.append {
        let AttributeValue::L(new) = &value.0 else {
            return Err(INVALID);
        };
        match item.get_mut(name) {
            None => item.insert(name.clone(), value.0.clone()),
            Some(AttributeValue::L(list)) => {
                list.extend_from_slice(new);
                None
            }
            Some(_) => return Err(INVALID),
        };
    }
    for name in &changes.remove {
        item.remove(name);
    }
    Ok(())
}

/// The members of a set have no order, and each stands once.
fn is_same_set<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().all(|member| b.contains(member))
}

fn union<T: Clone + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|new| !a.contains(new)).cloned());
    all
}
