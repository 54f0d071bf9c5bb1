//! With a gap guard, a key's events have their effects one after the other, on any queue.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use oncebox_consumer::{
    Consumer, Effects, GapGuard, HandlerError, Key, LeaseContext, Outcome, Reason, StartError, UnknownType, leased,
    postgres, test_kit::MemoryTables, transactional,
};
use oncebox_envelope::{Envelope, Event as _, RawData};
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    flaky::Flaky,
    lossy_proxy::{Lose, LossyProxy},
    ping::{Act, Ping, count, insert},
    stack::{Queue, Tables},
};

fn keyed(act: Act, sequence: i64) -> Message {
    Message::numbered(act, "k", sequence)
}

fn guarded(tables: &Tables, guard: GapGuard) -> Consumer {
    tables.builder().gap_guard(guard).build().unwrap()
}

#[tokio::test]
async fn the_update_that_arrives_before_its_create_is_held_and_not_lost() {
    let tables = Tables::new().await;
    let consumer = guarded(&tables, GapGuard::from_one());
    let (create, update) = (keyed(Act::Succeed, 1), keyed(Act::Succeed, 2));
    let first = deliver_one(&consumer, &update).await;
    assert_eq!(outcomes(&first), [Outcome::Held]);
    assert_eq!(returned(&first), std::slice::from_ref(&update.message_id));
    assert_eq!(
        first.events[0].error.as_deref(),
        Some("sequence 2 waits for 1, which has not come")
    );
    assert_eq!(tables.times(update.id).await, 0);
    assert_eq!(outcomes(&deliver_one(&consumer, &create).await), [Outcome::Done]);
    assert_eq!(
        outcomes(&deliver_one(&consumer, &update.clone().delivered(2)).await),
        [Outcome::Done]
    );
    for message in [&create, &update] {
        assert_eq!(outcomes(&deliver_one(&consumer, message).await), [Outcome::Duplicate]);
        assert_eq!(tables.times(message.id).await, 1);
        assert_eq!(tables.record(message.id).await, None, "the watermark is the record");
    }
}

#[tokio::test]
async fn in_one_batch_a_key_is_worked_on_in_its_order_whatever_the_order_of_the_batch() {
    let tables = Tables::new().await;
    let flaky = Flaky::default();
    let consumer = tables.empty_builder().on::<Ping, _>(transactional(flaky.clone()));
    let consumer = consumer.gap_guard(GapGuard::from_one()).build().unwrap();
    let messages = [3, 1, 4, 2].map(|sequence| keyed(Act::Succeed, sequence));
    let other = Message::numbered(Act::Succeed, "other", 2);
    let batch = [&messages[..], std::slice::from_ref(&other)].concat();
    let settled = deliver(&consumer, &batch).await;
    let done = Outcome::Done;
    assert_eq!(outcomes(&settled), [done, done, done, done, Outcome::Held]);
    assert_eq!(flaky.attempts(), [1, 3, 0, 2].map(|index: usize| messages[index].id));
}

#[tokio::test]
async fn a_failure_holds_back_its_successors_until_it_has_succeeded() {
    let tables = Tables::new().await;
    let consumer = tables.empty_builder().on::<Ping, _>(transactional(Flaky::default()));
    let consumer = consumer.gap_guard(GapGuard::from_one()).build().unwrap();
    let messages = [keyed(Act::Succeed, 1), keyed(Act::Retry, 2), keyed(Act::Succeed, 3)];
    let first = deliver(&consumer, &messages).await;
    assert_eq!(
        outcomes(&first),
        [Outcome::Done, Outcome::Retryable, Outcome::NotStarted]
    );
    assert_eq!(outcomes(&deliver_one(&consumer, &messages[2]).await), [Outcome::Held]);
    let again = deliver(&consumer, &[messages[2].clone(), messages[1].clone()]).await;
    assert_eq!(outcomes(&again), [Outcome::Done, Outcome::Done]);
    for message in &messages {
        assert_eq!(tables.times(message.id).await, 1);
    }
}

