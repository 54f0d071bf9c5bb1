//! The watermark as an item of DynamoDB, and its write for one event. Pure.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    attribute::{Attribute, Key},
    condition::Condition,
    store::{Change, Item, Write},
};
use crate::{
    failure::Failure,
    gap_guard::{GapGuard, Print, Turn, Watermark},
    outcome::Verdict,
    planted::{Bug, is_planted},
};

impl Watermark {
    /// The key of its item. Keys of DynamoDB have 2,048 bytes at most, so a long one is hashed.
    pub(crate) fn key(consumer: &str, key: &str) -> Key {
        let whole = format!("{consumer}#key#{key}");
        if whole.len() <= 2_048 {
            return Key::new("pk", whole);
        }
        let hash = Sha256::digest(key);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Key::new("pk", format!("{consumer}#keyhash#{hash}"))
    }

    /// `None` when the item is no watermark.
    pub(crate) fn read(item: &Item) -> Option<Self> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
        let recent = item.get("recent")?.as_b().ok()?.as_ref();
        let missed = match item.get("missed") {
            None => Some(BTreeSet::new()),
            Some(missed) => missed.as_ns().ok()?.iter().map(|n| n.parse::<i64>().ok()).collect(),
        };
        let own = item.get("own")?.as_s().ok()?.clone();
        // Those from before it was written have none.
        let moved_at = number("moved").and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Self::stored(number("last")?, number("first")?, own, recent, missed?, moved_at)
    }

    fn attributes(&self) -> Vec<(String, Attribute)> {
        let recent = self.recent_bytes();
        let mut attributes: Vec<(String, Attribute)> = vec![
            ("st".to_owned(), "key".into()),
            ("last".to_owned(), self.last.into()),
            ("first".to_owned(), self.first.into()),
            ("own".to_owned(), self.own.as_str().into()),
            ("recent".to_owned(), recent.into()),
        ];
        if let Some(moved_at) = self.moved_at {
            attributes.push(("moved".to_owned(), moved_at.as_millisecond().into()));
        }
        if !self.missed.is_empty() {
            let missed = self.missed.iter().map(i64::to_string).collect();
            attributes.push(("missed".to_owned(), AttributeValue::Ns(missed).into()));
        }
        attributes
    }
}

/// The watermark's write for one event: dedupe, order and effect in one condition.
pub(crate) struct Stamp {
    guard: GapGuard,
    key: Key,
    /// The write that it follows; `None` where there is no watermark yet.
    before: Option<String>,
    pub(crate) after: Watermark,
    sequence: i64,
    print: Option<Print>,
}

impl Stamp {
    /// For an event that has its effect; without a print, for one that is passed by.
    pub(crate) fn new(
        guard: GapGuard,
        key: Key,
        known: Option<&Watermark>,
        sequence: i64,
        print: Option<Print>,
    ) -> Self {
        Self {
            guard,
            key,
            before: known.map(|known| known.own.clone()),
            after: Watermark::after(known, sequence, print),
            sequence,
            print,
        }
    }

    /// For what a person changes, who has seen `known`.
    #[cfg(feature = "operator")]
    pub(crate) fn by_hand(key: Key, known: Option<&Watermark>, after: Watermark) -> Self {
        Self {
            // Which guard the consumer has makes no difference to the write.
            guard: GapGuard::from_one(),
            key,
            before: known.map(|known| known.own.clone()),
            sequence: after.last,
            after,
            print: None,
        }
    }

    pub(crate) fn write(&self, table: &str) -> Write {
        Write {
            table: table.to_owned(),
            key: self.key.clone(),
            change: Change::Put(self.after.attributes()),
            condition: match &self.before {
                _ if is_planted(Bug::WatermarkOverwritten) => None,
                None => Some(Condition::absent("pk")),
                Some(own) => Some(Condition::equals("own", own.as_str())),
            },
            wants_old: true,
        }
    }

    /// What the watermark as it is says of the event; `None` when nothing has been written since.
    pub(crate) fn settled_by(&self, item: Option<&Item>, done: &Verdict) -> Option<Verdict> {
        let moved = || Some(Failure::retryable("another function is working on this key").into());
        let Some(item) = item else {
            return if self.before.is_none() { None } else { moved() };
        };
        let Some(known) = Watermark::read(item) else {
            return Some(Failure::retryable("the watermark of its key is unreadable").into());
        };
        if known.own == self.after.own {
            return Some(done.clone());
        }
        if self.before.as_ref() == Some(&known.own) {
            return None;
        }
        match self.guard.turn(Some(&known), self.sequence, self.print) {
            Turn::Duplicate => Some(Verdict::Duplicate),
            Turn::Mismatch => Some(Failure::payload_mismatch().into()),
            Turn::Next | Turn::Late | Turn::Before | Turn::Gap { .. } => moved(),
        }
    }
}

#[cfg(test)]
mod tests;
