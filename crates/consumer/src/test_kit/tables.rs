//! Tables in memory for a test of one's own.

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::SignedDuration;

use super::{
    clock,
    faults::{Fault, FaultyStore},
    memory::MemoryStore,
};
use crate::{DynamoDbDedupe, Key, dynamodb::store::ItemKey};

/// The table of the dedupe records.
const DEDUPE: &str = "dedupe";

/// DynamoDB in memory: conditions, reasons of cancellation, limits and tokens as there; records that are past
/// their `ttl` stay. Clones share their tables.
#[derive(Clone)]
pub struct MemoryTables {
    store: Arc<MemoryStore>,
    faulty: Arc<FaultyStore>,
}

impl Default for MemoryTables {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTables {
    /// With a table for dedupe records and no other.
    #[must_use]
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        store.create(DEDUPE, &["pk"]);
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&store) as _));
        Self { store, faulty }
    }

    /// The same with a table whose key has the attributes `key`, one or two.
    #[must_use]
    pub fn table(self, name: &str, key: &[&str]) -> Self {
        self.store.create(name, key);
        self.store.keep_written(name);
        self
    }

    /// For [`ConsumerBuilder::dedupe`](crate::ConsumerBuilder::dedupe).
    #[must_use]
    pub fn dedupe(&self) -> DynamoDbDedupe {
        DynamoDbDedupe::on(Arc::clone(&self.faulty) as _, DEDUPE)
    }

    /// The items of a table, in no order; the dedupe records with the name `dedupe`.
    #[must_use]
    pub fn items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        self.store.items(table)
    }

    /// The items that were written to a table, in the order in which their transactions were applied; the dedupe records
    /// are not kept like that.
    #[must_use]
    pub fn written(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        self.store.written(table)
    }

    /// One item of a table, by its key.
    #[must_use]
    pub fn item(&self, table: &str, key: Key) -> Option<HashMap<String, AttributeValue>> {
        let is_it = |item: &HashMap<String, AttributeValue>| {
            key.parts.iter().all(|(name, value)| item.get(name) == Some(&value.0))
        };
        self.store.items(table).into_iter().find(is_it)
    }

    /// A whole number of an item; 0 where there is no such item or attribute, as for DynamoDB's `ADD`.
    #[must_use]
    pub fn number(&self, table: &str, key: Key, attribute: &str) -> usize {
        let item = self.item(table, key);
        let number = item
            .as_ref()
            .and_then(|item| item.get(attribute)?.as_n().ok()?.parse().ok());
        number.unwrap_or(0)
    }

    /// Takes an item away, as TTL or a person does; false where there was none.
    #[expect(clippy::must_use_candidate, reason = "it does something")]
    pub fn remove(&self, table: &str, key: Key) -> bool {
        self.store.remove(&ItemKey::new(table, key))
    }

    /// From now on, the request of each number meets with the fault that `plan` names for it; they are counted from 0.
    /// Only what writes is counted.
    pub fn faults(&self, plan: impl FnMut(usize) -> Option<Fault> + Send + 'static) {
        self.faulty.plan(plan);
    }

    /// The same for requests that read, which are counted for themselves.
    pub fn read_faults(&self, plan: impl FnMut(usize) -> Option<Fault> + Send + 'static) {
        self.faulty.plan_reads(plan);
    }

    /// How many requests that write there have been since [`faults`](Self::faults) was called last.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.faulty.requests()
    }
}

/// Runs a test on a clock that costs no time.
///
/// It stands still while anything in `test` can go on, and then jumps to the next moment that somebody waits for: leases
/// and backoffs pass at once. Only for back ends in memory: what waits for a socket finds that time has flown.
/// Handlers wait by [`sleep`]. What is random in the library follows `seed`.
pub async fn without_waiting<T>(seed: u64, test: impl Future<Output = T>) -> T {
    clock::on_its_own_clock(seed, test).await
}

/// Runs `work` on a machine whose wall clock is off by `by`, within [`without_waiting`].
pub async fn with_clock_off<T>(by: SignedDuration, work: impl Future<Output = T>) -> T {
    clock::with_clock(|| by, work).await
}

/// The same for a wall clock that may be set while `work` runs: `by` is asked at each step.
pub async fn with_jumping_clock<T>(by: impl Fn() -> SignedDuration, work: impl Future<Output = T>) -> T {
    clock::with_clock(by, work).await
}

/// How long [`without_waiting`] has run, on its clock; nothing outside of it.
#[must_use]
pub fn elapsed() -> std::time::Duration {
    clock::elapsed().unwrap_or_default()
}

/// Waits, on the clock of [`without_waiting`] where it is used.
pub async fn sleep(length: std::time::Duration) {
    clock::sleep(length).await;
}
