//! A relay killed at each step of its loop, held there by a lock or at a gate.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use system_tests::{Moment, Relay, Request, until};

use super::Scene;
use crate::relay::delivered::{assert_keys_in_order, ids};

/// Locks what the relay's next step needs; let go of with the transaction.
async fn lock(scene: &Scene, statement: &'static str) -> Transaction<'static, Postgres> {
    let mut lock = scene.database.pool.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut *lock).await.unwrap();
    lock
}

/// Waits until a statement with these words waits for the lock.
async fn until_it_waits(scene: &Scene, words: &str) {
    until(&format!("a statement with `{words}` to wait"), async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and position($1 in query) > 0",
        )
        .bind(words)
        .fetch_one(&scene.database.pool)
        .await?;
        ensure!(waiting > 0, "none");
        Ok(())
    })
    .await
    .unwrap();
}

/// Starts a relay anew and makes sure that all of `committed`, and what comes after, is published in
/// order.
async fn assert_nothing_is_lost(scene: &Scene, mut committed: Vec<String>) {
    let _relay = scene.relay().await;
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn killed_while_it_reads() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    let mut committed = scene.commit_some().await;
    scene.until_settled().await;
    // Written, and hidden before it commits: the relay's next page waits.
    let mut writer = scene.database.pool.begin().await.unwrap();
    committed.push(system_tests::enqueue(&mut writer, Some("key-1")).await.unwrap());
    sqlx::query("lock oncebox.event in access exclusive mode")
        .execute(&mut *writer)
        .await
        .unwrap();
    until_it_waits(&scene, "oncebox.event").await;
    relay.kill().await.unwrap();
    writer.commit().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_it_writes_its_cursor() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    scene.until_shares_are(&[16]).await;
    let held = lock(&scene, "select from oncebox.cursor for update").await;
    let committed = scene.commit_some().await;
    until_it_waits(&scene, "update oncebox.cursor").await;
    relay.kill().await.unwrap();
    held.rollback().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_it_renews_its_lease() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    let mut committed = scene.commit_some().await;
    let held = lock(&scene, "select from oncebox.relay for update").await;
    until_it_waits(&scene, "beat = beat + 1").await;
    committed.extend(scene.commit_some().await);
    relay.kill().await.unwrap();
    held.rollback().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_it_hands_over() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    scene.until_shares_are(&[16]).await;
    let committed = scene.commit_some().await;
    scene.until_settled().await;
    let held = lock(&scene, "select from oncebox.cursor for update").await;
    let heir = Relay::spawn(&scene.config(&scene.proxy, 2, 16)).unwrap();
    until_it_waits(&scene, "update oncebox.cursor").await;
    relay.kill().await.unwrap();
    held.rollback().await.unwrap();
    scene.until_shares_are(&[16]).await;
    heir.kill().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_it_drains() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let committed = scene.commit_some().await;
    gate.reached(1).await.unwrap();
    relay.terminate().unwrap();
    relay.said("relay stops").await.unwrap();
    relay.kill().await.unwrap();
    gate.discard();
    assert_nothing_is_lost(&scene, committed).await;
}
