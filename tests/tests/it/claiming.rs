//! Taking cursors over while somebody else has to do with them.

use anyhow::ensure;
use outbox_relay::{
    database::statement::statement,
    log::{
        page,
        store::{self, Start},
    },
};
use sqlx::{Postgres, Transaction};
use system_tests::{Database, Stack, until};

use crate::claims::{claim_all, session};

const SINK: &str = "tap";

async fn database() -> Database {
    Database::create(&Stack::from_env().await.unwrap()).await.unwrap()
}

/// All shards in falling order, with their epochs.
async fn shards(database: &Database) -> Vec<(i16, i64)> {
    sqlx::query_as("select shard, epoch from oncebox.cursor order by shard desc")
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

/// Holds the lock of one shard's cursor.
async fn hold(database: &Database, shard: i16) -> Transaction<'static, Postgres> {
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("select from oncebox.cursor where shard = $1 for update")
        .bind(shard)
        .execute(&mut *lock)
        .await
        .unwrap();
    lock
}

async fn until_somebody_waits(database: &Database) {
    until("a statement to wait for the lock", async || {
        let waiting = database.waiting_for_locks().await?;
        ensure!(waiting == 1, "{waiting} wait");
        Ok(())
    })
    .await
    .unwrap();
}

/// Runs a statement that must not wait for a lock; tells whether it would have had to.
async fn has_to_wait(database: &Database, sql: &'static str) -> bool {
    let mut transaction = database.pool.begin().await.unwrap();
    let mut run = async |sql: &'static str| sqlx::query(sql).execute(&mut *transaction).await;
    run("set local lock_timeout = '100ms'").await.unwrap();
    match run(sql).await {
        Ok(done) => {
            assert!(done.rows_affected() > 0, "`{sql}` found nothing");
            false
        }
        Err(error) => {
            let code = error
                .as_database_error()
                .and_then(|error| error.code().map(String::from));
            assert_eq!(code.as_deref(), Some("55P03"), "{error}");
            true
        }
    }
}

#[tokio::test]
async fn a_claim_that_waits_lets_its_relays_beat_pass_and_keeps_others_from_declaring_it_dead() {
    let database = database().await;
    let mut claimer = session(&database).await;
    claim_all(&mut claimer, SINK, "me", Start::Beginning).await;
    let lock = hold(&database, 3).await;
    let wanted = shards(&database).await;
    let claiming = tokio::spawn(async move { store::claim(&mut claimer, SINK, "me", &wanted).await });
    until_somebody_waits(&database).await;
    assert!(
        !has_to_wait(
            &database,
            "update oncebox.relay set beat = beat + 1, beat_at = now() where id = 'me'"
        )
        .await
    );
    assert!(has_to_wait(&database, "delete from oncebox.relay where id = 'me'").await);
    lock.rollback().await.unwrap();
    let claims = claiming.await.unwrap().unwrap();
    assert_eq!(claims.iter().map(|claim| claim.shards.len()).sum::<usize>(), 16);
}

#[tokio::test]
async fn claims_and_releases_lock_cursors_in_the_order_of_their_shards() {
    let database = database().await;
    let mut claimer = session(&database).await;
    claim_all(&mut claimer, SINK, "me", Start::Beginning).await;
    // Neither the order in which shards are named nor that of the table's rows may count.
    sqlx::query("update oncebox.cursor set updated_at = now() where shard < 4")
        .execute(&database.pool)
        .await
        .unwrap();
    let last_is_free = "update oncebox.cursor set updated_at = now() where shard = 15";
    for releases in [false, true] {
        let lock = hold(&database, 0).await;
        let named = shards(&database).await;
        let mut session = session(&database).await;
        let working = tokio::spawn(async move {
            if releases {
                store::release(&mut session, SINK, &named).await.unwrap();
            } else {
                store::claim(&mut session, SINK, "me", &named).await.unwrap();
            }
        });
        until_somebody_waits(&database).await;
        let waits = has_to_wait(&database, last_is_free).await;
        lock.rollback().await.unwrap();
        working.await.unwrap();
        assert!(!waits, "releases: {releases}: shard 15 was locked before shard 0");
    }
}

#[tokio::test]
async fn a_cursor_that_moves_while_it_is_claimed_is_not_taken_for_another_databases() {
    let database = database().await;
    let mut claimer = session(&database).await;
    claim_all(&mut claimer, SINK, "me", Start::Beginning).await;
    let mut lock = hold(&database, 3).await;
    let wanted = shards(&database).await;
    let claiming = tokio::spawn(async move { store::claim(&mut claimer, SINK, "me", &wanted).await });
    until_somebody_waits(&database).await;
    // The claim has looked at the log's end already. Whoever had the shard moves its cursor on.
    for _ in 0..3 {
        database.enqueue(None).await.unwrap();
    }
    let mut looker = session(&database).await;
    let now = page::look(&mut looker, 0).await.unwrap();
    sqlx::query(
        "update oncebox.cursor set base = $1::pg_snapshot, base_next_xid = $2, base_seq = $3, base_floors = $4
         where shard = 3",
    )
    .bind(now.snapshot.to_string())
    .bind(now.next_xid)
    .bind(now.seq_after)
    .bind(vec![0_i64; now.snapshot.xip().len()])
    .execute(&mut *lock)
    .await
    .unwrap();
    lock.commit().await.unwrap();
    let claims = claiming.await.unwrap().unwrap();
    assert_eq!(claims.iter().map(|claim| claim.shards.len()).sum::<usize>(), 16);
    let moved = claims.iter().find(|claim| claim.place.base.next_xid == now.next_xid);
    assert_eq!(moved.unwrap().shards[0].0, 3);

    // What really lies ahead is refused, and nothing is claimed.
    statement("update oncebox.cursor set base_next_xid = base_next_xid + 1000000")
        .execute(&mut looker)
        .await
        .unwrap();
    let before = shards(&database).await;
    let refused = store::claim(&mut looker, SINK, "me", &before).await;
    assert!(matches!(refused, Err(store::StoreError::Ahead { .. })), "{refused:?}");
    assert_eq!(shards(&database).await, before);
}
