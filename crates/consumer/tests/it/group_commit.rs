//! Events of one batch share transactions, and none of them suffers for another.

use aws_sdk_dynamodb::types::AttributeValue;
use oncebox_consumer::{Condition, Effects, HandlerError, Key, Outcome, Reason, transactional};
use oncebox_envelope::Envelope;
use tokio::task::JoinSet;

use crate::{
    delivery::{Message, deliver, outcomes, returned},
    lossy_proxy::{Lose, LossyProxy},
    ping::{Act, Ping, count},
    stack::Tables,
};

fn pings(count: usize) -> Vec<Message> {
    (0..count).map(|_| Message::new(Act::Succeed)).collect()
}

async fn assert_each_once(tables: &Tables, messages: &[Message]) {
    for message in messages {
        assert_eq!(tables.times(message.id).await, 1, "{}", message.id);
    }
}

/// DynamoDB requests for `batch`, of which `known` messages were consumed before.
async fn requests(size: usize, known: usize) -> usize {
    let tables = Tables::new().await;
    let proxy = LossyProxy::counting().await;
    let consumer = tables.builder_through(proxy.client.clone());
    let consumer = consumer.on::<Ping, _>(transactional(count)).build().unwrap();
    let messages = pings(size);
    if known > 0 {
        deliver(&tables.consumer(), &messages[..known]).await;
    }
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(
        (settled.count(Outcome::Duplicate), settled.count(Outcome::Done)),
        (known, size - known)
    );
    assert_each_once(&tables, &messages).await;
    proxy.take_requests()
}

#[tokio::test]
async fn a_batch_of_a_hundred_takes_five_requests_at_most_however_many_are_duplicates() {
    for known in [0, 10, 50] {
        let requests = requests(100, known).await;
        assert!(requests <= 5, "{requests} with {known} duplicates");
    }
}

#[tokio::test]
async fn a_batch_of_ten_takes_two_requests_at_most_however_many_are_duplicates() {
    for known in [0, 1, 5] {
        let requests = requests(10, known).await;
        assert!(requests <= 2, "{requests} with {known} duplicates");
    }
}

#[tokio::test]
async fn what_comes_again_is_looked_up_before_its_handler_runs() {
    let tables = Tables::new().await;
    let proxy = LossyProxy::counting().await;
    let consumer = tables.builder_through(proxy.client.clone());
    let consumer = consumer.on::<Ping, _>(transactional(count)).build().unwrap();
    let messages = pings(10);
    deliver(&consumer, &messages).await;
    proxy.take_requests();
    let again: Vec<_> = messages.iter().map(|message| message.clone().delivered(2)).collect();
    let settled = deliver(&consumer, &again).await;
    assert_eq!(outcomes(&settled), [Outcome::Duplicate; 10]);
    assert_eq!(proxy.take_requests(), 1);
}

/// Counts on the event's own item and on one that all share, which stays below three if `act` is to reject.
async fn count_shared(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    let act = event.data.act;
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    let shared = effects.update("effects", Key::new("pk", "shared")).add("times", 1);
    if act == Act::Reject {
        shared.only_if(Condition::less_than("times", 3).or(Condition::absent("times")));
    }
    Ok(())
}

async fn shared(tables: &Tables) -> u64 {
    let get = tables.client.get_item().table_name(&tables.effects);
    let item = get
        .key("pk", AttributeValue::S("shared".to_owned()))
        .send()
        .await
        .unwrap();
    item.item
        .map_or(0, |item| item["times"].as_n().unwrap().parse().unwrap())
}

#[tokio::test]
async fn additions_of_many_events_to_one_item_are_one_write_and_all_count() {
    let tables = Tables::new().await;
    let proxy = LossyProxy::counting().await;
    let consumer = tables.builder_through(proxy.client.clone());
    let consumer = consumer.on::<Ping, _>(transactional(count_shared)).build().unwrap();
    let messages = pings(40);
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(settled.count(Outcome::Done), 40);
    assert_eq!((shared(&tables).await, proxy.take_requests()), (40, 1));
    assert_each_once(&tables, &messages).await;
}

#[tokio::test]
async fn conditions_on_one_item_are_tested_one_after_the_other() {
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<Ping, _>(transactional(count_shared))
        .build()
        .unwrap();
    let messages: Vec<_> = (0..5).map(|_| Message::new(Act::Reject)).collect();
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(
        (settled.count(Outcome::Done), settled.count(Outcome::Permanent)),
        (3, 2)
    );
    assert!(
        settled
            .events
            .iter()
            .all(|event| event.reason.is_none_or(|reason| reason == Reason::ConditionFailed))
    );
    assert_eq!(shared(&tables).await, 3);
}

