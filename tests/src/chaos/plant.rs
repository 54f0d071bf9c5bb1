//! Faults that are planted from outside, to see the checker find them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::chaos::books::Books;

/// A fault that Oncebox must not have, done by somebody else. Each is done once, to consumer `fifo`; `Double` to
/// some events of consumer `bus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plant {
    /// A message is deleted that no function has seen.
    Lose,
    /// A message is handed over with another payload.
    AlterPayload,
    /// A message is handed over with another sequence.
    AlterSequence,
    /// A message is handed over once more with an id that nobody attempted.
    OtherId,
    /// A message is handed over once more with the id of an event that was rolled back.
    RolledBackId,
    /// Two messages of a key change places.
    Swap,
    /// The recorder has two effects of one event.
    Double,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Lose,
        Self::AlterPayload,
        Self::AlterSequence,
        Self::OtherId,
        Self::RolledBackId,
        Self::Swap,
        Self::Double,
    ];

    /// The kind of violation that it must show as.
    #[must_use]
    pub fn shows_as(self) -> &'static str {
        match self {
            Self::Lose => "lost",
            Self::AlterPayload => "payload_altered",
            Self::AlterSequence => "sequence_mismatch",
            Self::OtherId => "never_attempted",
            Self::RolledBackId => "from_rolled_back",
            Self::Swap => "out_of_order",
            Self::Double => "doubled",
        }
    }
}

/// What is still to be done.
#[derive(Debug, Default)]
pub(super) struct Plants(Mutex<BTreeSet<Plant>>);

impl Plants {
    pub(super) fn new(plants: &BTreeSet<Plant>) -> Self {
        Self(Mutex::new(plants.clone()))
    }

    pub(super) fn doubles(&self) -> bool {
        self.left().contains(&Plant::Double)
    }

    /// Whether some wait for messages that lend themselves to it.
    pub(super) fn wait(&self) -> bool {
        self.left().iter().any(|plant| *plant != Plant::Double)
    }

    /// Does at most one of them to the records of an invocation.
    pub(super) fn apply(&self, books: &Books, records: &mut Vec<Value>) {
        let mut left = self.left();
        let done = left
            .iter()
            .copied()
            .find(|plant| apply(*plant, books, records).is_some());
        if let Some(done) = done {
            left.remove(&done);
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, BTreeSet<Plant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` when these records do not lend themselves to it.
fn apply(plant: Plant, books: &Books, records: &mut Vec<Value>) -> Option<()> {
    let first = records.iter().position(is_harmless)?;
    let mut body = body_of(&records[first])?;
    match plant {
        Plant::Lose => drop(records.remove(first)),
        Plant::AlterPayload => {
            body["data"]["text"] = json!("altered");
            records[first]["body"] = json!(body.to_string());
        }
        Plant::AlterSequence => {
            let sequence: u64 = body["sequence"].as_str()?.parse().ok()?;
            body["sequence"] = json!(format!("{:020}", sequence + 1_000_000));
            records[first]["body"] = json!(body.to_string());
        }
        Plant::OtherId => records.push(copy_with_id(&records[first], Uuid::now_v7())?),
        Plant::RolledBackId => records.push(copy_with_id(&records[first], books.some_rolled_back()?)?),
        Plant::Swap => {
            let key = |record: &Value| body_of(record)?["partitionkey"].as_str().map(ToOwned::to_owned);
            let (one, other) = (0..records.len())
                .flat_map(|one| (one + 1..records.len()).map(move |other| (one, other)))
                .filter(|(one, other)| is_harmless(&records[*one]) && is_harmless(&records[*other]))
                .find(|(one, other)| key(&records[*one]).is_some_and(|of| key(&records[*other]) == Some(of)))?;
            let body = records[one]["body"].take();
            records[one]["body"] = records[other]["body"].take();
            records[other]["body"] = body;
        }
        // That is the recorder's own.
        Plant::Double => return None,
    }
    Some(())
}

/// One that nobody has seen before and that is not set aside.
fn is_harmless(record: &Value) -> bool {
    record["attributes"]["ApproximateReceiveCount"] == "1"
        && body_of(record).is_some_and(|of| of["data"]["poison"] == false)
}

fn body_of(record: &Value) -> Option<Value> {
    serde_json::from_str(record["body"].as_str()?).ok()
}

fn copy_with_id(record: &Value, id: Uuid) -> Option<Value> {
    let (mut copy, mut body) = (record.clone(), body_of(record)?);
    body["id"] = json!(id);
    copy["body"] = json!(body.to_string());
    copy["messageId"] = json!(Uuid::new_v4());
    Some(copy)
}
