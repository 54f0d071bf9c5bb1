//! Statements that hang: ended by the relay's own limits, named in /readyz, and gone on from.

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Postgres, Transaction};
use system_tests::{Relay, Server, until};

use super::{
    delivered::{assert_keys_in_order, ids},
    outages::{not_ready, ready},
    scene::Scene,
};

async fn begin(scene: &Scene) -> Transaction<'static, Postgres> {
    scene.database.pool.begin().await.unwrap()
}

/// The trouble is over: everything is published, in order, and by the same process.
async fn goes_on(scene: &Scene, relay: Relay, mut committed: Vec<String>) {
    ready(&relay).await;
    committed.extend(scene.database.enqueue_many(Some("a"), 3).await.unwrap());
    scene.published(&committed).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(relay.stop().await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_lock_on_the_cursors_is_named_and_waited_for() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    let mut lock = begin(&scene).await;
    sqlx::query("lock oncebox.cursor in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    committed.extend(scene.database.enqueue_many(Some("a"), 3).await.unwrap());
    not_ready(&relay, "a lock was not free in time").await;
    committed.extend(scene.database.enqueue_many(Some("b"), 3).await.unwrap());
    lock.rollback().await.unwrap();
    goes_on(&scene, relay, committed).await;
}

#[tokio::test]
async fn a_lock_on_the_log_is_named_and_waited_for() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    let mut lock = begin(&scene).await;
    committed.push(system_tests::enqueue(&mut lock, Some("a")).await.unwrap());
    sqlx::query("lock oncebox.event in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    not_ready(&relay, "a lock was not free in time").await;
    // It tries again, and that it has a connection and its shards does not make it ready.
    let waits = async || -> anyhow::Result<()> {
        ensure!(scene.database.waiting_for_locks().await? > 0, "nobody waits");
        Ok(())
    };
    until("the relay to wait for the log again", waits).await.unwrap();
    let (status, said) = relay.ask("/readyz").await.unwrap();
    assert!(
        status == 503 && said.contains("a lock was not free in time"),
        "{status}: {said}"
    );
    lock.commit().await.unwrap();
    goes_on(&scene, relay, committed).await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_server_and_named() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    // An hour for each write of a cursor's place.
    sqlx::raw_sql(
        "create function public.stall() returns trigger language plpgsql as $$
           begin perform pg_sleep(3600); return new; end $$;
         create trigger stall before update of position on oncebox.cursor
         for each statement execute function public.stall()",
    )
    .execute(&scene.database.pool)
    .await
    .unwrap();
    committed.extend(scene.database.enqueue_many(Some("a"), 3).await.unwrap());
    not_ready(&relay, "a statement took longer than 25 s").await;
    sqlx::raw_sql("set lock_timeout = '30s'; drop trigger stall on oncebox.cursor")
        .execute(&mut scene.database.connect().await.unwrap())
        .await
        .unwrap();
    goes_on(&scene, relay, committed).await;
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_named() {
    let server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    let backends: Vec<i32> = sqlx::query_scalar(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'outbox-relay'",
    )
    .fetch_all(&scene.database.pool)
    .await
    .unwrap();
    let signal = |signal: Signal| {
        for backend in &backends {
            kill_process(Pid::from_raw(*backend).unwrap(), signal).unwrap();
        }
    };
    signal(Signal::STOP);
    // Its other connections are as before: only those that it has stand still.
    committed.extend(scene.database.enqueue_many(Some("a"), 3).await.unwrap());
    relay.said("no answer within 30 s").await.unwrap();
    signal(Signal::CONT);
    goes_on(&scene, relay, committed).await;
}
