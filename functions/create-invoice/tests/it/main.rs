//! `create-invoice` against Postgres; `make test` starts one.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use create_invoice::{CONSUMER, SCHEMA_SQL, create_invoice};
use invoicing_events::CreateInvoice;
use oncebox_consumer::{Consumer, Invocation, Outcome, Settlement, postgres};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

const FIXTURE: &str = include_str!("../../fixtures/sqs-event.json");
const COMMAND_ID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
const INVOICE_ID: &str = "0190a1b2-0000-7000-8000-000000000001";

async fn database() -> PgPool {
    let url =
        std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: this test needs Postgres, run `make test`");
    let admin: PgConnectOptions = url.parse().unwrap();
    let name = format!("create_invoice_test_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect_with(&admin).await.unwrap();
    let create = format!("create database {name} encoding 'UTF8' template template0");
    sqlx::query(AssertSqlSafe(create))
        .execute(&mut connection)
        .await
        .unwrap();
    let pool = PgPool::connect_with(admin.database(&name)).await.unwrap();
    oncebox_outbox::migrate(&mut pool.acquire().await.unwrap())
        .await
        .unwrap();
    for _ in 0..2 {
        sqlx::raw_sql(SCHEMA_SQL).execute(&pool).await.unwrap();
    }
    pool
}

async fn deliver(pool: &PgPool, event: &Value) -> Settlement {
    let consumer = Consumer::builder(CONSUMER)
        .on::<CreateInvoice, _>(postgres(create_invoice))
        .postgres(pool.clone());
    let event: SqsEvent = serde_json::from_value(event.clone()).unwrap();
    let invocation = Invocation::new("request", Duration::from_secs(10));
    consumer
        .build()
        .unwrap()
        .settle_batch(event, &invocation)
        .await
        .unwrap()
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_command_delivered_twice_creates_one_invoice_and_one_event() {
    let pool = database().await;
    let event: Value = serde_json::from_str(FIXTURE).unwrap();
    assert_eq!(deliver(&pool, &event).await.events[0].outcome, Outcome::Done);
    assert_eq!(deliver(&pool, &event).await.events[0].outcome, Outcome::Duplicate);

    let row: Value = sqlx::query_scalar::<_, String>(
        "select jsonb_agg(to_jsonb(i) - 'created_at' - 'customer_id')::text from invoicing.invoice i",
    )
    .fetch_one(&pool)
    .await
    .map(|text| serde_json::from_str(&text).unwrap())
    .unwrap();
    let invoice = json!({
        "id": 1, "invoice_id": INVOICE_ID, "amount_cents": 129_900, "currency": "EUR", "command_id": COMMAND_ID,
    });
    assert_eq!(row, json!([invoice]));

    let published: Value = sqlx::query_scalar::<_, String>(
        "select jsonb_agg(jsonb_build_object('type', type, 'key', key, 'source', source, 'kind', kind,
           'cause', headers->>'causationid', 'conversation', headers->>'correlationid', 'cents', data->'amount_cents'))::text
         from oncebox.event",
    )
    .fetch_one(&pool)
    .await
    .map(|text| serde_json::from_str(&text).unwrap())
    .unwrap();
    let created = json!({
        "type": "invoice.created.v1", "key": INVOICE_ID, "source": "create-invoice", "kind": "event",
        "cause": COMMAND_ID, "conversation": COMMAND_ID, "cents": 129_900,
    });
    assert_eq!(published, json!([created]));
}

#[tokio::test]
async fn without_its_event_there_is_no_invoice() {
    let pool = database().await;
    sqlx::query("alter table oncebox.event rename to gone")
        .execute(&pool)
        .await
        .unwrap();
    let event: Value = serde_json::from_str(FIXTURE).unwrap();
    let settled = deliver(&pool, &event).await;
    assert_eq!(settled.events[0].outcome, Outcome::Retryable);
    assert_eq!(count(&pool, "select count(*) from invoicing.invoice").await, 0);
    assert_eq!(count(&pool, "select count(*) from oncebox.inbox").await, 0);
}

#[tokio::test]
async fn a_double_would_show_as_two_rows() {
    let pool = database().await;
    let mut event: Value = serde_json::from_str(FIXTURE).unwrap();
    deliver(&pool, &event).await;
    let other = event["Records"][0]["body"]
        .as_str()
        .unwrap()
        .replace(COMMAND_ID, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4aff");
    event["Records"][0]["body"] = json!(other);
    assert_eq!(deliver(&pool, &event).await.events[0].outcome, Outcome::Done);
    assert_eq!(count(&pool, "select count(*) from invoicing.invoice").await, 2);
}
