//! `take-payment` against LocalStack; `make test` starts it.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{collections::HashMap, time::Duration};

use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use invoicing_events::InvoiceCreated;
use oncebox_consumer::{Consumer, DynamoDbDedupe, Invocation, Outcome, transactional};
use take_payment::{CONSUMER, PAYMENTS, take_payment};
use uuid::Uuid;

const FIXTURE: &str = include_str!("../../fixtures/sqs-event.json");
/// The same event as it comes by a topic without raw delivery, and by a rule of `EventBridge`.
const WRAPPED: [&str; 2] = [
    include_str!("../../fixtures/sns-event.json"),
    include_str!("../../fixtures/eventbridge-event.json"),
];
const EVENT_ID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c";
const INVOICE_ID: &str = "0190a1b2-0000-7000-8000-000000000001";

async fn deliver(client: &Client, dedupe: &str, payments: &str, body: Option<String>) -> Outcome {
    let consumer = Consumer::builder(CONSUMER)
        .on::<InvoiceCreated, _>(transactional(take_payment))
        .table(PAYMENTS, payments)
        .dedupe(DynamoDbDedupe::new(client.clone(), dedupe));
    let mut event: SqsEvent = serde_json::from_str(FIXTURE).unwrap();
    event.records[0].body = body.or(event.records[0].body.take());
    let invocation = Invocation::new("request", Duration::from_secs(10));
    let settled = consumer
        .build()
        .unwrap()
        .settle_batch(event, &invocation)
        .await
        .unwrap();
    settled.events[0].outcome
}

#[tokio::test]
async fn an_invoice_delivered_twice_is_booked_once() {
    let client = client().await;
    let (dedupe, payments) = (table(&client, "dedupe").await, table(&client, "payments").await);
    assert_eq!(deliver(&client, &dedupe, &payments, None).await, Outcome::Done);
    assert_eq!(deliver(&client, &dedupe, &payments, None).await, Outcome::Duplicate);

    let payment = item(&client, &payments, format!("payment#{INVOICE_ID}")).await;
    assert_eq!(payment["bookings"], number("1"));
    assert_eq!(payment["booked_cents"], number("129900"));
    assert_eq!(
        (&payment["currency"], &payment["event_id"]),
        (&text("EUR"), &text(EVENT_ID))
    );
    assert!(payment["booked_at_ms"].as_n().unwrap().parse::<u64>().unwrap() > 1_767_225_600_000);
}

#[tokio::test]
async fn an_invoice_that_comes_by_sns_and_eventbridge_is_the_same_one() {
    let client = client().await;
    for first in WRAPPED {
        let (dedupe, payments) = (table(&client, "dedupe").await, table(&client, "payments").await);
        let body = |fixture| {
            serde_json::from_str::<SqsEvent>(fixture)
                .unwrap()
                .records
                .remove(0)
                .body
        };
        assert_eq!(deliver(&client, &dedupe, &payments, body(first)).await, Outcome::Done);
        for again in WRAPPED.into_iter().chain([FIXTURE]) {
            assert_eq!(
                deliver(&client, &dedupe, &payments, body(again)).await,
                Outcome::Duplicate
            );
        }
        let payment = item(&client, &payments, format!("payment#{INVOICE_ID}")).await;
        assert_eq!(
            (&payment["bookings"], &payment["booked_cents"]),
            (&number("1"), &number("129900"))
        );
    }
}

#[tokio::test]
async fn a_double_would_show_in_the_bookings() {
    let client = client().await;
    let (dedupe, payments) = (table(&client, "dedupe").await, table(&client, "payments").await);
    deliver(&client, &dedupe, &payments, None).await;
    let event: SqsEvent = serde_json::from_str(FIXTURE).unwrap();
    let other = event.records[0]
        .body
        .as_ref()
        .unwrap()
        .replace(EVENT_ID, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4aff");
    assert_eq!(deliver(&client, &dedupe, &payments, Some(other)).await, Outcome::Done);

    let payment = item(&client, &payments, format!("payment#{INVOICE_ID}")).await;
    assert_eq!(
        (&payment["bookings"], &payment["booked_cents"]),
        (&number("2"), &number("259800"))
    );
}

/// A table with the key `pk`, named after the test run.
async fn table(client: &Client, what: &str) -> String {
    let name = format!("take-payment-test-{what}-{}", Uuid::new_v4().simple());
    let attribute = AttributeDefinition::builder()
        .attribute_name("pk")
        .attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let create = client
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest);
    let create = create
        .attribute_definitions(attribute.build().unwrap())
        .key_schema(key.build().unwrap());
    create.send().await.unwrap();
    name
}

async fn client() -> Client {
    std::env::var("AWS_ENDPOINT_URL")
        .expect("AWS_ENDPOINT_URL is not set: this test needs LocalStack, run `make test`");
    Client::new(&aws_config::load_from_env().await)
}

async fn item(client: &Client, table: &str, pk: String) -> HashMap<String, AttributeValue> {
    let get = client
        .get_item()
        .table_name(table)
        .key("pk", AttributeValue::S(pk))
        .consistent_read(true);
    get.send().await.unwrap().item.unwrap()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: &str) -> AttributeValue {
    AttributeValue::N(value.to_owned())
}
