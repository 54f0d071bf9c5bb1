//! The transactional mode: one effect per event, whatever is lost or repeated.

use std::{future::Future, pin::Pin, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use oncebox_consumer::{Condition, Effects, HandlerError, Key, Outcome, Reason, TransactionalHandler, transactional};
use oncebox_envelope::{Envelope, Event};
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    lossy_proxy::{Lose, LossyProxy},
    ping::{Act, Ping, count},
    stack::Tables,
};

#[tokio::test]
async fn a_message_delivered_three_times_has_one_effect() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let consumer = tables.consumer();
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Duplicate]);
    // Another instance of the function, and another message id: only the event's id counts.
    let again = deliver(&tables.consumer(), &[message.redelivered()]).await;
    assert_eq!(outcomes(&again), [Outcome::Duplicate]);
    assert_eq!(returned(&again), [""; 0]);
    assert_eq!(tables.times(message.id).await, 1);
}

#[tokio::test]
async fn copies_in_one_batch_have_one_effect_and_count_as_duplicates() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let batch = [message.clone(), message.redelivered(), message.clone()];
    let settled = deliver(&tables.consumer(), &batch).await;
    assert_eq!(
        outcomes(&settled),
        [Outcome::Done, Outcome::Duplicate, Outcome::Duplicate]
    );
    assert_eq!(tables.times(message.id).await, 1);
}

#[tokio::test]
async fn copies_of_a_message_that_fails_all_go_back() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Retry);
    let copy = message.redelivered();
    let settled = deliver(&tables.consumer(), &[message.clone(), copy.clone(), message.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Retryable; 3]);
    assert_eq!(
        returned(&settled),
        [message.message_id, copy.message_id],
        "each message id once"
    );
}

/// Counts, once as many attempts as the barrier waits for have come as far as this.
struct CountTogether(Arc<Barrier>);

impl<'a> TransactionalHandler<'a, Ping> for CountTogether {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Ping>, effects: &'a mut Effects) -> Self::Future {
        let barrier = Arc::clone(&self.0);
        Box::pin(async move {
            barrier.wait().await;
            count(event, effects).await
        })
    }
}

#[tokio::test]
async fn two_functions_with_the_same_message_at_the_same_moment_have_one_effect() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let barrier = Arc::new(Barrier::new(2));
    let consumer = || {
        let handler = CountTogether(Arc::clone(&barrier));
        tables
            .empty_builder()
            .on::<Ping, _>(transactional(handler))
            .build()
            .unwrap()
    };
    let (a, b) = (consumer(), consumer());
    let (a, b) = tokio::join!(deliver_one(&a, &message), deliver_one(&b, &message));
    let mut both = [outcomes(&a), outcomes(&b)].concat();
    both.sort();
    assert_eq!(both, [Outcome::Done, Outcome::Duplicate]);
    assert_eq!(tables.times(message.id).await, 1);
}

#[tokio::test]
async fn a_handler_that_fails_leaves_no_record_and_no_effect() {
    let tables = Tables::new().await;
    for act in [Act::Retry, Act::Reject, Act::Panic] {
        let message = Message::new(act);
        deliver_one(&tables.consumer(), &message).await;
        assert_eq!(tables.record(message.id).await, None, "{act:?}");
        assert_eq!(tables.times(message.id).await, 0, "{act:?}");
    }
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_is_one_effect_and_counts_as_done() {
    let tables = Tables::new().await;
    // Once: the SDK's own retry meets the record. Three times: the SDK gives up, and the record is
    // read. Both are this attempt's own.
    for count_lost in [1, 3] {
        let proxy = LossyProxy::new(Lose::Reply, count_lost).await;
        let consumer = tables.builder_through(proxy.client.clone());
        let consumer = consumer.on::<Ping, _>(transactional(count)).build().unwrap();
        let message = Message::new(Act::Succeed);
        assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
        assert_eq!(proxy.lost(), count_lost);
        assert_eq!(tables.times(message.id).await, 1);
        assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Duplicate]);
    }
}

#[tokio::test]
async fn a_request_that_never_arrives_is_sent_again() {
    let tables = Tables::new().await;
    let proxy = LossyProxy::new(Lose::Request, 4).await;
    let consumer = tables.builder_through(proxy.client.clone());
    let consumer = consumer.on::<Ping, _>(transactional(count)).build().unwrap();
    let message = Message::new(Act::Succeed);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
    assert_eq!((proxy.lost(), tables.times(message.id).await), (4, 1));
}

