//! Which transactions' events are published, and when.

use sqlx::{Connection as _, Executor as _, PgConnection};
use system_tests::{Database, enqueue};

use super::{
    delivered::{assert_keys_in_order, ids},
    scene::Scene,
};

/// Opens a transaction and makes Postgres give it an id.
async fn begin(connection: &mut PgConnection) {
    connection.execute("begin").await.unwrap();
    connection.execute("select pg_current_xact_id()").await.unwrap();
}

#[tokio::test]
async fn what_was_rolled_back_is_never_published() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    let mut connection = scene.database.connect().await.unwrap();

    let mut rolled_back = connection.begin().await.unwrap();
    let all_of_it = enqueue(&mut rolled_back, Some("a")).await.unwrap();
    rolled_back.rollback().await.unwrap();

    let mut transaction = connection.begin().await.unwrap();
    let before = enqueue(&mut transaction, Some("a")).await.unwrap();
    let mut savepoint = transaction.begin().await.unwrap();
    let part_of_it = enqueue(&mut savepoint, Some("a")).await.unwrap();
    savepoint.rollback().await.unwrap();
    let after = enqueue(&mut transaction, Some("a")).await.unwrap();
    transaction.commit().await.unwrap();

    scene.published(&[before.clone(), after.clone()]).await;
    scene.settled().await;
    let published = ids(&scene.proxy.taken());
    assert!(
        !published.contains(&all_of_it) && !published.contains(&part_of_it),
        "{published:?}"
    );
    assert_eq!(published, [before, after].into());
    assert_eq!(scene.sequences("a"), [1, 2], "a rollback must leave no gap");
}

#[tokio::test]
async fn what_commits_late_is_published_after_younger_events() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    let mut slow = scene.database.connect().await.unwrap();
    let mut slow = slow.begin().await.unwrap();
    let old = enqueue(&mut slow, Some("old")).await.unwrap();

    let young = scene.database.enqueue_many(Some("young"), 25).await.unwrap();
    scene.published(&young).await;
    // A second round, so that the cursor has moved past the younger ones.
    let younger = scene.database.enqueue_many(Some("young"), 25).await.unwrap();
    scene.published(&younger).await;
    assert!(!scene.taken_ids().contains(&old), "published before it was committed");

    slow.commit().await.unwrap();
    scene.published(&[old]).await;
}

#[tokio::test]
async fn what_commits_while_no_relay_runs_is_published_by_the_next_one() {
    let scene = Scene::standard().await;
    let relay = scene.relay().await;
    let mut slow = scene.database.connect().await.unwrap();
    let mut slow = slow.begin().await.unwrap();
    let old = enqueue(&mut slow, None).await.unwrap();
    let young = scene.database.enqueue_many(None, 5).await.unwrap();
    scene.published(&young).await;
    scene.settled().await;
    assert_eq!(relay.stop().await.unwrap().code, Some(0));

    slow.commit().await.unwrap();
    let _relay = scene.relay().await;
    scene.published(&[old]).await;
}

#[tokio::test]
async fn an_old_open_transaction_holds_nobody_up() {
    let scene = Scene::standard().await;
    let mut old = scene.database.connect().await.unwrap();
    begin(&mut old).await;
    let _relay = scene.relay().await;

    let committed = scene.database.enqueue_many(Some("a"), 30).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    old.execute("rollback").await.unwrap();
}

#[tokio::test]
async fn an_old_open_transaction_in_another_database_holds_nobody_up() {
    let scene = Scene::standard().await;
    let elsewhere = Database::create_empty(&scene.stack).await.unwrap();
    let mut old = elsewhere.connect().await.unwrap();
    begin(&mut old).await;
    let _relay = scene.relay().await;

    let committed = scene.database.enqueue_many(Some("a"), 30).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    old.execute("rollback").await.unwrap();
}

#[tokio::test]
async fn a_transaction_older_than_its_keys_predecessor_does_not_overtake_it() {
    let scene = Scene::fifo().await;
    let mut older = scene.database.connect().await.unwrap();
    // Its id is lower than the predecessor's, but its event comes second.
    begin(&mut older).await;
    let first = scene.database.enqueue_many(Some("k"), 12).await.unwrap();
    let second = enqueue(&mut older, Some("k")).await.unwrap();
    older.execute("commit").await.unwrap();

    let _relay = scene.relay().await;
    let late = scene.database.enqueue(Some("k")).await.unwrap();
    scene.published(&[first, vec![second, late]].concat()).await;
    assert_keys_in_order(&scene.proxy.taken());
}

/// Postgres' snapshots end at the last transaction that has *ended*: one that runs and has a higher
/// id is not even in their list. Its events may lie below the log's end at that moment.
#[tokio::test]
async fn a_running_transaction_above_the_snapshots_end_is_not_passed_by() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(None, 1).await.unwrap();
    let (mut low, mut high) = (
        scene.database.connect().await.unwrap(),
        scene.database.connect().await.unwrap(),
    );
    // Ids are given out for all databases, so other tests at work may spoil a round.
    for _ in 0..12 {
        scene.settled().await;
        begin(&mut low).await;
        begin(&mut high).await;
        committed.push(enqueue(&mut high, None).await.unwrap());
        another_look(&scene).await;
        // Now the snapshot's end moves up to the running one and no further.
        low.execute("commit").await.unwrap();
        another_look(&scene).await;
        high.execute("commit").await.unwrap();
        scene.published(&committed).await;
    }
}

/// Waits until the relay has looked at the log's end twice: once after this moment for sure.
async fn another_look(scene: &Scene) {
    let looks = "select query_start from pg_stat_activity
                  where datname = current_database() and query like '%oncebox.event_seq%' and pid <> pg_backend_pid()
                    and query_start > $1::timestamptz and state = 'idle' limit 1";
    for _ in 0..2 {
        let now: String = sqlx::query_scalar("select clock_timestamp()::text")
            .fetch_one(&scene.database.pool)
            .await
            .unwrap();
        system_tests::until("the relay to look at the log", async || {
            let look = sqlx::query(looks)
                .bind(&now)
                .fetch_optional(&scene.database.pool)
                .await?;
            anyhow::ensure!(look.is_some(), "not since {now}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
