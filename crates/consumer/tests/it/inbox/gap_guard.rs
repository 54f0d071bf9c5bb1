//! With a gap guard in mode postgres: the watermark moves with the effect, and each event has its turn.

mod at_work;

use std::{sync::Arc, time::Duration};

use oncebox_consumer::{
    Consumer, ConsumerBuilder, GapGuard, HandlerError, Outcome, PgTransaction, Reason, UnknownType, postgres,
};
use oncebox_envelope::{Envelope, Event as _};
use serde_json::json;
use sqlx::postgres::{PgPoolOptions, PgSslMode};
use tokio::{net::TcpListener, sync::Semaphore};
use uuid::Uuid;

use self::at_work::{until_waiting, while_the_first_is_at_work};
use super::{InsertWhenTold, cut_after_commit};
use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    ping::{Act, Ping, insert},
    stack::{Database, Queue},
};

fn keyed(act: Act, sequence: i64) -> Message {
    Message::numbered(act, "k", sequence)
}

fn builder(database: &Database) -> ConsumerBuilder {
    let builder = database.empty_builder().gap_guard(GapGuard::from_one());
    builder.on::<Ping, _>(postgres(insert))
}

fn guarded(database: &Database) -> Consumer {
    builder(database).build().unwrap()
}

/// First and last sequence of the key, and those that were passed by.
async fn watermark(database: &Database) -> Option<(i64, i64, Vec<i64>)> {
    let select = "select first, last, missed from oncebox.watermark where consumer = 'test' and key = 'k'";
    sqlx::query_as(select).fetch_optional(&database.pool).await.unwrap()
}

#[tokio::test]
async fn the_update_that_arrives_before_its_create_is_held_and_not_lost() {
    let database = Database::new().await;
    let consumer = guarded(&database);
    let (create, update) = (keyed(Act::Succeed, 1), keyed(Act::Succeed, 2));
    let first = deliver_one(&consumer, &update).await;
    assert_eq!(outcomes(&first), [Outcome::Held]);
    assert_eq!(returned(&first), std::slice::from_ref(&update.message_id));
    let error = first.events[0].error.as_deref();
    assert_eq!(error, Some("sequence 2 waits for 1, which has not come"));
    assert_eq!((database.times(update.id).await, watermark(&database).await), (0, None));
    assert_eq!(outcomes(&deliver_one(&consumer, &create).await), [Outcome::Done]);
    let again = deliver_one(&consumer, &update.clone().delivered(2)).await;
    assert_eq!(outcomes(&again), [Outcome::Done]);
    for message in [&create, &update] {
        assert_eq!(outcomes(&deliver_one(&consumer, message).await), [Outcome::Duplicate]);
        assert_eq!(database.times(message.id).await, 1);
    }
    assert_eq!(watermark(&database).await, Some((1, 2, vec![])));
}

/// Inserts, and sees the effect of the event before it.
async fn insert_after_the_one_before(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    let effects: i64 = sqlx::query_scalar("select count(*) from effect")
        .fetch_one(&mut **tx)
        .await?;
    match event.sequence.unwrap().get() == effects + 1 {
        true => insert(event, tx).await,
        false => Err(HandlerError::permanent("its predecessor's effect is not there")),
    }
}

#[tokio::test]
async fn in_one_batch_a_key_is_worked_on_in_its_order_whatever_the_order_of_the_batch() {
    let database = Database::new().await;
    let consumer = database.empty_builder().gap_guard(GapGuard::from_one());
    let consumer = consumer
        .on::<Ping, _>(postgres(insert_after_the_one_before))
        .build()
        .unwrap();
    let batch = [3, 1, 4, 2].map(|sequence| keyed(Act::Succeed, sequence));
    assert_eq!(outcomes(&deliver(&consumer, &batch).await), [Outcome::Done; 4]);
    let other = Message::numbered(Act::Succeed, "other", 2);
    assert_eq!(outcomes(&deliver_one(&consumer, &other).await), [Outcome::Held]);
}