#[tokio::test]
async fn a_gap_that_does_not_close_parks_the_event_with_what_is_missing() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url);
    let consumer = consumer
        .gap_guard(GapGuard::from_one().park_after(Duration::from_secs(300)))
        .build()
        .unwrap();
    let (first, third) = (keyed(Act::Succeed, 1), keyed(Act::Succeed, 3));
    deliver_one(&consumer, &first).await;
    assert_eq!(
        outcomes(&deliver_one(&consumer, &third.clone().delivered(40)).await),
        [Outcome::Held]
    );
    // It has waited for longer than that, but its key has only just gone on.
    let waiting = third.clone().first_delivered_before(400);
    assert_eq!(outcomes(&deliver_one(&consumer, &waiting).await), [Outcome::Held]);
    let before = Timestamp::now() - SignedDuration::from_secs(301);
    tables.key_moved_at("k", before).await;
    let parked = deliver_one(&consumer, &waiting).await;
    assert_eq!(outcomes(&parked), [Outcome::Permanent]);
    assert_eq!(
        (parked.events[0].reason, returned(&parked).len()),
        (Some(Reason::Gap), 0)
    );
    let letters = queue.messages().await;
    let attributes = letters[0].message_attributes.as_ref().unwrap();
    let text = |name: &str| attributes[name].string_value.clone().unwrap();
    assert_eq!(text("oncebox-reason"), "gap");
    assert_eq!(text("oncebox-error"), "sequence 3 waits for 2, which has not come");
    // It was not passed by: once its predecessor is there, the dead letter has its effect.
    assert_eq!(
        outcomes(&deliver_one(&consumer, &keyed(Act::Succeed, 2)).await),
        [Outcome::Done]
    );
    assert_eq!(outcomes(&deliver_one(&consumer, &third).await), [Outcome::Done]);
}

#[tokio::test]
async fn on_fifo_what_stands_behind_a_gap_waits_as_long_as_the_first_and_not_once_more() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let consumer = tables.builder().dead_letter_queue(&queue.url);
    let consumer = consumer
        .gap_guard(GapGuard::from_one().park_after(Duration::from_secs(300)))
        .build()
        .unwrap();
    let in_group = |sequence| keyed(Act::Succeed, sequence).in_group("k");
    deliver_one(&consumer, &in_group(1)).await;
    tables
        .key_moved_at("k", Timestamp::now() - SignedDuration::from_secs(400))
        .await;
    // SQS delivers the fourth and the fifth only when the third is gone, so for the first time.
    let messages = [
        in_group(3).sent_before(301).first_delivered_before(300),
        in_group(4).sent_before(301),
        in_group(5).sent_before(200),
    ];
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Permanent, Outcome::Permanent, Outcome::Held]
    );
    assert_eq!(queue.messages().await.len(), 2);
    // Elsewhere a message that was sent long ago may come before the one that it waits for.
    let standard = keyed(Act::Succeed, 4).sent_before(1_000);
    assert_eq!(outcomes(&deliver_one(&consumer, &standard).await), [Outcome::Held]);
}

#[tokio::test]
async fn what_was_set_aside_lets_its_successors_go_on_and_has_its_effect_once_when_redriven() {
    let (tables, queue) = (Tables::new().await, Queue::new().await);
    let rejecting = tables.builder().dead_letter_queue(&queue.url);
    let rejecting = rejecting.gap_guard(GapGuard::from_one()).build().unwrap();
    let poison = keyed(Act::Reject, 1);
    let next = keyed(Act::Succeed, 2);
    let settled = deliver(&rejecting, &[poison.clone(), next.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Done]);
    assert_eq!(returned(&settled), [""; 0]);
    // The handler is mended, the dead letter redriven.
    async fn mended(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
        effects
            .update("effects", Key::new("pk", event.id.to_string()))
            .add("times", 1);
        Ok(())
    }
    let mended = tables.empty_builder().on::<Ping, _>(transactional(mended));
    let mended = mended.gap_guard(GapGuard::from_one()).build().unwrap();
    assert_eq!(outcomes(&deliver_one(&mended, &poison).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&mended, &poison).await), [Outcome::Duplicate]);
    assert_eq!(
        outcomes(&deliver_one(&mended, &keyed(Act::Succeed, 3)).await),
        [Outcome::Done]
    );
    assert_eq!((tables.times(poison.id).await, tables.times(next.id).await), (1, 1));
}

