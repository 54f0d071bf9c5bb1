//! DynamoDB tables of a test's own, as `infra/data.yaml` describes them.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{Stack, cleanup, unique};

/// The three tables of the demonstration's functions; deleted with this value if it made them.
#[derive(Debug)]
pub struct Tables {
    /// Dedupe records.
    pub dedupe: String,
    /// Payments: `pk` = `payment#{invoice_id}`.
    pub payments: String,
    /// Copies of events: `pk` = `audit#{event_id}`.
    pub audit: String,
    client: Client,
    endpoint: String,
    owned: bool,
}

impl Tables {
    /// Makes three empty tables.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn create(stack: &Stack) -> Result<Self> {
        let prefix = unique("t");
        let name = |what: &str| format!("{prefix}-{what}");
        let mut tables = Self::existing(stack, &name("dedupe"), &name("payments"), &name("audit"));
        tables.owned = true;
        for table in tables.names() {
            let key = KeySchemaElement::builder()
                .attribute_name("pk")
                .key_type(KeyType::Hash)
                .build()?;
            let text = AttributeDefinition::builder()
                .attribute_name("pk")
                .attribute_type(ScalarAttributeType::S);
            let create = tables.client.create_table().table_name(&table).key_schema(key);
            let create = create
                .attribute_definitions(text.build()?)
                .billing_mode(BillingMode::PayPerRequest);
            create.send().await.with_context(|| format!("creating table {table}"))?;
        }
        Ok(tables)
    }

    /// Tables that somebody else made and deletes.
    #[must_use]
    pub fn existing(stack: &Stack, dedupe: &str, payments: &str, audit: &str) -> Self {
        Self {
            dedupe: dedupe.to_owned(),
            payments: payments.to_owned(),
            audit: audit.to_owned(),
            client: stack.dynamodb(),
            endpoint: stack.endpoint.clone(),
            owned: false,
        }
    }

    /// How often each invoice was booked: invoice id → bookings.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn bookings(&self) -> Result<HashMap<String, u64>> {
        let counted = |item: &Item| Some((suffix(item, "payment#")?, number(item, "bookings")?));
        Ok(self.scan(&self.payments).await?.iter().filter_map(counted).collect())
    }

    /// When each invoice was paid: invoice id → Unix milliseconds.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn booked_at_ms(&self) -> Result<HashMap<String, u64>> {
        let timed = |item: &Item| Some((suffix(item, "payment#")?, number(item, "booked_at_ms")?));
        Ok(self.scan(&self.payments).await?.iter().filter_map(timed).collect())
    }

    /// How often each event was taken down: event id → copies.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn audit_copies(&self) -> Result<HashMap<String, u64>> {
        let counted = |item: &Item| Some((suffix(item, "audit#")?, number(item, "copies")?));
        Ok(self.scan(&self.audit).await?.iter().filter_map(counted).collect())
    }

    /// Until when each dedupe record counts, in Unix seconds.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn kept_until(&self) -> Result<Vec<u64>> {
        let ends = |item: &Item| number(item, "ttl");
        Ok(self.scan(&self.dedupe).await?.iter().filter_map(ends).collect())
    }

    pub(crate) async fn scan(&self, table: &str) -> Result<Vec<Item>> {
        let pages = self
            .client
            .scan()
            .table_name(table)
            .consistent_read(true)
            .into_paginator()
            .send();
        let pages = stream::unfold(pages, |mut pages| async { Some((pages.next().await?, pages)) });
        let pages: Vec<_> = pages
            .map(|page| page.with_context(|| format!("scanning {table}")))
            .try_collect()
            .await?;
        Ok(pages
            .into_iter()
            .flat_map(|page| page.items.unwrap_or_default())
            .collect())
    }

    fn names(&self) -> [String; 3] {
        [self.dedupe.clone(), self.payments.clone(), self.audit.clone()]
    }
}

pub(crate) type Item = HashMap<String, AttributeValue>;

fn suffix(item: &Item, prefix: &str) -> Option<String> {
    let key = item.get("pk")?.as_s().ok()?;
    key.strip_prefix(prefix).map(ToOwned::to_owned)
}

fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

impl Drop for Tables {
    fn drop(&mut self) {
        if self.owned {
            let names = self.names();
            cleanup::run_with_aws(self.endpoint.clone(), async move |config| {
                let client = Client::new(&config);
                for name in names {
                    let _ = client.delete_table().table_name(name).send().await;
                }
            });
        }
    }
}
