//! One batch: each record for itself, and all of it in time.

use std::time::Duration;

use oncebox_consumer::{Invocation, Outcome, Reason, UnknownType, transactional};
use oncebox_envelope::{Event, RawEnvelope};
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::{Message, batch, deliver, invocation, outcomes, returned},
    ping::{Act, Ping},
    stack::Tables,
};

fn typed(event_type: &str, data: serde_json::Value) -> Message {
    Message::with(Uuid::now_v7(), event_type, &data, &json!({}))
}

#[tokio::test]
async fn a_poison_record_never_fails_its_neighbours() {
    let tables = Tables::new().await;
    let good = [Message::new(Act::Succeed), Message::new(Act::Succeed)];
    let poison = [
        Message::raw(Uuid::new_v4(), "{ no json"),
        Message::raw(Uuid::new_v4(), ""),
        typed(Ping::TYPE, json!({ "act": "no such act" })),
        typed("test.pong.v1", json!({})),
        typed("test.ping.v2", json!({})),
        Message::new(Act::Reject),
        Message::new(Act::Panic),
    ];
    let mut all = poison.to_vec();
    all.insert(3, good[0].clone());
    all.push(good[1].clone());
    let settled = deliver(&tables.consumer(), &all).await;

    let reasons: Vec<Option<Reason>> = settled.events.iter().map(|event| event.reason).collect();
    let expected = [
        Some(Reason::NotAnEnvelope),
        Some(Reason::NotAnEnvelope),
        Some(Reason::WrongSchema),
        None,
        Some(Reason::UnknownType),
        Some(Reason::UnsupportedVersion),
        Some(Reason::Rejected),
        None,
        None,
    ];
    assert_eq!(reasons, expected);
    assert_eq!(settled.count(Outcome::Done), 2);
    let bad: Vec<String> = poison.iter().map(|message| message.message_id.clone()).collect();
    assert_eq!(
        returned(&settled),
        bad,
        "without a dead-letter queue the redrive policy takes them"
    );
    for message in good {
        assert_eq!(tables.times(message.id).await, 1);
    }
}

#[tokio::test]
async fn a_panic_is_a_retryable_failure_of_its_record_only() {
    let tables = Tables::new().await;
    let (bad, good) = (Message::new(Act::Panic), Message::new(Act::Succeed));
    let settled = deliver(&tables.consumer(), &[bad.clone(), good]).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable, Outcome::Done]);
    assert_eq!(returned(&settled), [bad.message_id]);
}

