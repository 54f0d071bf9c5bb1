//! `audit-tap` against LocalStack; `make test` starts it.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{collections::HashMap, time::Duration};

use audit_tap::{AUDIT, CONSUMER, audit_tap};
use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use oncebox_consumer::{Consumer, DynamoDbDedupe, Invocation, Outcome, transactional};
use uuid::Uuid;

const FIXTURE: &str = include_str!("../../fixtures/sqs-event.json");

async fn deliver(client: &Client, dedupe: &str, audit: &str) -> Vec<Outcome> {
    let consumer = Consumer::builder(CONSUMER)
        .on_any(transactional(audit_tap))
        .table(AUDIT, audit)
        .dedupe(DynamoDbDedupe::new(client.clone(), dedupe));
    let event: SqsEvent = serde_json::from_str(FIXTURE).unwrap();
    let invocation = Invocation::new("request", Duration::from_secs(10));
    let settled = consumer
        .build()
        .unwrap()
        .settle_batch(event, &invocation)
        .await
        .unwrap();
    settled.events.iter().map(|event| event.outcome).collect()
}

#[tokio::test]
async fn events_of_any_type_are_noted_once_however_often_they_come() {
    let client = client().await;
    let (dedupe, audit) = (table(&client, "dedupe").await, table(&client, "audit").await);
    assert_eq!(deliver(&client, &dedupe, &audit).await, [Outcome::Done, Outcome::Done]);
    assert_eq!(
        deliver(&client, &dedupe, &audit).await,
        [Outcome::Duplicate, Outcome::Duplicate]
    );

    for (id, event_type, kind) in [
        ("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "invoice.create.v1", "command"),
        ("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c", "invoice.created.v1", "event"),
    ] {
        let note = item(&client, &audit, format!("audit#{id}")).await;
        assert_eq!(note["copies"], number("1"), "{id}");
        assert_eq!((&note["type"], &note["kind"]), (&text(event_type), &text(kind)));
        assert_eq!(
            (&note["sequence"], &note["key"]),
            (&number("1"), &text("0190a1b2-0000-7000-8000-000000000001"))
        );
        assert_eq!(note["time_ms"], number("1767225600120"));
        assert!(
            !note.contains_key("data"),
            "an audit note is no second store of payloads"
        );
    }
}

/// A table with the key `pk`, named after the test run.
async fn table(client: &Client, what: &str) -> String {
    let name = format!("audit-tap-test-{what}-{}", Uuid::new_v4().simple());
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
