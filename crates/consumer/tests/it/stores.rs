//! What a consumer promises over every store: one suite, run over the tables in memory, over DynamoDB and over Postgres.

use futures::future::join_all;
use oncebox_consumer::{
    Consumer, ConsumerBuilder, Key, Outcome, Reason, RetryDelay, postgres, test_kit::MemoryTables, transactional,
};
use oncebox_envelope::Event as _;
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::{Message, deliver, deliver_one, outcomes, returned},
    ping::{Act, Ping, count, insert},
    stack::{Database, Tables},
};

/// Where records and effects are.
enum Store {
    Memory(MemoryTables),
    DynamoDb(Tables),
    Postgres(Box<Database>),
}

impl Store {
    /// A process that has just started, of the consumer `test` or of another one.
    fn consumer(&self, name: &str) -> Consumer {
        let builder = Consumer::builder(name).retry_delay(RetryDelay::QueueDefault);
        let counts = |builder: ConsumerBuilder| builder.on::<Ping, _>(transactional(count));
        let builder = match self {
            Self::Memory(tables) => counts(builder.dedupe(tables.dedupe())),
            Self::DynamoDb(tables) => {
                let dedupe = oncebox_consumer::DynamoDbDedupe::new(tables.client.clone(), &tables.dedupe);
                counts(builder.dedupe(dedupe).table("effects", &tables.effects))
            }
            Self::Postgres(database) => builder.postgres(database.pool.clone()).on::<Ping, _>(postgres(insert)),
        };
        builder.build().unwrap()
    }

    async fn times(&self, event: Uuid) -> i64 {
        match self {
            Self::Memory(tables) => {
                let times = tables.number("effects", Key::new("pk", event.to_string()), "times");
                i64::try_from(times).unwrap()
            }
            Self::DynamoDb(tables) => i64::try_from(tables.times(event).await).unwrap(),
            Self::Postgres(database) => database.times(event).await,
        }
    }
}

async fn suite(store: &Store) {
    copies_are_duplicates_for_every_process_and_in_one_batch(store).await;
    what_fails_leaves_nothing_behind(store).await;
    one_id_with_two_payloads_is_a_fault(store).await;
    three_at_once_have_one_effect(store).await;
    consumers_do_not_know_of_each_other(store).await;
}

async fn copies_are_duplicates_for_every_process_and_in_one_batch(store: &Store) {
    let messages: Vec<Message> = (0..30).map(|_| Message::new(Act::Succeed)).collect();
    let (first, rest) = messages.split_at(10);
    let settled = deliver(&store.consumer("test"), first).await;
    assert!(outcomes(&settled).iter().all(|outcome| *outcome == Outcome::Done));
    // New ones, each twice, and those that another process has had.
    let again = rest.iter().chain(rest).chain(first).map(Message::redelivered);
    let again: Vec<Message> = again.collect();
    let settled = deliver(&store.consumer("test"), &again).await;
    assert_eq!(
        (settled.count(Outcome::Done), settled.count(Outcome::Duplicate)),
        (20, 30)
    );
    assert_eq!(returned(&settled), [""; 0]);
    for message in &messages {
        assert_eq!(store.times(message.id).await, 1);
    }
}

async fn what_fails_leaves_nothing_behind(store: &Store) {
    for act in [Act::Retry, Act::Reject, Act::Panic] {
        let message = Message::new(act);
        deliver_one(&store.consumer("test"), &message).await;
        assert_eq!(store.times(message.id).await, 0, "{act:?}");
        // Not even a record: the same id with other data has its effect.
        let mended = Message::with(message.id, Ping::TYPE, &json!({ "act": Act::Succeed }), &json!({}));
        assert_eq!(
            outcomes(&deliver_one(&store.consumer("test"), &mended).await),
            [Outcome::Done],
            "{act:?}"
        );
        assert_eq!(store.times(message.id).await, 1, "{act:?}");
    }
}

async fn one_id_with_two_payloads_is_a_fault(store: &Store) {
    let id = Uuid::now_v7();
    let message = |note| {
        Message::with(
            id,
            Ping::TYPE,
            &json!({ "act": Act::Succeed, "note": note }),
            &json!({}),
        )
    };
    deliver_one(&store.consumer("test"), &message(1)).await;
    let settled = deliver(&store.consumer("test"), &[message(2), message(1)]).await;
    assert_eq!(outcomes(&settled), [Outcome::Permanent, Outcome::Duplicate]);
    assert_eq!(settled.events[0].reason, Some(Reason::PayloadMismatch));
    assert_eq!(store.times(id).await, 1);
}

async fn three_at_once_have_one_effect(store: &Store) {
    let messages: Vec<Message> = (0..10).map(|_| Message::new(Act::Succeed)).collect();
    let consumers = ["test"; 3].map(|name| store.consumer(name));
    let settled = join_all(consumers.iter().map(|consumer| deliver(consumer, &messages))).await;
    let done: usize = settled.iter().map(|settled| settled.count(Outcome::Done)).sum();
    // Whoever was not told in time that its commit was applied finds a duplicate at its next delivery.
    assert!(done <= messages.len(), "{done} of {}", messages.len());
    let settled = deliver(&consumers[0], &messages).await;
    assert_eq!(returned(&settled), [""; 0]);
    for message in &messages {
        assert_eq!(store.times(message.id).await, 1);
    }
}

async fn consumers_do_not_know_of_each_other(store: &Store) {
    let message = Message::new(Act::Succeed);
    for consumer in ["test", "another"] {
        let settled = deliver_one(&store.consumer(consumer), &message).await;
        assert_eq!(outcomes(&settled), [Outcome::Done], "{consumer}");
    }
    assert_eq!(store.times(message.id).await, 2);
}

#[tokio::test]
async fn a_consumer_keeps_its_promises_over_the_tables_in_memory() {
    suite(&Store::Memory(MemoryTables::new().table("effects", &["pk"]))).await;
}

#[tokio::test]
async fn a_consumer_keeps_its_promises_over_dynamodb() {
    suite(&Store::DynamoDb(Tables::new().await)).await;
}

#[tokio::test]
async fn a_consumer_keeps_its_promises_over_postgres() {
    suite(&Store::Postgres(Box::new(Database::new().await))).await;
}