#[tokio::test]
async fn an_error_names_the_place_and_never_the_value() {
    let tables = Tables::new().await;
    let settled = deliver(&tables.consumer(), &[typed(Ping::TYPE, json!({ "act": "secret" }))]).await;
    let error = settled.events[0].error.clone().unwrap();
    assert!(error.contains("$.act") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_batch_before_anything_is_started() {
    let tables = Tables::new().await;
    let good = Message::new(Act::Succeed);
    for id in [None, Some(String::new())] {
        let mut event = batch(&[good.clone(), Message::new(Act::Succeed)]);
        event.records[1].message_id = id;
        let error = tables.consumer().handle_batch(event, &invocation()).await.unwrap_err();
        assert_eq!(error.index, 1);
    }
    assert_eq!(tables.times(good.id).await, 0);
}

#[tokio::test]
async fn an_unknown_type_goes_the_way_that_was_chosen() {
    let tables = Tables::new().await;
    for (policy, expected) in [
        (UnknownType::DeadLetter, [Outcome::Permanent, Outcome::Permanent]),
        (UnknownType::Ignore, [Outcome::Ignored, Outcome::Permanent]),
        (UnknownType::Retry, [Outcome::Retryable, Outcome::Retryable]),
    ] {
        let consumer = tables.builder().unknown_type(policy).build().unwrap();
        let messages = [typed("test.pong.v1", json!({})), typed("test.ping.v2", json!({}))];
        assert_eq!(outcomes(&deliver(&consumer, &messages).await), expected, "{policy:?}");
    }
}

async fn nothing(_: RawEnvelope, _: &mut oncebox_consumer::Effects) -> Result<(), oncebox_consumer::HandlerError> {
    Ok(())
}

#[tokio::test]
async fn a_handler_for_any_type_takes_what_no_other_takes() {
    let tables = Tables::new().await;
    let consumer = tables.builder().on_any(transactional(nothing)).build().unwrap();
    let ping = Message::new(Act::Succeed);
    let settled = deliver(&consumer, &[typed("test.pong.v7", json!(null)), ping.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Done]);
    assert_eq!(tables.times(ping.id).await, 1);
}

#[tokio::test]
async fn an_event_past_its_expiry_is_dropped() {
    let tables = Tables::new().await;
    let message = |expiry: &str| {
        let more = json!({ "expirytime": expiry });
        Message::with(Uuid::now_v7(), Ping::TYPE, &json!({ "act": "succeed" }), &more)
    };
    let (past, future) = (message("2026-01-01T00:00:01Z"), message("9999-01-01T00:00:00Z"));
    let settled = deliver(&tables.consumer(), &[past.clone(), future]).await;
    assert_eq!(outcomes(&settled), [Outcome::Expired, Outcome::Done]);
    assert_eq!(returned(&settled), [""; 0]);
    assert_eq!(tables.times(past.id).await, 0);
}

#[tokio::test]
async fn without_time_nothing_is_started_and_everything_goes_back() {
    let tables = Tables::new().await;
    let messages = [Message::new(Act::Succeed), Message::raw(Uuid::new_v4(), "poison")];
    let over = Invocation::new("request", Duration::ZERO);
    let settled = tables.consumer().settle_batch(batch(&messages), &over).await.unwrap();
    assert_eq!(outcomes(&settled), [Outcome::NotStarted, Outcome::NotStarted]);
    assert_eq!(returned(&settled).len(), 2);
    assert_eq!(tables.times(messages[0].id).await, 0);
}

#[tokio::test]
async fn what_hangs_is_given_up_in_time_and_what_waits_behind_it_is_not_started() {
    let tables = Tables::new().await;
    let consumer = tables.builder().concurrency(1).build().unwrap();
    let messages = [
        Message::new(Act::Succeed),
        Message::new(Act::Hang),
        Message::new(Act::Succeed),
    ];
    let started = std::time::Instant::now();
    let short = Invocation::new("request", Duration::from_secs(2));
    let settled = consumer.settle_batch(batch(&messages), &short).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Retryable, Outcome::NotStarted]
    );
    let error = settled.events[1].error.as_deref();
    assert_eq!(
        error,
        Some("the handler was not done within the time of this invocation")
    );
    assert_eq!(
        returned(&settled),
        [messages[1].message_id.clone(), messages[2].message_id.clone()]
    );
    assert_eq!(tables.times(messages[2].id).await, 0);
}

#[tokio::test]
async fn invocations_of_one_process_share_its_concurrency_and_none_waits_longer_than_it_has() {
    let tables = Tables::new().await;
    let consumer = tables.builder().concurrency(1).build().unwrap();
    let (hanging, waiting) = (Message::new(Act::Hang), Message::new(Act::Succeed));
    let long = invocation();
    let mut first = std::pin::pin!(consumer.settle_batch(batch(std::slice::from_ref(&hanging)), &long));
    assert!(futures::poll!(&mut first).is_pending(), "its handler runs");

    let short = Invocation::new("second", Duration::from_secs(1));
    let second = consumer.settle_batch(batch(std::slice::from_ref(&waiting)), &short);
    let settled = tokio::time::timeout(Duration::from_secs(10), second).await;
    let settled = settled.expect("an answer within its own time").unwrap();
    assert_eq!(outcomes(&settled), [Outcome::NotStarted]);
    let error = settled.events[0].error.as_deref();
    assert_eq!(error, Some("too little time left in this invocation"));
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(tables.times(waiting.id).await, 0);
}

#[tokio::test]
async fn what_an_invocation_has_held_is_free_for_the_next_one_when_it_is_dropped() {
    let tables = Tables::new().await;
    let consumer = tables.builder().concurrency(1).build().unwrap();
    let (hanging, next) = (Message::new(Act::Hang), Message::new(Act::Succeed));
    let long = invocation();
    let mut first = Box::pin(consumer.settle_batch(batch(&[hanging]), &long));
    assert!(futures::poll!(&mut first).is_pending(), "its handler runs");
    drop(first);
    let settled = deliver(&consumer, std::slice::from_ref(&next)).await;
    assert_eq!(outcomes(&settled), [Outcome::Done]);
    assert_eq!(tables.times(next.id).await, 1);
}