/// Rejects by DynamoDB itself: a text cannot be added to.
async fn add_to_text(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    let name = if event.data.act == Act::Reject { "text" } else { "times" };
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add(name, 1);
    Ok(())
}

#[tokio::test]
async fn one_event_whose_effect_dynamodb_refuses_fails_alone() {
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<Ping, _>(transactional(add_to_text))
        .build()
        .unwrap();
    let mut messages = pings(20);
    messages[7] = Message::new(Act::Reject);
    let put = tables.client.put_item().table_name(&tables.effects);
    put.item("pk", AttributeValue::S(messages[7].id.to_string()))
        .item("text", AttributeValue::S("x".to_owned()))
        .send()
        .await
        .unwrap();
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(settled.count(Outcome::Done), 19, "{:?}", outcomes(&settled));
    assert_eq!(returned(&settled), std::slice::from_ref(&messages[7].message_id));
    let poison = messages.remove(7);
    assert_each_once(&tables, &messages).await;
    assert_eq!(tables.record(poison.id).await, None);
}

#[tokio::test]
async fn one_event_whose_table_is_missing_fails_alone() {
    async fn elsewhere(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
        if event.data.act == Act::Retry {
            effects.put("no-such-table", Key::new("pk", "x"));
            return Ok(());
        }
        count(event, effects).await
    }
    let tables = Tables::new().await;
    let consumer = tables
        .empty_builder()
        .on::<Ping, _>(transactional(elsewhere))
        .build()
        .unwrap();
    let mut messages = pings(10);
    messages[3] = Message::new(Act::Retry);
    let settled = deliver(&consumer, &messages).await;
    assert_eq!(settled.count(Outcome::Done), 9, "{:?}", outcomes(&settled));
    assert_eq!(returned(&settled), [messages.remove(3).message_id]);
    assert_each_once(&tables, &messages).await;
}

#[tokio::test]
async fn a_group_whose_reply_is_lost_is_one_effect_each_and_counts_as_done() {
    for count_lost in [1, 3, 7] {
        let tables = Tables::new().await;
        let proxy = LossyProxy::new(Lose::Reply, count_lost).await;
        let consumer = tables.builder_through(proxy.client.clone());
        let consumer = consumer.on::<Ping, _>(transactional(count_shared)).build().unwrap();
        let messages = pings(10);
        let settled = deliver(&consumer, &messages).await;
        assert_eq!(outcomes(&settled), [Outcome::Done; 10], "{count_lost}");
        assert_eq!(shared(&tables).await, 10);
        assert_each_once(&tables, &messages).await;
    }
}

#[tokio::test]
async fn conflicts_and_throttles_cost_time_and_nothing_else() {
    for lose in [Lose::Conflict, Lose::Throttle] {
        let tables = Tables::new().await;
        let proxy = LossyProxy::new(lose, 4).await;
        let consumer = tables.builder_through(proxy.client.clone());
        let consumer = consumer.on::<Ping, _>(transactional(count_shared)).build().unwrap();
        let messages = pings(10);
        let settled = deliver(&consumer, &messages).await;
        assert_eq!(outcomes(&settled), [Outcome::Done; 10]);
        assert_eq!((proxy.lost(), shared(&tables).await), (4, 10));
        assert_each_once(&tables, &messages).await;
    }
}

#[tokio::test]
async fn three_functions_with_the_same_batch_at_the_same_moment_have_one_effect_each() {
    let tables = Tables::new().await;
    let messages = pings(30);
    let mut functions = JoinSet::new();
    for shift in [0, 7, 19] {
        let consumer = tables
            .empty_builder()
            .on::<Ping, _>(transactional(count_shared))
            .build()
            .unwrap();
        let mut messages = messages.clone();
        messages.rotate_left(shift);
        functions.spawn(async move { deliver(&consumer, &messages).await });
    }
    let settled = functions.join_all().await;
    let count = |outcome| settled.iter().map(|settled| settled.count(outcome)).sum::<usize>();
    assert_eq!((count(Outcome::Done), count(Outcome::Duplicate)), (30, 60));
    assert_eq!(shared(&tables).await, 30);
    assert_each_once(&tables, &messages).await;
}

#[tokio::test]
async fn a_handler_that_hangs_keeps_nobody_from_being_committed() {
    let tables = Tables::new().await;
    let mut messages = pings(10);
    messages[4] = Message::new(Act::Hang);
    let short = oncebox_consumer::Invocation::new("request", std::time::Duration::from_secs(3));
    let settled = tables
        .consumer()
        .settle_batch(crate::delivery::batch(&messages), &short)
        .await
        .unwrap();
    assert_eq!(settled.count(Outcome::Done), 9);
    assert_eq!(returned(&settled), [messages.remove(4).message_id]);
    assert_each_once(&tables, &messages).await;
}
