//! A relay killed at each step of its loop, held there by a lock or at a gate.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use system_tests::{Entry, Fault, Moment, Relay, Request, until};

use super::Scene;
use crate::relay::delivered::{assert_keys_in_order, ids};

/// Locks what the relay's next step needs; let go of with the transaction.
async fn lock(scene: &Scene, statement: &'static str) -> Transaction<'static, Postgres> {
    let mut lock = scene.database.pool.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut *lock).await.unwrap();
    lock
}

/// Makes each update of a cursor that fulfils `when` wait, until the lock is let go of.
async fn hold_updates(scene: &Scene, when: &str) -> Transaction<'static, Postgres> {
    let trigger = format!(
        "create function public.hold() returns trigger language plpgsql as $$
           begin perform pg_advisory_xact_lock(1); return new; end $$;
         create trigger hold before update on oncebox.cursor for each row when ({when}) execute function public.hold()"
    );
    sqlx::raw_sql(AssertSqlSafe(trigger))
        .execute(&scene.database.pool)
        .await
        .unwrap();
    lock(scene, "select pg_advisory_xact_lock(1)").await
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
    until_parked(scene, 0).await;
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
async fn killed_while_it_takes_shards() {
    let scene = Scene::new().await;
    let first = scene.relay().await;
    let mut committed = scene.commit_some().await;
    scene.until_settled().await;
    assert_eq!(first.stop().await.unwrap().code, Some(0));
    committed.extend(scene.commit_some().await);
    let held = hold_updates(&scene, "new.epoch > old.epoch").await;
    let relay = Relay::spawn(&scene.config(&scene.proxy, 2, 16)).unwrap();
    // The beginning of a claim: what Postgres shows of a statement ends after 1,024 bytes.
    until_it_waits(&scene, "for key share").await;
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
    let held = hold_updates(&scene, "new.owner is null and old.owner is not null").await;
    let heir = Relay::spawn(&scene.config(&scene.proxy, 2, 16)).unwrap();
    until_it_waits(&scene, "set owner = null").await;
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

/// Refuses the first event of `key-1`, once.
fn refuse_once(scene: &Scene) {
    let is_first = |entry: &Entry| entry.key.as_deref() == Some("key-1") && entry.sequence == Some(1);
    scene
        .proxy
        .inject(1, Fault::refuse(is_first), move |request: &Request| {
            request.entries.iter().any(is_first)
        });
}

async fn until_parked(scene: &Scene, count: i64) {
    until(&format!("{count} events to be parked"), async || {
        let parked: i64 = sqlx::query_scalar("select count(*) from oncebox.parked")
            .fetch_one(&scene.database.pool)
            .await?;
        ensure!(parked == count, "{parked} are");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn killed_while_it_parks() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    refuse_once(&scene);
    let held = lock(&scene, "lock oncebox.parked in share row exclusive mode").await;
    let committed = scene.commit_some().await;
    until_it_waits(&scene, "insert into oncebox.parked").await;
    relay.kill().await.unwrap();
    held.rollback().await.unwrap();
    // Parked with the cursor or not at all: the cursor is before it, so it is sent again.
    until_parked(&scene, 0).await;
    assert_nothing_is_lost(&scene, committed).await;
}

/// A relay that has parked the two events of `key-1`, and all that was committed.
async fn parked(scene: &Scene) -> (Relay, Vec<String>) {
    let relay = scene.relay().await;
    refuse_once(scene);
    let committed = scene.commit_some().await;
    until_parked(scene, 2).await;
    scene.until_settled().await;
    (relay, committed)
}

const RETRY_ALL: &str = "update oncebox.parked set state = 'retry'";

#[tokio::test]
async fn killed_while_it_loads_what_is_to_be_sent_again() {
    let scene = Scene::new().await;
    let (relay, committed) = parked(&scene).await;
    let mut held = lock(&scene, "lock oncebox.parked in access exclusive mode").await;
    sqlx::query(RETRY_ALL).execute(&mut *held).await.unwrap();
    until_it_waits(&scene, "state = 'retry'").await;
    relay.kill().await.unwrap();
    held.commit().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_what_it_sends_again_is_on_its_way() {
    let scene = Scene::new().await;
    let (relay, committed) = parked(&scene).await;
    let gate = scene
        .proxy
        .hold(1, Moment::BeforeReply, |request| request.has_key("key-1"));
    sqlx::query(RETRY_ALL).execute(&scene.database.pool).await.unwrap();
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();
    gate.discard();
    assert_nothing_is_lost(&scene, committed).await;
}

#[tokio::test]
async fn killed_while_it_deletes_what_it_has_sent_again() {
    let scene = Scene::new().await;
    let (relay, committed) = parked(&scene).await;
    let gate = scene
        .proxy
        .hold(1, Moment::BeforeReply, |request| request.has_key("key-1"));
    sqlx::query(RETRY_ALL).execute(&scene.database.pool).await.unwrap();
    gate.reached(1).await.unwrap();
    let held = lock(&scene, "lock oncebox.parked in share row exclusive mode").await;
    gate.release();
    until_it_waits(&scene, "delete from oncebox.parked").await;
    relay.kill().await.unwrap();
    held.rollback().await.unwrap();
    assert_nothing_is_lost(&scene, committed).await;
}