#[tokio::test]
async fn poison_that_no_dead_letter_queue_takes_holds_back_its_successors() {
    let tables = Tables::new().await;
    let consumer = guarded(&tables, GapGuard::from_one());
    let messages = [keyed(Act::Reject, 1), keyed(Act::Succeed, 2)];
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::NotStarted]);
    assert_eq!(returned(&settled).len(), 2);
}

#[tokio::test]
async fn what_is_dropped_counts_as_done_for_its_successors_and_waits_for_its_predecessors() {
    let tables = Tables::new().await;
    let consumer = tables.builder().unknown_type(UnknownType::Ignore);
    let consumer = consumer.gap_guard(GapGuard::from_one()).build().unwrap();
    let with = Message::numbered_as;
    let expired = with(1, Ping::TYPE, &json!({ "expirytime": "2026-01-01T00:00:00Z" }));
    let ignored = with(2, "test.other.v1", &json!({}));
    assert_eq!(outcomes(&deliver_one(&consumer, &ignored).await), [Outcome::Held]);
    let settled = deliver(&consumer, &[keyed(Act::Succeed, 3), ignored, expired]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Ignored, Outcome::Expired]);
}

#[tokio::test]
async fn a_consumer_that_begins_in_the_middle_says_so() {
    let tables = Tables::new().await;
    let fifth = keyed(Act::Succeed, 5);
    let held = deliver_one(&guarded(&tables, GapGuard::from_one()), &fifth).await;
    assert_eq!(outcomes(&held), [Outcome::Held]);
    let consumer = guarded(&tables, GapGuard::from_first_seen());
    assert_eq!(outcomes(&deliver_one(&consumer, &fifth).await), [Outcome::Done]);
    assert_eq!(
        outcomes(&deliver_one(&consumer, &keyed(Act::Succeed, 7)).await),
        [Outcome::Held]
    );
    // From before the first one: nothing is known of it, so it is no duplicate.
    let fourth = keyed(Act::Succeed, 4);
    assert_eq!(outcomes(&deliver_one(&consumer, &fourth).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &fourth).await), [Outcome::Duplicate]);
    assert_eq!(tables.times(fourth.id).await, 1);
}

#[tokio::test]
async fn another_event_with_a_sequence_that_was_consumed_is_a_fault_and_no_duplicate() {
    let tables = Tables::new().await;
    let consumer = guarded(&tables, GapGuard::from_one());
    let first = keyed(Act::Succeed, 1);
    deliver(&consumer, &[first.clone(), keyed(Act::Succeed, 2)]).await;
    let settled = deliver_one(&consumer, &keyed(Act::Succeed, 1)).await;
    assert_eq!(settled.events[0].reason, Some(Reason::PayloadMismatch));
    assert_eq!(outcomes(&deliver_one(&consumer, &first).await), [Outcome::Duplicate]);
}

#[tokio::test]
async fn what_was_consumed_before_the_guard_was_there_has_no_second_effect() {
    let tables = Tables::new().await;
    let messages = [keyed(Act::Succeed, 1), keyed(Act::Succeed, 2)];
    deliver(&tables.consumer(), &messages).await;
    let consumer = guarded(&tables, GapGuard::from_one());
    let settled = deliver(
        &consumer,
        &[messages[0].clone(), messages[1].clone(), keyed(Act::Succeed, 3)],
    )
    .await;
    let duplicate = Outcome::Duplicate;
    assert_eq!(outcomes(&settled), [duplicate, duplicate, Outcome::Done]);
    assert_eq!(
        (tables.times(messages[0].id).await, tables.times(messages[1].id).await),
        (1, 1)
    );
}