#[tokio::test]
async fn a_failure_moves_nothing_and_holds_back_its_successors() {
    let database = Database::new().await;
    let consumer = guarded(&database);
    let messages = [keyed(Act::Succeed, 1), keyed(Act::Panic, 2), keyed(Act::Succeed, 3)];
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Retryable, Outcome::NotStarted]
    );
    assert_eq!(watermark(&database).await, Some((1, 1, vec![])));
    assert_eq!(outcomes(&deliver_one(&consumer, &messages[2]).await), [Outcome::Held]);
}

#[tokio::test]
async fn a_gap_that_does_not_close_parks_the_event_with_what_is_missing() {
    let (database, queue) = (Database::new().await, Queue::new().await);
    let consumer = builder(&database).gap_guard(GapGuard::from_one().park_after(Duration::from_secs(300)));
    let consumer = consumer.dead_letter_queue(&queue.url).build().unwrap();
    deliver_one(&consumer, &keyed(Act::Succeed, 1)).await;
    let third = keyed(Act::Succeed, 3);
    let held = deliver_one(&consumer, &third.clone().delivered(40)).await;
    assert_eq!(outcomes(&held), [Outcome::Held]);
    // It has waited for longer than that, but its key has only just gone on.
    let waiting = third.clone().first_delivered_before(400);
    assert_eq!(outcomes(&deliver_one(&consumer, &waiting).await), [Outcome::Held]);
    let moved_before = "update oncebox.watermark set moved_at = moved_at - interval '301 s'";
    sqlx::query(moved_before).execute(&database.pool).await.unwrap();
    let parked = deliver_one(&consumer, &waiting).await;
    assert_eq!(parked.events[0].reason, Some(Reason::Gap));
    assert!(returned(&parked).is_empty());
    let letters = queue.messages().await;
    let attributes = letters[0].message_attributes.as_ref().unwrap();
    assert_eq!(attributes["oncebox-reason"].string_value.as_deref(), Some("gap"));
    // It was not passed by: once its predecessor is there, the dead letter has its effect.
    let second = deliver_one(&consumer, &keyed(Act::Succeed, 2)).await;
    assert_eq!(outcomes(&second), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &third).await), [Outcome::Done]);
    assert_eq!(database.times(third.id).await, 1);
}

#[tokio::test]
async fn what_was_set_aside_lets_its_successors_go_on_and_has_its_effect_once_when_redriven() {
    async fn mended(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
        let mut event = event;
        event.data.act = Act::Succeed;
        insert(event, tx).await
    }
    let (database, queue) = (Database::new().await, Queue::new().await);
    let rejecting = builder(&database).dead_letter_queue(&queue.url).build().unwrap();
    let (poison, next) = (keyed(Act::Reject, 1), keyed(Act::Succeed, 2));
    let settled = deliver(&rejecting, &[poison.clone(), next.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Done]);
    assert!(returned(&settled).is_empty());
    assert_eq!(watermark(&database).await, Some((1, 2, vec![1])));
    let mended = database.empty_builder().on::<Ping, _>(postgres(mended));
    let mended = mended.gap_guard(GapGuard::from_one()).build().unwrap();
    assert_eq!(outcomes(&deliver_one(&mended, &poison).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&mended, &poison).await), [Outcome::Duplicate]);
    let third = deliver_one(&mended, &keyed(Act::Succeed, 3)).await;
    assert_eq!(outcomes(&third), [Outcome::Done]);
    assert_eq!((database.times(poison.id).await, database.times(next.id).await), (1, 1));
    assert_eq!(watermark(&database).await, Some((1, 3, vec![])));
}

#[tokio::test]
async fn poison_that_no_dead_letter_queue_takes_holds_back_its_successors() {
    let database = Database::new().await;
    let settled = deliver(&guarded(&database), &[keyed(Act::Reject, 1), keyed(Act::Succeed, 2)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::NotStarted]);
    assert_eq!(returned(&settled).len(), 2);
    assert_eq!(watermark(&database).await, None);
}

#[tokio::test]
async fn what_is_dropped_counts_as_done_for_its_successors_and_waits_for_its_predecessors() {
    let database = Database::new().await;
    let consumer = builder(&database).unknown_type(UnknownType::Ignore).build().unwrap();
    let with = Message::numbered_as;
    let expired = with(1, Ping::TYPE, &json!({ "expirytime": "2026-01-01T00:00:00Z" }));
    let ignored = with(2, "test.other.v1", &json!({}));
    assert_eq!(outcomes(&deliver_one(&consumer, &ignored).await), [Outcome::Held]);
    let settled = deliver(&consumer, &[keyed(Act::Succeed, 3), ignored.clone(), expired]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Ignored, Outcome::Expired]);
    assert_eq!(outcomes(&deliver_one(&consumer, &ignored).await), [Outcome::Duplicate]);
}

