//! The seam to DynamoDB: what the library needs from a store, in our own words.
//!
//! There are two reasons for it: conflicts and throttles, which no emulator raises by itself, and
//! tests that run a function over a store in memory. Decisions are made above it; behind it there
//! is no decision.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::BoxFuture;

use super::{
    attribute::{Attribute, Key, size_bytes},
    condition::Condition,
};

/// A table's item, all its attributes by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A store that behaves like DynamoDB.
///
/// # Guarantees
/// - A transaction is applied whole or not at all, and isolated from every other one.
/// - What [`transact`](Self::transact) has answered as [`Transacted::Committed`] is seen by every
///   later [`read`](Self::read) and condition, whoever asks.
/// - Any answer but [`Transacted::Unknown`] is final for this request: it is not applied afterwards.
///   After `Unknown` it may have been applied, or may be applied at any later moment.
/// - No answer says that a request was applied which was not.
pub(crate) trait Store: Send + Sync + 'static {
    /// Applies all of `writes`, or none.
    ///
    /// `writes` has 1 to 100 elements, names no item twice and holds 4 MiB at most; a store refuses
    /// anything else. Within ten minutes a second request with the same `token` and the same writes
    /// as one that was applied is answered as committed, and applied once.
    ///
    /// # Cancel safety
    /// Dropping it is like [`Transacted::Unknown`].
    fn transact<'a>(&'a self, token: &'a str, writes: &'a [Write]) -> BoxFuture<'a, Transacted>;

    /// The items of `keys`, strongly consistent and in their order; `None` where there is none. Each
    /// key may stand once. Several keys are several reads: no snapshot over all of them.
    ///
    /// # Errors
    /// Why they could not be read, without a value. Nothing was changed.
    fn read<'a>(&'a self, keys: &'a [ItemKey]) -> BoxFuture<'a, Result<Vec<Option<Item>>, String>>;

    /// The items with the partition key `partition`, of a table that has a sort key: strongly consistent, in
    /// the order of their sort keys, after the place `after` that an earlier page has named. At most `limit` of
    /// them, fewer where they are large.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn query<'a>(
        &'a self,
        partition: &'a ItemKey,
        after: Option<&'a Item>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Page, String>>;
}

/// Some items of a partition.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// Where the next page begins; `None` where there is none.
    pub(crate) next: Option<Item>,
}

/// Which item of which table.
#[derive(Clone, PartialEq)]
pub(crate) struct ItemKey {
    pub(crate) table: String,
    pub(crate) key: Key,
}

/// One action of a transaction.
#[derive(Clone, PartialEq)]
pub(crate) struct Write {
    /// The table's own name.
    pub(crate) table: String,
    pub(crate) key: Key,
    pub(crate) change: Change,
    /// What must hold of the item as it was before the transaction.
    pub(crate) condition: Option<Condition>,
    /// Whether the item is wanted when the condition does not hold.
    pub(crate) wants_old: bool,
}

/// What is done to an item.
#[derive(Clone, PartialEq)]
pub(crate) enum Change {
    /// The whole item is replaced; the key's attributes win over those of the same name.
    Put(Vec<(String, Attribute)>),
    /// Some attributes change; the item is made if it is not there.
    Update(Changes),
    Delete,
    /// Nothing: only the condition counts.
    Check,
}

/// Changes to attributes, each of them named once.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) set: Vec<(String, Attribute)>,
    pub(crate) set_if_absent: Vec<(String, Attribute)>,
    /// Adds to a number (0 if absent), or to a set.
    pub(crate) add: Vec<(String, Attribute)>,
    /// Adds the members of a list to the end of a list, which is made if it is not there.
    pub(crate) append: Vec<(String, Attribute)>,
    pub(crate) remove: Vec<String>,
}

/// What became of a transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum Transacted {
    Committed,
    /// Not applied, for the reasons of its writes: one for each, in their order.
    Canceled(Vec<Cancellation>),
    /// Not applied; the same request may succeed a little later. With the service's word for it.
    Busy(String),
    /// Not applied, and not by trying again right away: a right or a table is missing, or the
    /// request is invalid as a whole. With the service's word for it.
    Refused(String),
    /// Perhaps applied, now or later: only the items can tell.
    Unknown(String),
}

/// What one write had to do with the end of its transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cancellation {
    /// Nothing.
    None,
    /// Its condition does not hold; with the item as it is, where that was asked for and there is one.
    ConditionFailed(Option<Item>),
    /// Another transaction is changing the item, or the table is throttled.
    Busy(String),
    /// The write can never be applied as it is.
    Invalid(String),
    /// Anything else: a missing right, an unknown word.
    Other(String),
}

impl Write {
    /// Which item it is about.
    pub(crate) fn item(&self) -> ItemKey {
        ItemKey {
            table: self.table.clone(),
            key: self.key.clone(),
        }
    }

    /// Bytes that DynamoDB counts for it in a transaction, estimated from above.
    pub(crate) fn size_bytes(&self) -> usize {
        let pairs = |pairs: &[(String, Attribute)]| -> usize {
            pairs
                .iter()
                .map(|(name, value)| name.len() + size_bytes(&value.0))
                .sum()
        };
        let change = match &self.change {
            Change::Put(attributes) => pairs(attributes),
            Change::Update(changes) => {
                let removed: usize = changes.remove.iter().map(String::len).sum();
                pairs(&changes.set)
                    + pairs(&changes.set_if_absent)
                    + pairs(&changes.add)
                    + pairs(&changes.append)
                    + removed
            }
            Change::Delete | Change::Check => 0,
        };
        pairs(&self.key.parts) + change + self.condition.as_ref().map_or(0, Condition::size_bytes)
    }
}

impl ItemKey {
    pub(crate) fn new(table: impl Into<String>, key: Key) -> Self {
        Self {
            table: table.into(),
            key,
        }
    }

    /// Equal for keys that DynamoDB takes for equal, in whatever order they were put together.
    pub(crate) fn identity(&self) -> String {
        let part = |(name, value): &(String, Attribute)| format!("{name:?}={:?}", value.0);
        let mut parts: Vec<String> = self.key.parts.iter().map(part).collect();
        parts.sort();
        format!("{:?}/{}", self.table, parts.join(","))
    }
}
