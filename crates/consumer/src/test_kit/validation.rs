//! Writes that DynamoDB refuses before it looks at any item. Pure.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::dynamodb::{
    Attribute, Test,
    store::{Change, Changes, Write},
};

/// Whether DynamoDB takes a write for one at all (Developer Guide, "Expressions" and "Naming rules and data types").
pub(super) fn is_valid(write: &Write) -> bool {
    let is_key = |value: &Attribute| match &value.0 {
        AttributeValue::S(text) => !text.is_empty(),
        AttributeValue::B(bytes) => !bytes.as_ref().is_empty(),
        AttributeValue::N(_) => true,
        _ => false,
    };
    write.key.parts.iter().all(|(_, value)| is_key(value))
        && match &write.change {
            Change::Put(attributes) => attributes.iter().all(|(_, value)| is_value(&value.0)),
            Change::Update(changes) => is_update(changes),
            Change::Delete => true,
            // A check of nothing is no check.
            Change::Check => write.condition.is_some(),
        }
        && write
            .condition
            .as_ref()
            .is_none_or(|condition| is_condition(&condition.0))
}

/// An update changes something, and no attribute twice.
fn is_update(changes: &Changes) -> bool {
    let given = || {
        [&changes.set, &changes.set_if_absent, &changes.add, &changes.append]
            .into_iter()
            .flatten()
    };
    let names = given().map(|(name, _)| name).chain(&changes.remove);
    let (mut seen, mut count) = (HashSet::new(), 0);
    for name in names {
        count += 1;
        seen.insert(name);
    }
    let is_addend = |value: &AttributeValue| {
        matches!(
            value,
            AttributeValue::N(_) | AttributeValue::Ss(_) | AttributeValue::Ns(_) | AttributeValue::Bs(_)
        )
    };
    count > 0
        && seen.len() == count
        && given().all(|(_, value)| is_value(&value.0))
        && changes.add.iter().all(|(_, value)| is_addend(&value.0))
}

/// A set has members, wherever it stands.
fn is_value(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Ss(texts) | AttributeValue::Ns(texts) => !texts.is_empty(),
        AttributeValue::Bs(blobs) => !blobs.is_empty(),
        AttributeValue::L(values) => values.iter().all(is_value),
        AttributeValue::M(values) => values.values().all(is_value),
        _ => true,
    }
}

/// Only numbers, strings and bytes have an order that can be asked for.
fn is_condition(test: &Test) -> bool {
    match test {
        Test::Exists(_) | Test::Absent(_) => true,
        Test::Compare(_, "<" | ">=", Attribute(value)) => matches!(
            value,
            AttributeValue::N(_) | AttributeValue::S(_) | AttributeValue::B(_)
        ),
        Test::Compare(_, _, Attribute(value)) => is_value(value),
        Test::Both(a, b) | Test::Either(a, b) => is_condition(a) && is_condition(b),
    }
}
