//! Requests to the byte: what fits into one goes in one, and a byte more makes two.

use std::{sync::Arc, time::Duration};

use outbox_relay::{
    config::TargetConfig,
    log::page::Row,
    publish::{Clients, FailureClass, Publisher as _, Target},
};
use sqlx::Row as _;
use system_tests::{Bus, Database, Fault, Queue, Request, Stack, Topic};

use super::scene::{EVERY_EVENT, SINK, Scene};

/// What each event of the log takes of a request to `target`, as the relay counts.
pub(crate) async fn counted_bytes(database: &Database, target: &Target) -> Vec<usize> {
    let rows = sqlx::query(
        "select *, (extract(epoch from time) * 1000000)::bigint as micros, headers::text as headers_text,
                data::text as data_text
         from oncebox.event order by seq",
    );
    let rows = rows.fetch_all(&database.pool).await.unwrap();
    let row = |row: &sqlx::postgres::PgRow| Row {
        seq: row.get("seq"),
        shard: 0,
        id: row.get("id"),
        event_type: row.get("type"),
        key: row.get("key"),
        key_seq: row.get("key_seq"),
        tenant: row.get("tenant"),
        kind: row.get("kind"),
        source: row.get("source"),
        time_micros: row.get("micros"),
        headers: row.get("headers_text"),
        data: row.get("data_text"),
    };
    let bytes = |row: Row| target.bytes_of(&target.prepare(row).unwrap());
    rows.iter().map(row).map(bytes).collect()
}

async fn resolve(stack: &Stack, config: &TargetConfig) -> Target {
    let clients = Clients::new(stack.aws(), Duration::from_secs(10));
    Target::resolve(&clients, config, None).await.unwrap()
}

/// Enqueues, in one transaction, five events that take `sum` bytes of a request together.
async fn enqueue_sum(scene: &Scene, target: &Target, sum: usize) {
    const EVENTS: usize = 5;
    let probe = Scene::new().await;
    let mut transaction = scene.database.pool.begin().await.unwrap();
    // The time's text is not always as long: all that is measured and sent has the same one.
    let time: String = sqlx::query_scalar("select now()::text")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    probe.enqueue_large(None, 1_000).await;
    sqlx::query("update oncebox.event set time = $1::timestamptz, source = '/' || $2")
        .bind(&time)
        .bind(&scene.database.name)
        .execute(&probe.database.pool)
        .await
        .unwrap();
    let around = counted_bytes(&probe.database, target).await[0] - 1_000;
    let mut left = sum - EVENTS * around;
    for event in (1..=EVENTS).rev() {
        let data = left / event;
        left -= data;
        sqlx::query("select oncebox.enqueue('test.happened.v1', to_jsonb(repeat('x', $1)))")
            .bind(i32::try_from(data).unwrap())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(counted_bytes(&scene.database, target).await.iter().sum::<usize>(), sum);
}

/// How many events each request of a relay held that had five with this sum to send, the fewest first.
async fn requests_for(lines: &str, config: &TargetConfig, sum: usize) -> Vec<usize> {
    let scene = Scene::new().await;
    let target = resolve(&scene.stack, config).await;
    enqueue_sum(&scene, &target, sum).await;
    scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);
    let relay = scene.relay(lines).await;
    scene.settled().await;
    assert_eq!(relay.failed(SINK, "permanent").await.unwrap(), 0.0);
    let sends = scene.proxy.sends();
    let mut requests: Vec<usize> = sends.iter().map(|send| send.entries.len()).collect();
    requests.sort_unstable();
    requests
}

async fn are_filled_to_the_last_byte(lines: &str, config: &TargetConfig, most: usize) {
    assert_eq!(requests_for(lines, config, most).await, [5]);
    assert_eq!(requests_for(lines, config, most + 1).await, [1, 4]);
}

#[tokio::test]
async fn requests_to_a_queue_are_filled_to_the_last_byte_and_not_further() {
    let stack = Stack::from_env().await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let config = TargetConfig::Sqs {
        queue: queue.name.clone(),
    };
    let lines = format!("sqs = {{ queue = \"{}\" }}", queue.name);
    are_filled_to_the_last_byte(&lines, &config, 1_048_576).await;
}

#[tokio::test]
async fn requests_to_a_topic_are_filled_to_the_last_byte_and_not_further() {
    let stack = Stack::from_env().await.unwrap();
    let topic = Topic::standard(&stack).await.unwrap();
    let config = TargetConfig::Sns {
        topic: topic.name.clone(),
    };
    let lines = format!("sns = {{ topic = \"{}\" }}", topic.name);
    are_filled_to_the_last_byte(&lines, &config, 262_144).await;
}

#[tokio::test]
async fn requests_to_a_bus_are_filled_to_the_last_byte_and_not_further() {
    let stack = Stack::from_env().await.unwrap();
    let queue = Queue::standard(&stack).await.unwrap();
    let bus = Bus::to_queue(&stack, EVERY_EVENT, &queue).await.unwrap();
    let config = TargetConfig::EventBridge { bus: bus.name.clone() };
    let lines = format!("eventbridge = {{ bus = \"{}\" }}", bus.name);
    are_filled_to_the_last_byte(&lines, &config, 999_999).await;
}

/// The relay's count is the target's: LocalStack takes a request of exactly the limit, and refuses one
/// with a byte more.
#[tokio::test]
async fn a_request_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused() {
    let scene = Scene::new().await;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let configs = [
        TargetConfig::Sqs {
            queue: queue.name.clone(),
        },
        TargetConfig::Sns {
            topic: topic.name.clone(),
        },
    ];
    for config in configs {
        let target = resolve(&scene.stack, &config).await;
        let most = target.limits().max_request_bytes;
        let message = |data: usize, id: u128| {
            let row = Row {
                id: uuid::Uuid::from_u128(0x0190_a1b2_c3d4_7e5f_8a9b_0c1d_2e3f_0000 + id),
                data: format!("\"{}\"", "x".repeat(data - 2)),
                ..super::limits::row(2)
            };
            Arc::new(target.prepare(row).unwrap())
        };
        let around = target.bytes_of(&message(2, 0)) - 2;
        for (over, is_taken) in [(0, true), (1, false)] {
            let data = most + over - 2 * around;
            let batch = [
                message(data / 2, 1 + 2 * over as u128),
                message(data - data / 2, 2 + 2 * over as u128),
            ];
            let sum: usize = batch.iter().map(|message| target.bytes_of(message)).sum();
            assert_eq!(sum, most + over);
            for result in target.publish(&batch).await {
                assert_eq!(result.is_ok(), is_taken, "{config:?}: {result:?}");
                if let Err(refused) = result {
                    assert_eq!(refused.class, FailureClass::Permanent, "{refused}");
                }
            }
        }
    }
}
