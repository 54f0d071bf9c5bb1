//! A consumer that writes down each envelope as it came.

use std::{collections::BTreeMap, time::Duration};

use oncebox_consumer::{Consumer, HandlerError, Invocation, PgTransaction, RetryDelay, Settlement, postgres};
use oncebox_envelope::RawEnvelope;
use serde_json::{Value, json};
use sqlx::PgPool;
use system_tests::{Database, Queue, Stack};
use uuid::Uuid;

/// The consumer over a database of the test's own, with its dead-letter queue.
pub(super) struct Arrivals {
    consumer: Consumer,
    pool: PgPool,
}

impl Arrivals {
    pub(super) async fn new(stack: &Stack, database: &Database, dead_letters: &Queue) -> Self {
        sqlx::query("create table arrived (event uuid not null, envelope text not null)")
            .execute(&database.pool)
            .await
            .unwrap();
        let builder = Consumer::builder("hostile")
            .on_any(postgres(write_down))
            .postgres(database.pool.clone())
            .retry_delay(RetryDelay::QueueDefault)
            .sqs(stack.sqs())
            .dead_letter_queue(&dead_letters.url);
        Self {
            consumer: builder.build().unwrap(),
            pool: database.pool.clone(),
        }
    }

    /// Hands these bodies over as one batch of a standard queue; `attributes` are each message's.
    pub(super) async fn deliver(&self, bodies: &[&str], attributes: &Value) -> Settlement {
        let record = |body: &&str| {
            json!({
                "messageId": Uuid::new_v4(), "receiptHandle": "receipt", "body": body, "md5OfBody": "",
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1767225600000" },
                "messageAttributes": attributes, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:hostile",
            })
        };
        let records: Vec<Value> = bodies.iter().map(record).collect();
        let event = serde_json::from_value(json!({ "Records": records })).unwrap();
        let invocation = Invocation::new("request", Duration::from_secs(60));
        self.consumer.settle_batch(event, &invocation).await.unwrap()
    }

    /// The envelopes that have come, as text, by event; each has come once.
    pub(super) async fn envelopes(&self) -> BTreeMap<Uuid, String> {
        let rows: Vec<(Uuid, String)> = sqlx::query_as("select event, envelope from arrived")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        let count = rows.len();
        let envelopes: BTreeMap<Uuid, String> = rows.into_iter().collect();
        assert_eq!(envelopes.len(), count, "one effect each");
        envelopes
    }
}

async fn write_down(event: RawEnvelope, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    sqlx::query("insert into arrived values ($1, $2)")
        .bind(event.id.as_uuid())
        .bind(event.to_json())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
