//! Bundles: one message with several events, each of which has its own fate.

use std::{collections::HashMap, time::Duration};

use aws_sdk_sqs::types::Message as Letter;
use oncebox_consumer::{Consumer, Invocation, Outcome, Reason, transactional};
use oncebox_envelope::Event;
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::{Message, batch, deliver, deliver_one, outcomes, returned},
    flaky::Flaky,
    ping::{Act, Ping},
    stack::{Database, Queue, Tables},
};

fn flaky_consumer(tables: &Tables) -> (Flaky, Consumer) {
    let flaky = Flaky::default();
    let builder = tables
        .empty_builder()
        .on::<Ping, _>(transactional(flaky.clone()))
        .concurrency(1);
    (flaky, builder.build().unwrap())
}

fn keyed(act: Act, key: &str) -> Message {
    let key = json!({ "partitionkey": key });
    Message::with(Uuid::now_v7(), Ping::TYPE, &json!({ "act": act }), &key)
}

fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(|message| message.id).collect()
}

#[tokio::test]
async fn of_a_bundle_with_a_failing_event_only_that_one_runs_again() {
    let tables = Tables::new().await;
    let (_, consumer) = flaky_consumer(&tables);
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Retry),
        Message::new(Act::Succeed),
    ];
    let bundle = Message::bundle(&events);

    let first = deliver_one(&consumer, &bundle).await;
    assert_eq!(outcomes(&first), [Outcome::Done, Outcome::Retryable, Outcome::Done]);
    assert_eq!(returned(&first), std::slice::from_ref(&bundle.message_id));
    assert_eq!(tables.times(events[1].id).await, 0);

    let second = deliver_one(&consumer, &bundle).await;
    assert_eq!(
        outcomes(&second),
        [Outcome::Duplicate, Outcome::Done, Outcome::Duplicate]
    );
    assert_eq!(returned(&second), [""; 0], "all settled, so acknowledged");
    for event in events {
        assert_eq!(tables.times(event.id).await, 1);
    }
}

#[tokio::test]
async fn in_postgres_too_only_the_failing_event_of_a_bundle_is_left() {
    let database = Database::new().await;
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Retry),
        Message::new(Act::Succeed),
    ];
    let bundle = Message::bundle(&events);
    for expected in [Outcome::Done, Outcome::Duplicate] {
        let settled = deliver_one(&database.consumer(), &bundle).await;
        assert_eq!(outcomes(&settled), [expected, Outcome::Retryable, expected]);
        assert_eq!(returned(&settled), std::slice::from_ref(&bundle.message_id));
    }
    let times = [0, 1, 2].map(|index: usize| database.times(events[index].id));
    assert_eq!(futures::future::join_all(times).await, [1, 0, 1]);
}

#[tokio::test]
async fn copies_within_a_bundle_and_between_bundles_are_one_event() {
    let tables = Tables::new().await;
    let [a, b, c] = [0; 3].map(|_| Message::new(Act::Succeed));
    let bundles = [
        Message::bundle(&[a.clone(), a.clone(), b.clone()]),
        Message::bundle(&[b.clone(), c.clone(), a.clone()]),
    ];
    let batch = [bundles[0].clone(), bundles[1].clone(), c.clone()];
    let settled = deliver(&tables.consumer(), &batch).await;
    let (done, duplicate) = (Outcome::Done, Outcome::Duplicate);
    assert_eq!(
        outcomes(&settled),
        [done, duplicate, done, duplicate, done, duplicate, duplicate]
    );
    assert_eq!(settled.records, 3);
    let indices: Vec<_> = settled.events.iter().map(|event| event.bundle_index).collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2), None]);

    let again = deliver(&tables.consumer(), &bundles).await;
    assert_eq!(again.count(Outcome::Duplicate), 6);
    for event in [a, b, c] {
        assert_eq!(tables.times(event.id).await, 1);
    }
}

fn attributes(letter: &Letter) -> HashMap<&str, &str> {
    let attributes = letter.message_attributes().unwrap().iter();
    attributes
        .map(|(name, value)| (name.as_str(), value.string_value().unwrap_or("(binary)")))
        .collect()
}

