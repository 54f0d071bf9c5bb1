//! Many keys, one key, many tenants: all of it arrives, each key in its order.

use std::collections::HashSet;

use anyhow::ensure;
use system_tests::{Entry, Fault, Queue, Relay, Request, until_within};

use crate::{
    relay::delivered::{assert_keys_in_order, duplicates, ids},
    targets::scene::{SINK, Scene},
};

/// How long a busy machine may need.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(150);

struct Row {
    name: &'static str,
    /// What is enqueued for each `n`, in SQL.
    call: &'static str,
    events: i64,
    is_fifo: bool,
    /// Further keys of the sink.
    lines: &'static str,
}

/// LocalStack would take its time for so many: the proxy says that they were taken.
async fn arrives(row: &Row) {
    let scene = Scene::new().await;
    let queue = if row.is_fifo {
        Queue::fifo(&scene.stack).await
    } else {
        Queue::standard(&scene.stack).await
    };
    let queue = queue.unwrap();
    scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);
    let statement = format!(
        "select count(oncebox.enqueue('a.v1', '{{}}', {})) from generate_series(1, $1) n",
        row.call
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(row.events)
        .execute(&scene.database.pool)
        .await
        .unwrap();
    let lines = format!("sqs = {{ queue = \"{}\" }}\n{}", queue.name, row.lines);
    let relay = scene.relay(&lines).await;
    caught_up(&relay, row.name).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    let apart = |entry: Entry| {
        if entry.bundled.is_empty() {
            vec![entry]
        } else {
            entry.bundled
        }
    };
    let taken: Vec<Entry> = taken.into_iter().flat_map(apart).collect();
    assert_eq!(duplicates(&taken), 0, "{}", row.name);
    assert_keys_in_order(&taken);
    let committed: Vec<uuid::Uuid> = sqlx::query_scalar("select id from oncebox.event")
        .fetch_all(&scene.database.pool)
        .await
        .unwrap();
    assert_eq!(i64::try_from(committed.len()).unwrap(), row.events);
    let committed: HashSet<String> = committed.iter().map(ToString::to_string).collect();
    assert!(
        committed == ids(&taken),
        "{}: {} of {} arrived",
        row.name,
        ids(&taken).len(),
        committed.len()
    );
    assert!(scene.proxy.overlapping_groups().is_empty(), "{}", row.name);
    let parked: i64 = sqlx::query_scalar("select count(*) from oncebox.parked")
        .fetch_one(&scene.database.pool)
        .await
        .unwrap();
    assert_eq!(parked, 0, "{}", row.name);
}

async fn caught_up(relay: &Relay, name: &str) {
    until_within(PATIENCE, &format!("{name} to have gone"), async || {
        let lag = relay.metric("oncebox_sink_lag_events", SINK).await?;
        ensure!(lag == 0.0, "{lag} events behind");
        Ok(())
    })
    .await
    .unwrap();
}

/// Many events in one message, where only their number matters.
const BUNDLES: &str = "bundle = { max_events = 500, max_bytes = 200000 }";

#[tokio::test]
async fn a_hundred_thousand_keys_of_one_event_each_arrive() {
    let call = "key => 'key-' || n";
    arrives(&Row {
        name: "100,000 keys",
        call,
        events: 100_000,
        is_fifo: false,
        lines: BUNDLES,
    })
    .await;
}

#[tokio::test]
async fn twenty_thousand_keys_on_fifo_each_arrive() {
    let call = "key => 'key-' || n";
    arrives(&Row {
        name: "20,000 keys on FIFO",
        call,
        events: 20_000,
        is_fifo: true,
        lines: "",
    })
    .await;
}

#[tokio::test]
async fn twenty_thousand_events_of_one_key_arrive_in_their_order() {
    let call = "key => 'one'";
    arrives(&Row {
        name: "one key with everything",
        call,
        events: 20_000,
        is_fifo: true,
        lines: BUNDLES,
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_tenants_on_fifo_each_arrive() {
    let call = "tenant => 'tenant-' || n";
    arrives(&Row {
        name: "10,000 tenants",
        call,
        events: 10_000,
        is_fifo: true,
        lines: "",
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_tenants_on_a_standard_queue_each_arrive() {
    let call = "tenant => 'tenant-' || n";
    arrives(&Row {
        name: "10,000 tenants",
        call,
        events: 10_000,
        is_fifo: false,
        lines: "",
    })
    .await;
}
