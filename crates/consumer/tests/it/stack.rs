//! Tables, queues and databases of a test's own.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use jiff::Timestamp;
use oncebox_consumer::{Consumer, ConsumerBuilder, DynamoDbDedupe, RetryDelay, postgres, transactional};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::ping::{Ping, count, insert};

pub(crate) fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test needs the stack, run `make test`"))
}

pub(crate) fn endpoint() -> String {
    env("AWS_ENDPOINT_URL")
}

/// DynamoDB with a dedupe table and a table for effects.
pub(crate) struct Tables {
    pub(crate) client: aws_sdk_dynamodb::Client,
    pub(crate) dedupe: String,
    pub(crate) effects: String,
}

impl Tables {
    pub(crate) async fn new() -> Self {
        endpoint();
        let client = aws_sdk_dynamodb::Client::new(&aws_config::load_from_env().await);
        let name = |what: &str| format!("consumer-test-{what}-{}", Uuid::new_v4().simple());
        let tables = Self {
            client,
            dedupe: name("dedupe"),
            effects: name("effects"),
        };
        for table in [&tables.dedupe, &tables.effects] {
            let attribute = AttributeDefinition::builder()
                .attribute_name("pk")
                .attribute_type(ScalarAttributeType::S);
            let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
            let create = tables
                .client
                .create_table()
                .table_name(table)
                .billing_mode(BillingMode::PayPerRequest);
            let create = create
                .attribute_definitions(attribute.build().unwrap())
                .key_schema(key.build().unwrap());
            create.send().await.unwrap();
        }
        tables
    }

    /// A table with a sort key.
    pub(crate) async fn sorted(&self) -> String {
        let name = format!("consumer-test-sorted-{}", Uuid::new_v4().simple());
        let create = self.client.create_table().table_name(&name);
        let mut create = create.billing_mode(BillingMode::PayPerRequest);
        for (part, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let attribute = AttributeDefinition::builder().attribute_name(part);
            let attribute = attribute.attribute_type(ScalarAttributeType::S).build().unwrap();
            let key = KeySchemaElement::builder().attribute_name(part).key_type(kind);
            create = create.attribute_definitions(attribute).key_schema(key.build().unwrap());
        }
        create.send().await.unwrap();
        name
    }

    /// A consumer that counts pings.
    pub(crate) fn consumer(&self) -> Consumer {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> ConsumerBuilder {
        self.empty_builder().on::<Ping, _>(transactional(count))
    }

    pub(crate) fn empty_builder(&self) -> ConsumerBuilder {
        self.builder_through(self.client.clone())
    }

    pub(crate) fn builder_through(&self, client: aws_sdk_dynamodb::Client) -> ConsumerBuilder {
        Consumer::builder("test")
            .dedupe(DynamoDbDedupe::new(client, &self.dedupe))
            .table("effects", &self.effects)
            .retry_delay(RetryDelay::QueueDefault)
    }

    /// How often the event has had its effect.
    pub(crate) async fn times(&self, event_id: Uuid) -> u64 {
        let item = self.item(&self.effects, event_id.to_string()).await.unwrap_or_default();
        item.get("times")
            .map_or(0, |times| times.as_n().unwrap().parse().unwrap())
    }

    pub(crate) async fn record(&self, event_id: Uuid) -> Option<HashMap<String, AttributeValue>> {
        self.item(&self.dedupe, format!("test#{event_id}")).await
    }

    /// Makes a key of the gap guard look as if it had stood still since then.
    pub(crate) async fn key_moved_at(&self, key: &str, moved_at: Timestamp) {
        let update = self.client.update_item().table_name(&self.dedupe);
        let update = update.key("pk", AttributeValue::S(format!("test#key#{key}")));
        let moved_at = AttributeValue::N(moved_at.as_millisecond().to_string());
        let update = update
            .update_expression("set moved = :moved")
            .condition_expression("attribute_exists(moved)");
        update
            .expression_attribute_values(":moved", moved_at)
            .send()
            .await
            .unwrap();
    }

    async fn item(&self, table: &str, pk: String) -> Option<HashMap<String, AttributeValue>> {
        let get = self
            .client
            .get_item()
            .table_name(table)
            .key("pk", AttributeValue::S(pk))
            .consistent_read(true);
        get.send().await.unwrap().item
    }
}

/// A Postgres database with schema `oncebox` and a table for effects.
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    server: PgConnectOptions,
    name: String,
}

impl Drop for Database {
    /// Drops the database; connections that are left are cut. On a thread of its own, for a test may be in a runtime.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await?;
                let statement = format!("drop database {name} with (force)");
                sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("database {} is left behind: {error}", self.name),
            Err(_) => eprintln!("database {} is left behind", self.name),
        }
    }
}

impl Database {
    pub(crate) async fn new() -> Self {
        let admin: PgConnectOptions = env("DATABASE_URL").parse().unwrap();
        let name = format!("consumer_test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect_with(&admin).await.unwrap();
        let create = format!("create database {name} encoding 'UTF8' template template0");
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap();
        let pool = PgPool::connect_with(admin.clone().database(&name)).await.unwrap();
        oncebox_outbox::migrate(&mut pool.acquire().await.unwrap())
            .await
            .unwrap();
        sqlx::query("create table effect (event_id uuid not null)")
            .execute(&pool)
            .await
            .unwrap();
        Self {
            pool,
            server: admin,
            name,
        }
    }

    /// A consumer that inserts a row for each ping.
    pub(crate) fn consumer(&self) -> Consumer {
        self.empty_builder().on::<Ping, _>(postgres(insert)).build().unwrap()
    }

    pub(crate) fn empty_builder(&self) -> ConsumerBuilder {
        Consumer::builder("test")
            .postgres(self.pool.clone())
            .retry_delay(RetryDelay::QueueDefault)
    }

    /// How often the event has had its effect.
    pub(crate) async fn times(&self, event_id: Uuid) -> i64 {
        let count = sqlx::query_scalar("select count(*) from effect where event_id = $1").bind(event_id);
        count.fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn is_recorded(&self, event_id: Uuid) -> bool {
        let exists = "select exists (select from oncebox.inbox where consumer = 'test' and event_id = $1)";
        sqlx::query_scalar(exists)
            .bind(event_id)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

/// A queue.
pub(crate) struct Queue {
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) url: String,
}

impl Queue {
    pub(crate) async fn new() -> Self {
        Self::named(format!("consumer-test-{}", Uuid::new_v4().simple())).await
    }

    pub(crate) async fn fifo() -> Self {
        Self::named(format!("consumer-test-{}.fifo", Uuid::new_v4().simple())).await
    }

    async fn named(name: String) -> Self {
        endpoint();
        let client = aws_sdk_sqs::Client::new(&aws_config::load_from_env().await);
        let mut create = client.create_queue().queue_name(&name);
        if name.ends_with(".fifo") {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        let url = create.send().await.unwrap().queue_url.unwrap();
        Self { client, url }
    }

    /// Everything in the queue.
    pub(crate) async fn messages(&self) -> Vec<aws_sdk_sqs::types::Message> {
        let mut messages = Vec::new();
        loop {
            let receive = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(10);
            let receive = receive
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All);
            match receive.send().await.unwrap().messages {
                Some(page) if !page.is_empty() => messages.extend(page),
                _ => return messages,
            }
        }
    }
}