#[tokio::test]
async fn what_can_never_succeed_leaves_its_bundle_alone_and_the_rest_goes_on() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Reject),
        Message::raw(Uuid::nil(), r#"{ "specversion" : "secret" }"#),
        Message::new(Act::Succeed),
    ];
    let settled = deliver_one(&consumer, &Message::bundle(&events)).await;
    let (done, permanent) = (Outcome::Done, Outcome::Permanent);
    assert_eq!(outcomes(&settled), [done, permanent, permanent, done]);
    assert_eq!(returned(&settled), [""; 0], "set aside, so acknowledged");
    let error = settled.events[2].error.clone().unwrap();
    assert!(
        error.starts_with("element 2 of the batch: attribute `specversion`"),
        "{error}"
    );

    let letters = queue.messages().await;
    assert_eq!(letters.len(), 2);
    let letter_of = |event: &Message| {
        letters
            .iter()
            .find(|letter| letter.body() == Some(&event.body))
            .unwrap()
    };
    let rejected = attributes(letter_of(&events[1]));
    assert_eq!(
        (rejected["oncebox-reason"], rejected["oncebox-error"]),
        ("rejected", "told to reject")
    );
    assert_eq!(
        (rejected["ce-id"], rejected["ce-type"]),
        (&*events[1].id.to_string(), Ping::TYPE)
    );
    assert_eq!(rejected["content-type"], "application/cloudevents+json");
    let unreadable = attributes(letter_of(&events[2]));
    assert_eq!(unreadable["oncebox-reason"], "not_an_envelope");
    assert!(
        !unreadable.contains_key("ce-id"),
        "the bundle's attributes are of no event: {unreadable:?}"
    );
    assert!(!unreadable["oncebox-error"].contains("secret"));
    for event in [&events[0], &events[3]] {
        assert_eq!(tables.times(event.id).await, 1);
    }
}

#[tokio::test]
async fn a_dead_letter_of_a_bundle_is_an_event_that_can_be_redriven() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let builder = || tables.empty_builder().dead_letter_queue(&queue.url);
    let events = [Message::new(Act::Succeed), Message::new(Act::Succeed)];
    // The wrong handler: none for this type.
    let wrong = builder().on_any(transactional(reject)).build().unwrap();
    deliver_one(&wrong, &Message::bundle(&events)).await;
    for letter in queue.messages().await {
        let redriven = Message::raw(Uuid::nil(), letter.body.unwrap());
        assert_eq!(
            outcomes(&deliver_one(&tables.consumer(), &redriven).await),
            [Outcome::Done]
        );
    }
    for event in events {
        assert_eq!(tables.times(event.id).await, 1);
    }
}

async fn reject(
    _: oncebox_envelope::RawEnvelope,
    _: &mut oncebox_consumer::Effects,
) -> Result<(), oncebox_consumer::HandlerError> {
    Err(oncebox_consumer::HandlerError::permanent("not here"))
}

#[tokio::test]
async fn on_fifo_two_dead_letters_of_one_bundle_are_two_messages_in_their_group() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let events = [
        Message::new(Act::Reject),
        Message::new(Act::Reject),
        Message::new(Act::Succeed),
    ];
    let bundle = Message::bundle(&events).in_group("a");
    // Delivered twice, as when the acknowledgement is lost: still one letter each.
    for last in [Outcome::Done, Outcome::Duplicate] {
        let settled = deliver_one(&consumer, &bundle).await;
        assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Permanent, last]);
    }
    let bodies: Vec<_> = queue
        .messages()
        .await
        .into_iter()
        .map(|letter| letter.body.unwrap())
        .collect();
    assert_eq!(bodies, [events[0].body.clone(), events[1].body.clone()]);
}

#[tokio::test]
async fn without_a_dead_letter_queue_a_bundle_with_poison_goes_back_and_the_others_are_done_once() {
    let tables = Tables::new().await;
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Reject),
        Message::new(Act::Succeed),
    ];
    let bundle = Message::bundle(&events);
    for expected in [Outcome::Done, Outcome::Duplicate] {
        let settled = deliver_one(&tables.consumer(), &bundle).await;
        assert_eq!(outcomes(&settled), [expected, Outcome::Permanent, expected]);
        assert_eq!(returned(&settled), std::slice::from_ref(&bundle.message_id));
    }
    assert_eq!(tables.times(events[2].id).await, 1);
}

#[tokio::test]
async fn an_empty_bundle_is_a_fault_of_its_message_only() {
    let tables = Tables::new().await;
    let (empty, good) = (Message::bundle(&[]), Message::new(Act::Succeed));
    let settled = deliver(&tables.consumer(), &[empty.clone(), good]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Done]);
    assert_eq!(settled.events[0].reason, Some(Reason::NotAnEnvelope));
    assert_eq!(returned(&settled), [empty.message_id]);
}