#[tokio::test]
async fn lost_replies_conflicts_and_throttles_give_one_effect_each_in_order() {
    for lose in [Lose::Reply, Lose::Request, Lose::Conflict, Lose::Throttle] {
        let tables = Tables::new().await;
        let proxy = LossyProxy::new(lose, 4).await;
        let consumer = tables
            .builder_through(proxy.client.clone())
            .on::<Ping, _>(transactional(count));
        let consumer = consumer.gap_guard(GapGuard::from_one()).build().unwrap();
        let messages: Vec<_> = (1..=4).map(|sequence| keyed(Act::Succeed, sequence)).collect();
        let settled = deliver(&consumer, &messages).await;
        assert_eq!(outcomes(&settled), [Outcome::Done; 4]);
        for message in &messages {
            assert_eq!(tables.times(message.id).await, 1);
        }
    }
}

/// Appends the event's sequence to a list, if the list is as long as its predecessors make it.
async fn append(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    let (key, sequence) = (event.partition_key.unwrap(), event.sequence.unwrap().get());
    let is_next = oncebox_consumer::Condition::equals("n", sequence - 1);
    let is_first = oncebox_consumer::Condition::absent("n");
    let update = effects
        .update("effects", Key::new("pk", key.as_str()))
        .set("n", sequence)
        .add("times", 1);
    update.only_if(if sequence == 1 { is_first } else { is_next });
    Ok(())
}

#[tokio::test]
async fn three_functions_with_the_same_keys_in_any_order_have_each_effect_once_and_in_order() {
    let tables = Tables::new().await;
    let keys = ["a", "b", "c"];
    let messages: Vec<_> = keys
        .iter()
        .flat_map(|key| (1..=5).map(|n| Message::numbered(Act::Succeed, key, n)))
        .collect();
    let mut functions = JoinSet::new();
    for shift in [0, 4, 11] {
        let consumer = tables.empty_builder().on::<Ping, _>(transactional(append));
        let consumer = consumer.gap_guard(GapGuard::from_one()).build().unwrap();
        let mut left = messages.clone();
        left.rotate_left(shift);
        functions.spawn(async move {
            // Until nothing comes back; a batch is small, so that the functions meet.
            while !left.is_empty() {
                let batch: Vec<_> = left.drain(..left.len().min(4)).collect();
                let settled = deliver(&consumer, &batch).await;
                assert_eq!(settled.count(Outcome::Permanent), 0, "{:?}", settled.events);
                let back = returned(&settled);
                left.extend(batch.into_iter().filter(|message| back.contains(&message.message_id)));
            }
        });
    }
    functions.join_all().await;
    for key in keys {
        let get = tables.client.get_item().table_name(&tables.effects);
        let item = get
            .key("pk", AttributeValue::S(key.to_owned()))
            .send()
            .await
            .unwrap()
            .item
            .unwrap();
        assert_eq!(
            (
                item["n"].as_n().unwrap().as_str(),
                item["times"].as_n().unwrap().as_str()
            ),
            ("5", "5")
        );
    }
}

async fn call(_: Envelope<Ping>, _: &LeaseContext) -> Result<(), HandlerError> {
    Ok(())
}

#[tokio::test]
async fn a_guard_over_a_handler_that_cannot_keep_it_is_a_fault_at_start() {
    let tables = MemoryTables::new();
    let guarded = || {
        let pool = PgPool::connect_lazy("postgres://127.0.0.1/none").unwrap();
        let consumer = Consumer::builder("a").dedupe(tables.dedupe()).postgres(pool);
        consumer.gap_guard(GapGuard::from_one())
    };
    let leased = guarded().on::<Ping, _>(leased(call).retry_same_key()).build();
    assert!(matches!(leased, Err(StartError::GapGuard { .. })));
    let two = guarded().on::<Ping, _>(postgres(insert)).on_any(transactional(nothing));
    assert!(matches!(two.build(), Err(StartError::TwoWatermarks { .. })));
    assert!(guarded().on::<Ping, _>(postgres(insert)).build().is_ok());
    assert!(guarded().on::<Ping, _>(transactional(count)).build().is_ok());
}

async fn nothing(_: Envelope<RawData>, _: &mut Effects) -> Result<(), HandlerError> {
    Ok(())
}