#[tokio::test]
async fn a_consumer_that_begins_in_the_middle_says_so() {
    let database = Database::new().await;
    let fifth = keyed(Act::Succeed, 5);
    assert_eq!(
        outcomes(&deliver_one(&guarded(&database), &fifth).await),
        [Outcome::Held]
    );
    let consumer = builder(&database)
        .gap_guard(GapGuard::from_first_seen())
        .build()
        .unwrap();
    assert_eq!(outcomes(&deliver_one(&consumer, &fifth).await), [Outcome::Done]);
    let seventh = deliver_one(&consumer, &keyed(Act::Succeed, 7)).await;
    assert_eq!(outcomes(&seventh), [Outcome::Held]);
    // From before the first one: nothing is known of it, so it is no duplicate.
    let fourth = keyed(Act::Succeed, 4);
    assert_eq!(outcomes(&deliver_one(&consumer, &fourth).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &fourth).await), [Outcome::Duplicate]);
    assert_eq!(database.times(fourth.id).await, 1);
    assert_eq!(watermark(&database).await, Some((5, 5, vec![])));
}

#[tokio::test]
async fn another_event_with_a_sequence_that_was_consumed_is_a_fault_and_no_duplicate() {
    let database = Database::new().await;
    let consumer = guarded(&database);
    let first = keyed(Act::Succeed, 1);
    deliver(&consumer, &[first.clone(), keyed(Act::Succeed, 2)]).await;
    let settled = deliver_one(&consumer, &keyed(Act::Succeed, 1)).await;
    assert_eq!(settled.events[0].reason, Some(Reason::PayloadMismatch));
    assert_eq!(outcomes(&deliver_one(&consumer, &first).await), [Outcome::Duplicate]);
}

#[tokio::test]
async fn what_was_consumed_before_the_guard_was_there_has_no_second_effect() {
    let database = Database::new().await;
    let messages = [1, 2].map(|sequence| keyed(Act::Succeed, sequence));
    deliver(&database.consumer(), &messages).await;
    let batch = [messages[0].clone(), messages[1].clone(), keyed(Act::Succeed, 3)];
    let settled = deliver(&guarded(&database), &batch).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Duplicate, Outcome::Duplicate, Outcome::Done]
    );
    for message in &messages {
        assert_eq!(database.times(message.id).await, 1);
    }
    assert_eq!(watermark(&database).await, Some((1, 3, vec![])));
}

#[tokio::test]
async fn copies_of_a_keys_first_event_at_the_same_moment_have_one_effect() {
    let database = Database::new().await;
    let first = keyed(Act::Succeed, 1);
    let copies = [&first.redelivered(), &first.redelivered()];
    let outcomes = while_the_first_is_at_work(&first, copies, &database).await;
    assert_eq!(outcomes, [Outcome::Done, Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(database.times(first.id).await, 1);
}

#[tokio::test]
async fn who_waited_for_a_first_event_that_failed_has_its_effect() {
    let database = Database::new().await;
    let id = Uuid::now_v7();
    let more = json!({ "partitionkey": "k", "sequence": format!("{:020}", 1) });
    let [failing, succeeding] =
        ["retry", "succeed"].map(|act| Message::with(id, Ping::TYPE, &json!({ "act": act }), &more));
    let copies = [&succeeding, &succeeding.redelivered()];
    let mut outcomes = while_the_first_is_at_work(&failing, copies, &database).await;
    assert_eq!(outcomes.remove(0), Outcome::Retryable);
    outcomes.sort_by_key(|outcome| outcome.as_str());
    assert_eq!(outcomes, [Outcome::Done, Outcome::Duplicate]);
    assert_eq!(database.times(id).await, 1);
}

#[tokio::test]
async fn a_successor_waits_for_the_event_that_is_at_work_and_one_that_is_too_early_is_held() {
    let database = Database::new().await;
    deliver_one(&guarded(&database), &keyed(Act::Succeed, 1)).await;
    let [second, third, fifth] = [2, 3, 5].map(|sequence| keyed(Act::Succeed, sequence));
    let outcomes = while_the_first_is_at_work(&second, [&third, &fifth], &database).await;
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Held]);
    assert_eq!(watermark(&database).await, Some((1, 3, vec![])));
}