#[tokio::test]
async fn on_fifo_a_failure_in_a_bundle_stops_its_later_events_and_the_later_messages_of_its_group() {
    let tables = Tables::new().await;
    let (flaky, consumer) = flaky_consumer(&tables);
    let events = [Act::Succeed, Act::Retry, Act::Succeed, Act::Succeed, Act::Succeed].map(Message::new);
    let other = Message::new(Act::Succeed).in_group("b");
    let messages = [
        Message::bundle(&events[..3]).in_group("a"),
        other.clone(),
        events[3].clone().in_group("a"),
        Message::bundle(&events[4..]).in_group("a"),
    ];
    let (done, duplicate, waits) = (Outcome::Done, Outcome::Duplicate, Outcome::NotStarted);
    let first = deliver(&consumer, &messages).await;
    assert_eq!(outcomes(&first), [done, Outcome::Retryable, waits, done, waits, waits]);
    let back = [0, 2, 3].map(|index: usize| messages[index].message_id.clone());
    assert_eq!(returned(&first), back);
    let mut attempts = flaky.attempts();
    attempts.retain(|id| *id != other.id);
    assert_eq!(
        attempts,
        [events[0].id, events[1].id],
        "in sequence, beside the other group"
    );

    let back = [0, 2, 3].map(|index: usize| messages[index].clone());
    let second = deliver(&consumer, &back).await;
    assert_eq!(outcomes(&second), [duplicate, done, done, done, done]);
    assert_eq!(returned(&second), [""; 0]);
    assert_eq!(flaky.attempts(), ids(&events), "in sequence");
    for event in events {
        assert_eq!(tables.times(event.id).await, 1);
    }
}

#[tokio::test]
async fn on_fifo_poison_in_a_bundle_is_set_aside_and_its_group_goes_on() {
    let (tables, queue) = (Tables::new().await, Queue::fifo().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url).build().unwrap();
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Reject),
        Message::new(Act::Succeed),
    ];
    let messages = [
        Message::bundle(&events).in_group("a"),
        Message::new(Act::Succeed).in_group("a"),
    ];
    let settled = deliver(&consumer, &messages).await;
    let done = Outcome::Done;
    assert_eq!(outcomes(&settled), [done, Outcome::Permanent, done, done]);
    assert_eq!(returned(&settled), [""; 0]);
}

#[tokio::test]
async fn on_a_standard_queue_a_failure_in_a_bundle_stops_the_later_events_of_its_key_only() {
    let tables = Tables::new().await;
    let (flaky, consumer) = flaky_consumer(&tables);
    let events = [
        keyed(Act::Retry, "x"),
        keyed(Act::Succeed, "y"),
        keyed(Act::Succeed, "x"),
        Message::new(Act::Succeed),
    ];
    let elsewhere = keyed(Act::Succeed, "x");
    let bundle = Message::bundle(&events);
    let first = deliver(&consumer, &[bundle.clone(), elsewhere]).await;
    let (done, duplicate) = (Outcome::Done, Outcome::Duplicate);
    assert_eq!(
        outcomes(&first),
        [Outcome::Retryable, done, Outcome::NotStarted, done, done],
        "another message of the key is no follower: SQS keeps no order between the two"
    );
    flaky.attempts();
    let second = deliver_one(&consumer, &bundle).await;
    assert_eq!(outcomes(&second), [done, duplicate, done, duplicate]);
    let attempts = flaky.attempts();
    let of_key: Vec<_> = attempts
        .iter()
        .filter(|id| [events[0].id, events[2].id].contains(id))
        .collect();
    assert_eq!(of_key, [&events[0].id, &events[2].id]);
}

#[tokio::test]
async fn a_bundle_that_is_not_done_in_time_keeps_what_is_done() {
    let tables = Tables::new().await;
    let consumer = tables.builder().concurrency(1).build().unwrap();
    let events = [
        Message::new(Act::Succeed),
        Message::new(Act::Hang),
        Message::new(Act::Succeed),
    ];
    let bundle = Message::bundle(&events);
    let short = Invocation::new("request", Duration::from_secs(2));
    let one = std::slice::from_ref(&bundle);
    let settled = consumer.settle_batch(batch(one), &short).await.unwrap();
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Retryable, Outcome::NotStarted]
    );
    assert_eq!(returned(&settled), [bundle.message_id], "the message id once");
    assert_eq!(
        (tables.times(events[0].id).await, tables.times(events[2].id).await),
        (1, 0)
    );
}
