//! DynamoDB itself behind the seam.

mod answer;
mod request;

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, types::KeysAndAttributes};
use futures::{FutureExt as _, future::BoxFuture};

use self::{answer::transacted, request::action};
use super::{
    condition::Expression,
    store::{Item, ItemKey, Page, Store, Transacted, Write},
};
use crate::sdk_error::describe;

/// DynamoDB API Reference, `BatchGetItem`: 100 items.
const MAX_KEYS: usize = 100;
/// A throttled table answers a part of the keys; the rest is asked for again so often.
const READ_ROUNDS: usize = 5;

/// DynamoDB through the SDK's client.
pub(crate) struct AwsStore(pub(crate) Client);

impl Store for AwsStore {
    fn transact<'a>(&'a self, token: &'a str, writes: &'a [Write]) -> BoxFuture<'a, Transacted> {
        async move {
            let Ok(actions) = writes.iter().map(action).collect() else {
                return Transacted::Refused("an incomplete write".to_owned());
            };
            let request = self.0.transact_write_items();
            let request = request.client_request_token(token).set_transact_items(Some(actions));
            match request.send().await {
                Ok(_) => Transacted::Committed,
                Err(error) => transacted(&error),
            }
        }
        .boxed()
    }

    fn read<'a>(&'a self, keys: &'a [ItemKey]) -> BoxFuture<'a, Result<Vec<Option<Item>>, String>> {
        async move {
            match keys {
                [] => Ok(Vec::new()),
                [one] => Ok(vec![self.get(one).await?]),
                many => {
                    let mut items = Vec::with_capacity(many.len());
                    for chunk in many.chunks(MAX_KEYS) {
                        items.extend(self.get_many(chunk).await?);
                    }
                    Ok(items)
                }
            }
        }
        .boxed()
    }

    fn query<'a>(
        &'a self,
        partition: &'a ItemKey,
        after: Option<&'a Item>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Page, String>> {
        async move {
            let mut expression = Expression::default();
            let parts = partition.key.parts.iter();
            let parts: Vec<String> = parts
                .map(|(name, value)| format!("{} = {}", expression.name(name), expression.value(value)))
                .collect();
            let (names, values) = expression.into_maps();
            let request = self.0.query().table_name(&partition.table).consistent_read(true);
            let request = request
                .key_condition_expression(parts.join(" AND "))
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .set_exclusive_start_key(after.cloned())
                .limit(i32::from(limit));
            let reply = request.send().await.map_err(|error| describe(&error))?;
            Ok(Page {
                items: reply.items.unwrap_or_default(),
                next: reply.last_evaluated_key.filter(|next| !next.is_empty()),
            })
        }
        .boxed()
    }
}

impl AwsStore {
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, String> {
        let request = self.0.get_item().table_name(&key.table).consistent_read(true);
        let reply = request.set_key(Some(attributes(key))).send().await;
        Ok(reply.map_err(|error| describe(&error))?.item)
    }

    async fn get_many(&self, keys: &[ItemKey]) -> Result<Vec<Option<Item>>, String> {
        let mut found: HashMap<String, Item> = HashMap::new();
        let mut asked: HashMap<String, KeysAndAttributes> = HashMap::new();
        for key in keys {
            let of_table = asked.remove(&key.table).map_or_else(Vec::new, |asked| asked.keys);
            let of_table = of_table.into_iter().chain([attributes(key)]).collect();
            let request = KeysAndAttributes::builder()
                .consistent_read(true)
                .set_keys(Some(of_table));
            let request = request.build().map_err(|_| "an incomplete key".to_owned())?;
            asked.insert(key.table.clone(), request);
        }
        for _ in 0..READ_ROUNDS {
            let request = self.0.batch_get_item().set_request_items(Some(asked));
            let reply = request.send().await.map_err(|error| describe(&error))?;
            for (table, items) in reply.responses.unwrap_or_default() {
                for item in items {
                    if let Some(key) = keys.iter().find(|key| key.table == table && is_of(&item, key)) {
                        found.insert(key.identity(), item);
                    }
                }
            }
            asked = reply.unprocessed_keys.unwrap_or_default();
            if asked.is_empty() {
                return Ok(keys.iter().map(|key| found.remove(&key.identity())).collect());
            }
        }
        Err("DynamoDB leaves keys unread; it is throttled".to_owned())
    }
}

fn attributes(key: &ItemKey) -> Item {
    let parts = key.key.parts.iter();
    parts.map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

fn is_of(item: &Item, key: &ItemKey) -> bool {
    key.key
        .parts
        .iter()
        .all(|(name, value)| item.get(name) == Some(&value.0))
}
