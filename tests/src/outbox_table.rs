//! A table of a test's own for what functions emit, as `infra/data.yaml` describes it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use oncebox_envelope::RawEnvelope;

use crate::{Stack, cleanup, tables::Item, unique};

/// Long enough for a parcel to be swept.
const AGE_MS: u128 = 60_000;

/// The table; deleted with this value if it made it.
#[derive(Debug)]
pub struct OutboxTable {
    /// Its name.
    pub name: String,
    client: Client,
    endpoint: String,
    owned: bool,
}

impl OutboxTable {
    /// Makes an empty table.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn create(stack: &Stack) -> Result<Self> {
        let mut table = Self::existing(stack, &unique("t"));
        table.owned = true;
        let mut create = table.client.create_table().table_name(&table.name);
        for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let text = AttributeDefinition::builder().attribute_name(name);
            let text = text.attribute_type(ScalarAttributeType::S).build()?;
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            create = create.attribute_definitions(text).key_schema(key.build()?);
        }
        let created = create.billing_mode(BillingMode::PayPerRequest).send().await;
        created.with_context(|| format!("creating table {}", table.name))?;
        Ok(table)
    }

    /// A table that somebody else made and deletes.
    #[must_use]
    pub fn existing(stack: &Stack, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client: stack.dynamodb(),
            endpoint: stack.endpoint.clone(),
            owned: false,
        }
    }

    /// The events that are stored and not sent.
    ///
    /// # Errors
    /// LocalStack fails, or what is stored is no event.
    pub async fn stored(&self) -> Result<Vec<RawEnvelope>> {
        let mut stored = Vec::new();
        for item in self.items().await? {
            for letter in item
                .get("letters")
                .and_then(|list| list.as_l().ok())
                .context("letters")?
            {
                let letter = letter.as_m().ok().context("a letter")?;
                let body = letter.get("body").and_then(|body| body.as_s().ok()).context("a body")?;
                stored.push(RawEnvelope::from_json(body.as_bytes())?);
            }
        }
        Ok(stored)
    }

    /// Stores a parcel without order as a function of `consumer` would have, that was killed a minute ago: addresses of targets
    /// and envelopes.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn plant(&self, consumer: &str, letters: &[(String, String)]) -> Result<()> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let letter = |(to, body): &(String, String)| {
            let letter = [("to".to_owned(), text(to)), ("body".to_owned(), text(body))];
            AttributeValue::M(letter.into())
        };
        let letters = AttributeValue::L(letters.iter().map(letter).collect());
        let put = self.client.put_item().table_name(&self.name);
        let put = put
            .item("pk", text(&format!("{consumer}#0")))
            .item("sk", text(&unique("std#")));
        let put = put.item("own", text("test")).item("letters", letters);
        put.item("at", AttributeValue::N(a_minute_ago()?.to_string()))
            .send()
            .await
            .context("planting a parcel")?;
        Ok(())
    }

    /// As if what is stored had been stored a minute ago: a sweep leaves young parcels alone.
    ///
    /// # Errors
    /// LocalStack fails.
    pub async fn age(&self) -> Result<()> {
        let at = a_minute_ago()?;
        for mut item in self.items().await? {
            item.insert("at".to_owned(), AttributeValue::N(at.to_string()));
            let put = self.client.put_item().table_name(&self.name).set_item(Some(item));
            put.send().await.context("ageing a parcel")?;
        }
        Ok(())
    }

    async fn items(&self) -> Result<Vec<Item>> {
        let scan = self.client.scan().table_name(&self.name).consistent_read(true);
        Ok(scan
            .send()
            .await
            .context("scanning the outbox")?
            .items
            .unwrap_or_default())
    }
}

fn a_minute_ago() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() - AGE_MS)
}

impl Drop for OutboxTable {
    fn drop(&mut self) {
        if self.owned {
            let name = self.name.clone();
            cleanup::run_with_aws(self.endpoint.clone(), async move |config| {
                let _ = Client::new(&config).delete_table().table_name(name).send().await;
            });
        }
    }
}
