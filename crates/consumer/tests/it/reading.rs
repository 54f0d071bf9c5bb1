//! What happens to an event's data before its handler gets it: upcasts and schemas.

use std::collections::BTreeMap;

use oncebox_consumer::{Consumer, ConsumerBuilder, Effects, HandlerError, Key, Outcome, Reason, transactional};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    stack::Tables,
};

#[derive(Serialize, Deserialize, JsonSchema)]
struct PaidV1 {
    euros: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct PaidV2 {
    cents: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct PaidV3 {
    #[schemars(range(max = 100_000))]
    cents: u64,
    currency: String,
    #[serde(default)]
    shares: BTreeMap<String, Share>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Share {
    #[schemars(range(max = 100))]
    percent: u64,
}

impl Event for PaidV1 {
    const TYPE: &'static str = "test.paid.v1";
}
impl Event for PaidV2 {
    const TYPE: &'static str = "test.paid.v2";
}
impl Event for PaidV3 {
    const TYPE: &'static str = "test.paid.v3";
}

fn in_cents(old: PaidV1) -> Result<PaidV2, HandlerError> {
    match old.euros {
        13 => Err(HandlerError::permanent("thirteen")),
        14 => Err(HandlerError::retryable("fourteen")),
        15 => panic!("fifteen"),
        euros => Ok(PaidV2 { cents: euros * 100 }),
    }
}

fn in_euros(old: PaidV2) -> Result<PaidV3, HandlerError> {
    Ok(PaidV3 {
        cents: old.cents,
        currency: "EUR".to_owned(),
        shares: BTreeMap::new(),
    })
}

fn differently(old: PaidV1) -> Result<PaidV3, HandlerError> {
    Ok(PaidV3 {
        cents: old.euros,
        currency: "XXX".to_owned(),
        shares: BTreeMap::new(),
    })
}

/// Adds the cents to the item of the event, whose type it has to see as its own.
async fn book(event: Envelope<PaidV3>, effects: &mut Effects) -> Result<(), HandlerError> {
    if event.event_type.as_str() != PaidV3::TYPE || event.data.currency.is_empty() {
        return Err(HandlerError::permanent("not what it says"));
    }
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", event.data.cents);
    Ok(())
}

async fn book_old(event: Envelope<PaidV1>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", event.data.euros);
    Ok(())
}

fn chained(tables: &Tables) -> ConsumerBuilder {
    let builder = tables.empty_builder().on::<PaidV3, _>(transactional(book));
    builder.upcast(in_cents).upcast(in_euros)
}

fn paid(event_type: &str, data: serde_json::Value) -> Message {
    Message::with(Uuid::now_v7(), event_type, &data, &json!({}))
}

#[tokio::test]
async fn older_versions_reach_the_handler_by_the_chain() {
    let tables = Tables::new().await;
    let consumer = chained(&tables).validate_schemas().build().unwrap();
    let messages = [
        paid(PaidV1::TYPE, json!({ "euros": 7 })),
        paid(PaidV2::TYPE, json!({ "cents": 8 })),
        paid(PaidV3::TYPE, json!({ "cents": 9, "currency": "CHF" })),
    ];
    assert_eq!(outcomes(&deliver(&consumer, &messages).await), [Outcome::Done; 3]);
    for (message, cents) in messages.iter().zip([700, 8, 9]) {
        assert_eq!(tables.times(message.id).await, cents);
    }
    let again: Vec<Message> = messages.iter().map(Message::redelivered).collect();
    assert_eq!(outcomes(&deliver(&consumer, &again).await), [Outcome::Duplicate; 3]);
    assert_eq!(tables.times(messages[0].id).await, 700);
}

#[tokio::test]
async fn an_event_is_the_same_whatever_upcast_it_has_had() {
    let tables = Tables::new().await;
    let old = paid(PaidV1::TYPE, json!({ "euros": 7 }));
    let before = tables.empty_builder().on::<PaidV1, _>(transactional(book_old));
    let before = before.build().unwrap();
    assert_eq!(outcomes(&deliver_one(&before, &old).await), [Outcome::Done]);

    let other = tables
        .empty_builder()
        .on::<PaidV3, _>(transactional(book))
        .upcast(differently);
    for consumer in [chained(&tables).build().unwrap(), other.build().unwrap()] {
        assert_eq!(
            outcomes(&deliver_one(&consumer, &old.redelivered()).await),
            [Outcome::Duplicate]
        );
        let changed = Message::with(old.id, PaidV1::TYPE, &json!({ "euros": 8 }), &json!({}));
        let settled = deliver_one(&consumer, &changed).await;
        assert_eq!(settled.events[0].reason, Some(Reason::PayloadMismatch));
    }
    assert_eq!(tables.times(old.id).await, 7);
}

#[tokio::test]
async fn an_upcast_that_fails_has_a_reason_of_its_own_and_its_neighbours_are_done() {
    let tables = Tables::new().await;
    let consumer = chained(&tables).build().unwrap();
    let messages = [
        paid(PaidV1::TYPE, json!({ "euros": 13 })),
        paid(PaidV1::TYPE, json!({ "euros": 14 })),
        paid(PaidV1::TYPE, json!({ "euros": 15 })),
        paid(PaidV1::TYPE, json!({ "euros": "many" })),
        paid(PaidV1::TYPE, json!({ "euros": 1 })),
    ];
    let settled = deliver(&consumer, &messages).await;
    let expected = [
        (Outcome::Permanent, Some(Reason::UpcastFailed)),
        (Outcome::Retryable, None),
        (Outcome::Retryable, None),
        (Outcome::Permanent, Some(Reason::WrongSchema)),
        (Outcome::Done, None),
    ];
    let found: Vec<_> = settled
        .events
        .iter()
        .map(|event| (event.outcome, event.reason))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(returned(&settled).len(), 4, "no dead-letter queue here");
    assert_eq!(
        settled.events[0]
            .error
            .as_deref()
            .map(|text| text.split(" (").next().unwrap()),
        Some("upcast from `test.paid.v1`: thirteen")
    );
}

#[tokio::test]
async fn a_version_that_no_upcast_begins_at_is_an_unsupported_one() {
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<PaidV3, _>(transactional(book))
        .upcast(in_euros);
    let settled = deliver_one(&consumer.build().unwrap(), &paid(PaidV1::TYPE, json!({ "euros": 7 }))).await;
    assert_eq!(settled.events[0].reason, Some(Reason::UnsupportedVersion));
    let error = settled.events[0].error.as_deref().unwrap();
    assert!(
        error.contains("version 1 of `test.paid` has no handler and no upcast"),
        "{error}"
    );
}

#[test]
fn an_upcast_that_leads_nowhere_is_a_fault_at_start() {
    let fault = |builder: ConsumerBuilder| builder.build().map(|_| ()).unwrap_err().to_string();
    let handled = || Consumer::builder("a").on::<PaidV3, _>(transactional(book));
    for (builder, expected) in [
        (handled().upcast(in_cents), "has neither a handler nor an upcast"),
        (handled().upcast(in_euros).upcast(in_euros), "has two upcasts"),
        (
            handled().upcast(|_: PaidV3| -> Result<PaidV2, _> { Err(HandlerError::permanent("")) }),
            "later version of",
        ),
        (
            handled().upcast(|_: PaidV3| -> Result<PaidV3, _> { Err(HandlerError::permanent("")) }),
            "later version of",
        ),
        (
            handled().on::<PaidV1, _>(transactional(book_old)).upcast(differently),
            "the older version has a handler",
        ),
    ] {
        let fault = fault(builder);
        assert!(
            fault.starts_with("upcast from `test.paid.v") && fault.contains(expected),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_schema_is_checked_where_it_is_asked_for_and_names_the_path_and_never_the_value() {
    let tables = Tables::new().await;
    let consumer = chained(&tables).validate_schemas().build().unwrap();
    for (data, expected) in [
        (
            json!({ "cents": 123_456_789, "currency": "EUR" }),
            "`$.cents`: breaks `maximum` (schema `/properties/cents/maximum`)",
        ),
        (
            json!({ "cents": 1 }),
            "`$`: missing field \"currency\" (schema `/required`)",
        ),
        (
            json!({ "cents": 1, "currency": "EUR", "shares": { "alice@example.org": { "percent": 123_456 } } }),
            "`$.shares.*.percent`: breaks `maximum`",
        ),
    ] {
        let settled = deliver_one(&consumer, &paid(PaidV3::TYPE, data)).await;
        assert_eq!(settled.events[0].reason, Some(Reason::WrongSchema));
        let error = settled.events[0].error.as_deref().unwrap();
        assert!(
            error.contains("the schema of `test.paid.v3` at ") && error.contains(expected),
            "{error}"
        );
        assert!(!error.contains("123") && !error.contains("alice"), "{error}");
    }
    let large = paid(PaidV3::TYPE, json!({ "cents": 100_001, "currency": "EUR" }));
    let unchecked = chained(&tables).build().unwrap();
    assert_eq!(outcomes(&deliver_one(&unchecked, &large).await), [Outcome::Done]);
}

#[tokio::test]
async fn an_older_version_is_checked_before_its_upcast_and_after_it() {
    let tables = Tables::new().await;
    let consumer = chained(&tables).validate_schemas().build().unwrap();
    for (euros, expected) in [
        (json!(-1), "the schema of `test.paid.v1` at `$.euros`"),
        (
            json!(1_001),
            "the schema of `test.paid.v3` at `$.cents`: breaks `maximum`",
        ),
    ] {
        let settled = deliver_one(&consumer, &paid(PaidV1::TYPE, json!({ "euros": euros }))).await;
        assert_eq!(settled.events[0].reason, Some(Reason::WrongSchema));
        let error = settled.events[0].error.as_deref().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
