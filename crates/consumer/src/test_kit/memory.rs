//! DynamoDB in memory, as far as the library and its handlers use it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{
    expression::{apply, holds},
    validation::is_valid,
};
use crate::dynamodb::store::{Cancellation, Item, ItemKey, Page, Store, Transacted, Write};

/// DynamoDB API Reference, `TransactWriteItems`: 100 actions, 4 MB, no item twice.
const MAX_WRITES: usize = 100;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A token is remembered for ten minutes.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// Tables in memory. It never deletes what is past its `ttl`, as DynamoDB may not do for hours.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// By table, the items by the identity of their key.
    items: HashMap<String, HashMap<String, Item>>,
    /// The names of a table's key, sorted.
    keys: HashMap<String, Vec<String>>,
    /// By table, each item as it was written; only of tables where somebody may ask.
    written: HashMap<String, Vec<Item>>,
    tokens: HashMap<String, (Instant, Vec<Write>)>,
}

impl MemoryStore {
    /// Makes a table, whose key has the attributes `key`.
    pub(crate) fn create(&self, table: &str, key: &[&str]) {
        let mut names: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        let mut tables = self.lock();
        tables.keys.insert(table.to_owned(), names);
        tables.items.entry(table.to_owned()).or_default();
    }

    /// Everything in a table.
    pub(crate) fn items(&self, table: &str) -> Vec<Item> {
        let tables = self.lock();
        tables
            .items
            .get(table)
            .map(|items| items.values().cloned().collect())
            .unwrap_or_default()
    }

    /// From now on, what is written to this table is kept.
    pub(crate) fn keep_written(&self, table: &str) {
        self.lock().written.entry(table.to_owned()).or_default();
    }

    /// What was written to a table, in order.
    pub(crate) fn written(&self, table: &str) -> Vec<Item> {
        self.lock().written.get(table).cloned().unwrap_or_default()
    }

    /// Takes an item away; false where there was none.
    pub(crate) fn remove(&self, key: &ItemKey) -> bool {
        let mut tables = self.lock();
        let items = tables.items.get_mut(&key.table);
        items.is_some_and(|items| items.remove(&key.identity()).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn transact<'a>(&'a self, token: &'a str, writes: &'a [Write]) -> BoxFuture<'a, Transacted> {
        async move { self.lock().transact(token, writes) }.boxed()
    }

    fn read<'a>(&'a self, keys: &'a [ItemKey]) -> BoxFuture<'a, Result<Vec<Option<Item>>, String>> {
        async move {
            let tables = self.lock();
            let read = |key: &ItemKey| match tables.items.get(&key.table) {
                Some(_) if !tables.has_key(key) => Err("ValidationException".to_owned()),
                Some(items) => Ok(items.get(&key.identity()).cloned()),
                None => Err("ResourceNotFoundException".to_owned()),
            };
            keys.iter().map(read).collect()
        }
        .boxed()
    }

    fn query<'a>(
        &'a self,
        partition: &'a ItemKey,
        after: Option<&'a Item>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Page, String>> {
        async move { self.lock().query(partition, after, usize::from(limit)) }.boxed()
    }
}

impl Tables {
    fn transact(&mut self, token: &str, writes: &[Write]) -> Transacted {
        let now = crate::time::now();
        self.tokens
            .retain(|_, (since, _)| now.saturating_duration_since(*since) < TOKEN_LIFE);
        match self.tokens.get(token) {
            Some((_, applied)) if applied == writes => return Transacted::Committed,
            Some(_) => return Transacted::Refused("IdempotentParameterMismatchException".to_owned()),
            None => {}
        }
        if let Some(code) = self.fault(writes) {
            return Transacted::Refused(code.to_owned());
        }
        let mut after = Vec::with_capacity(writes.len());
        let mut reasons = Vec::with_capacity(writes.len());
        for write in writes {
            let key = write.item();
            let before = self.items.get(&key.table).and_then(|items| items.get(&key.identity()));
            let is_held = write
                .condition
                .as_ref()
                .is_none_or(|condition| holds(condition, before));
            reasons.push(if !is_held {
                Cancellation::ConditionFailed(before.filter(|_| write.wants_old).cloned())
            } else {
                match apply(write, before) {
                    Ok(item) => {
                        after.push((key, item));
                        Cancellation::None
                    }
                    Err(code) => Cancellation::Invalid(code.to_owned()),
                }
            });
        }
        if reasons.iter().any(|reason| *reason != Cancellation::None) {
            return Transacted::Canceled(reasons);
        }
        for (key, item) in after {
            if let (Some(written), Some(item)) = (self.written.get_mut(&key.table), &item) {
                written.push(item.clone());
            }
            let items = self.items.entry(key.table.clone()).or_default();
            match item {
                Some(item) => items.insert(key.identity(), item),
                None => items.remove(&key.identity()),
            };
        }
        self.tokens.insert(token.to_owned(), (now, writes.to_vec()));
        Transacted::Committed
    }

    fn query(&self, partition: &ItemKey, after: Option<&Item>, limit: usize) -> Result<Page, String> {
        let items = self.items.get(&partition.table).ok_or("ResourceNotFoundException")?;
        let names = self.keys.get(&partition.table).ok_or("ResourceNotFoundException")?;
        let (Some((hash, value)), Some(sort)) = (
            partition.key.parts.first(),
            names.iter().find(|name| **name != partition.key.parts[0].0),
        ) else {
            return Err("ValidationException".to_owned());
        };
        // Sort keys here are strings.
        let place = |item: &Item| item.get(sort).and_then(|value| value.as_s().ok()).cloned();
        let after = after.and_then(place);
        let mut found: Vec<&Item> = items.values().filter(|item| item.get(hash) == Some(&value.0)).collect();
        found.retain(|item| place(item) > after);
        found.sort_by_key(|item| place(item));
        let is_more = found.len() > limit;
        found.truncate(limit);
        let key = |item: &&Item| -> Item {
            let names = names.iter();
            names
                .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
                .collect()
        };
        Ok(Page {
            next: found.last().filter(|_| is_more).map(key),
            items: found.into_iter().cloned().collect(),
        })
    }

    /// What DynamoDB refuses before it looks at any item.
    fn fault(&self, writes: &[Write]) -> Option<&'static str> {
        let mut seen = HashSet::new();
        let bytes: usize = writes.iter().map(Write::size_bytes).sum();
        if writes.is_empty() || writes.len() > MAX_WRITES || bytes > MAX_BYTES || !writes.iter().all(is_valid) {
            return Some("ValidationException");
        }
        for key in writes.iter().map(Write::item) {
            if !self.items.contains_key(&key.table) {
                return Some("ResourceNotFoundException");
            }
            if !self.has_key(&key) || !seen.insert(key.identity()) {
                return Some("ValidationException");
            }
        }
        None
    }

    fn has_key(&self, key: &ItemKey) -> bool {
        let mut names: Vec<&str> = key.key.parts.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        self.keys.get(&key.table).is_some_and(|key| *key == names)
    }
}