#[tokio::test]
async fn the_same_id_with_another_payload_is_no_duplicate() {
    let tables = Tables::new().await;
    let id = Uuid::now_v7();
    let message = |data| Message::with(id, Ping::TYPE, &data, &json!({}));
    let first = message(json!({ "act": "succeed", "note": 1 }));
    let other = message(json!({ "act": "succeed", "note": 2 }));
    let settled = deliver(&tables.consumer(), &[first.clone(), other.clone()]).await;
    assert_eq!(outcomes(&settled), [Outcome::Done, Outcome::Permanent]);
    assert_eq!(settled.events[1].reason, Some(Reason::PayloadMismatch));
    assert_eq!(
        returned(&settled),
        [other.message_id],
        "no dead-letter queue: left to the redrive policy"
    );
    assert_eq!(tables.times(id).await, 1);
    // The same payload written another way is a duplicate.
    let same = first.body.replace(r#""note":1"#, r#""note" : 10e-1"#);
    assert_ne!(same, first.body);
    let settled = deliver(&tables.consumer(), &[Message::raw(id, same)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Duplicate]);
}

#[tokio::test]
async fn a_record_past_its_time_does_not_count_though_it_is_still_there() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let consumer = tables.consumer();
    deliver_one(&consumer, &message).await;
    let mut record = tables.record(message.id).await.unwrap();
    record.insert("ttl".to_owned(), AttributeValue::N("1".to_owned()));
    let put = tables
        .client
        .put_item()
        .table_name(&tables.dedupe)
        .set_item(Some(record));
    put.send().await.unwrap();
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Duplicate]);
}

#[tokio::test]
async fn a_record_is_kept_for_35_days() {
    let tables = Tables::new().await;
    let message = Message::new(Act::Succeed);
    let before = jiff::Timestamp::now().as_second();
    deliver_one(&tables.consumer(), &message).await;
    let record = tables.record(message.id).await.unwrap();
    let ttl: i64 = record["ttl"].as_n().unwrap().parse().unwrap();
    assert!((before..before + 60).contains(&(ttl - 35 * 86_400)), "{ttl}");
    assert_eq!(record["st"].as_s().unwrap(), "done");
}

async fn only_if_open(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    let check = effects.check(
        "effects",
        Key::new("pk", "account"),
        Condition::equals("status", "open"),
    );
    if event.data.act == Act::Retry {
        check.or_fail(HandlerError::retryable("not open yet"));
    }
    Ok(())
}

#[tokio::test]
async fn a_condition_that_does_not_hold_stops_every_effect() {
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<Ping, _>(transactional(only_if_open))
        .build()
        .unwrap();
    let (permanent, retryable) = (Message::new(Act::Succeed), Message::new(Act::Retry));
    let batch = [permanent.clone(), retryable.clone()];
    let settled = deliver(&consumer, &batch).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Retryable]);
    assert_eq!(settled.events[0].reason, Some(Reason::ConditionFailed));
    assert_eq!(settled.events[1].error.as_deref(), Some("not open yet"));
    assert_eq!(
        (tables.times(permanent.id).await, tables.record(permanent.id).await),
        (0, None)
    );

    let open = tables.client.put_item().table_name(&tables.effects);
    let open = open
        .item("pk", AttributeValue::S("account".into()))
        .item("status", AttributeValue::S("open".into()));
    open.send().await.unwrap();
    assert_eq!(
        outcomes(&deliver(&consumer, &batch).await),
        [Outcome::Done, Outcome::Done]
    );
}

async fn all_kinds(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    let key = |name: &str| Key::new("pk", format!("{}-{name}", event.id));
    effects
        .put("effects", key("put"))
        .set("name", "x")
        .set("n", 7)
        .only_if(Condition::absent("pk"));
    effects
        .delete("effects", key("gone"))
        .only_if(Condition::absent("pk").or(Condition::at_least("n", 1)));
    effects
        .update("effects", key("update"))
        .set("status", "open")
        .set_if_absent("first", true)
        .add("n", 2)
        .remove("old")
        .only_if(
            Condition::less_than("n", 0)
                .or(Condition::absent("n"))
                .and(Condition::differs("status", "closed")),
        );
    Ok(())
}

#[tokio::test]
async fn every_kind_of_effect_is_written_as_described() {
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<Ping, _>(transactional(all_kinds))
        .build()
        .unwrap();
    let message = Message::new(Act::Succeed);
    assert_eq!(outcomes(&deliver_one(&consumer, &message).await), [Outcome::Done]);
    let items = tables
        .client
        .scan()
        .table_name(&tables.effects)
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    let mut items = items.items.unwrap();
    items.sort_by_key(|item| item["pk"].as_s().unwrap().clone());
    let number = |n: &str| AttributeValue::N(n.to_owned());
    assert_eq!(items.len(), 2);
    assert_eq!(
        (&items[0]["n"], &items[0]["name"]),
        (&number("7"), &AttributeValue::S("x".into()))
    );
    assert_eq!(
        (&items[1]["n"], &items[1]["first"]),
        (&number("2"), &AttributeValue::Bool(true))
    );
    assert_eq!(items[1]["status"], AttributeValue::S("open".into()));
}
