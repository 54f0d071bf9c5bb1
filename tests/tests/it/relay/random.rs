//! A thousand writers that do what writers do, and a relay that is killed again and again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use futures::future::join_all;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{Acquire as _, PgConnection, PgPool};
use system_tests::{Fault, Relay, Request, enqueue, until_within};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    delivered::{assert_keys_in_order, ids},
    scene::Scene,
};

const WRITERS: usize = 1_000;
const TRANSACTIONS_EACH: usize = 3;
/// The server has 200 connections for all the tests that run at once.
const CONNECTIONS: u32 = 60;
const KEYS: usize = 50;
const LONG_TRANSACTIONS_AT_ONCE: usize = 8;
const KILLS: usize = 6;
const LONGEST_TRANSACTION: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

/// What all writers share.
struct Load {
    pool: PgPool,
    committed: Mutex<HashSet<String>>,
    /// Transactions that ended, however.
    ended: watch::Sender<usize>,
    long: Semaphore,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writers_and_a_relay_killed_at_random_lose_nothing_and_keep_the_order() {
    let seed = std::env::var("ONCEBOX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().next_u64());
    eprintln!("to see this run again: ONCEBOX_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::fifo().await;
    // SQS itself is not what this is about: the proxy takes everything at once, but for some faults.
    for _ in 0..10_000 {
        let fault = match random.random_range(0..40) {
            0 => Fault::Status(503),
            1 => Fault::fail(|entry| entry.sequence.is_some_and(|n| n % 3 == 0)),
            2 => Fault::Throttled,
            _ => Fault::Swallow,
        };
        scene.proxy.inject(1, fault, Request::is_send);
    }
    scene.proxy.inject(usize::MAX, Fault::Swallow, Request::is_send);

    let load = Arc::new(Load {
        pool: scene.database.pool_of(CONNECTIONS).unwrap(),
        committed: Mutex::default(),
        ended: watch::Sender::new(0),
        long: Semaphore::new(LONG_TRANSACTIONS_AT_ONCE),
    });
    let writers = (0..WRITERS).map(|_| {
        let (load, random) = (load.clone(), StdRng::seed_from_u64(random.next_u64()));
        tokio::spawn(async move { write(&load, random).await })
    });
    let writers = tokio::spawn(join_all(writers.collect::<Vec<_>>()));

    let mut relay = scene.relay().await;
    for _ in 0..KILLS {
        relay = killed_and_started_again(&scene, relay, random.random_range(50..600)).await;
    }
    for writer in writers.await.unwrap() {
        writer.unwrap().unwrap();
    }

    let committed = load.committed.lock().unwrap().clone();
    until_within(LIMIT, "everything committed to be published", async || {
        let taken = ids(&scene.proxy.taken());
        let missing: Vec<&String> = committed.difference(&taken).collect();
        let Some(one) = missing.first() else { return Ok(()) };
        bail!(
            "{} of {} are missing, such as {}",
            missing.len(),
            committed.len(),
            describe(&scene, one).await?
        )
    })
    .await
    .unwrap();
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert!(committed.len() > WRITERS, "only {} events: no load", committed.len());
    assert_eq!(
        ids(&taken).difference(&committed).count(),
        0,
        "published without having been committed"
    );
    assert_keys_in_order(&taken);
    assert_eq!(relay.stop().await.unwrap().code, Some(0));
}

/// An event and the cursor that should be past it.
async fn describe(scene: &Scene, id: &str) -> Result<String> {
    let row = sqlx::query_scalar(
        "select jsonb_build_object('event', to_jsonb(e), 'cursor', to_jsonb(c))::text
           from oncebox.event e left join oncebox.cursor c on c.shard = e.bucket / 16 where e.id = $1::uuid",
    );
    let row: Option<String> = row.bind(id).fetch_optional(&scene.database.pool).await?;
    let sends = scene.proxy.sends();
    let asked = sends
        .iter()
        .filter(|send| send.entries.iter().any(|entry| entry.event_id == id))
        .count();
    Ok(format!(
        "{id}, sent {asked} times: {}",
        row.as_deref().unwrap_or("not in the log")
    ))
}

/// Lets the relay publish `more` messages, or whatever there is to publish, and kills it.
async fn killed_and_started_again(scene: &Scene, relay: Relay, more: usize) -> Relay {
    let goal = scene.proxy.taken().len() + more;
    until_within(LIMIT, "the moment to kill the relay", async || {
        let taken = scene.proxy.taken().len();
        ensure!(
            taken >= goal || scene.database.unpublished(super::scene::SINK).await? == 0,
            "{taken} of {goal}"
        );
        Ok(())
    })
    .await
    .unwrap();
    relay.kill().await.unwrap();
    scene.relay().await
}

async fn write(load: &Load, mut random: StdRng) -> Result<()> {
    for _ in 0..TRANSACTIONS_EACH {
        let done = match random.random_range(0..50) {
            0 => long_transaction(load, &mut random).await,
            _ => short_transaction(load, &mut random).await,
        };
        load.ended.send_modify(|ended| *ended += 1);
        done?;
    }
    Ok(())
}

async fn short_transaction(load: &Load, random: &mut StdRng) -> Result<()> {
    let mut keys: Vec<usize> = (0..random.random_range(1..4))
        .map(|_| random.random_range(0..KEYS))
        .collect();
    // Always in the same order, or Postgres ends a deadlock with an error.
    keys.sort_unstable();
    let mut transaction = load.pool.begin().await?;
    if random.random_bool(0.3) {
        take_transaction_id(&mut transaction).await?;
    }
    let mut written = Vec::new();
    for key in keys {
        let key = format!("key-{key}");
        if random.random_bool(0.25) {
            let mut savepoint = transaction.begin().await?;
            let id = enqueue(&mut savepoint, Some(&key)).await?;
            if random.random_bool(0.5) {
                savepoint.rollback().await?;
            } else {
                savepoint.commit().await?;
                written.push(id);
            }
        } else {
            let key = random.random_bool(0.9).then_some(key.as_str());
            written.push(enqueue(&mut transaction, key).await?);
        }
    }
    if random.random_bool(0.2) {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
        load.committed.lock().unwrap().extend(written);
    }
    Ok(())
}

/// Stays open while two hundred others end. Its key is its own: nobody waits for it.
async fn long_transaction(load: &Load, random: &mut StdRng) -> Result<()> {
    let _turn = load.long.acquire().await?;
    let mut transaction = load.pool.begin().await?;
    let key = format!("long-{}", random.next_u64());
    let mut written = vec![enqueue(&mut transaction, Some(&key)).await?];
    let mut ended = load.ended.subscribe();
    let goal = *ended.borrow() + 200;
    // The last ones would wait for each other.
    let _ = timeout(LONGEST_TRANSACTION, ended.wait_for(|ended| *ended >= goal)).await;
    written.push(enqueue(&mut transaction, Some(&key)).await?);
    transaction.commit().await?;
    load.committed.lock().unwrap().extend(written);
    Ok(())
}

async fn take_transaction_id(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("select pg_current_xact_id()").execute(connection).await?;
    Ok(())
}