#[tokio::test]
async fn of_two_first_events_of_a_key_at_the_same_moment_one_begins_it_and_the_other_has_its_turn() {
    let database = Database::new().await;
    let (at_work, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = InsertWhenTold {
        at_work: Arc::clone(&at_work),
        go_on: Arc::clone(&go_on),
    };
    let waiting = database.empty_builder().gap_guard(GapGuard::from_first_seen());
    let waiting = waiting.on::<Ping, _>(postgres(handler)).build().unwrap();
    let other = builder(&database)
        .gap_guard(GapGuard::from_first_seen())
        .build()
        .unwrap();
    let (fifth, seventh) = (keyed(Act::Succeed, 5), keyed(Act::Succeed, 7));
    let second = async {
        at_work.acquire().await.unwrap().forget();
        let told = async {
            until_waiting(&database, 1).await;
            go_on.add_permits(1);
        };
        tokio::join!(deliver_one(&other, &seventh), told).0
    };
    let (first, second) = tokio::join!(deliver_one(&waiting, &fifth), second);
    assert_eq!(
        (outcomes(&first), outcomes(&second)),
        (vec![Outcome::Done], vec![Outcome::Held])
    );
    assert_eq!(database.times(seventh.id).await, 0);
    assert_eq!(watermark(&database).await, Some((5, 5, vec![])));
}

async fn insert_and_die(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    let end = sqlx::query("select pg_terminate_backend(pg_backend_pid())");
    let _ = end.execute(&mut **tx).await;
    Ok(())
}

#[tokio::test]
async fn a_function_that_dies_between_effect_and_commit_moves_no_watermark() {
    let database = Database::new().await;
    let dying = database.empty_builder().gap_guard(GapGuard::from_one());
    let dying = dying.on::<Ping, _>(postgres(insert_and_die)).build().unwrap();
    let first = keyed(Act::Succeed, 1);
    assert_eq!(outcomes(&deliver_one(&dying, &first).await), [Outcome::Retryable]);
    assert_eq!((database.times(first.id).await, watermark(&database).await), (0, None));
    assert_eq!(
        outcomes(&deliver_one(&guarded(&database), &first).await),
        [Outcome::Done]
    );
    assert_eq!(database.times(first.id).await, 1);
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_is_one_effect_and_its_successor_goes_on() {
    let database = Database::new().await;
    let direct = database.pool.connect_options();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = cut_after_commit(listener, (direct.get_host().to_owned(), direct.get_port()));
    let through = direct.as_ref().clone().host("127.0.0.1").port(port);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(through.ssl_mode(PgSslMode::Disable));
    let cut_off = Consumer::builder("test").gap_guard(GapGuard::from_one());
    let cut_off = cut_off.on::<Ping, _>(postgres(insert)).postgres(pool).build().unwrap();
    let first = keyed(Act::Succeed, 1);
    let (settled, ()) = tokio::join!(deliver_one(&cut_off, &first), proxy);
    assert_eq!(outcomes(&settled), [Outcome::Retryable]);
    let settled = deliver(&guarded(&database), &[first.clone(), keyed(Act::Succeed, 2)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Duplicate, Outcome::Done]);
    assert_eq!(database.times(first.id).await, 1);
}

async fn swallow(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    insert(event, tx).await?;
    let _ = sqlx::query("select 1 / 0").execute(&mut **tx).await;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_swallows_an_error_moves_no_watermark() {
    let database = Database::new().await;
    let swallowing = database.empty_builder().gap_guard(GapGuard::from_one());
    let swallowing = swallowing.on::<Ping, _>(postgres(swallow)).build().unwrap();
    let first = keyed(Act::Succeed, 1);
    assert_eq!(outcomes(&deliver_one(&swallowing, &first).await), [Outcome::Retryable]);
    assert_eq!(watermark(&database).await, None);
}
