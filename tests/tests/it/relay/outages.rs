//! The database goes away and comes back: the relay says what is wrong and goes on by itself.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection as _};
use system_tests::{Relay, Server, until};

use super::scene::{SINK, Scene};

/// Waits until /readyz says so with this reason.
pub(super) async fn not_ready(relay: &Relay, reason: &str) {
    until(&format!("/readyz to say `{reason}`"), async || {
        let (status, said) = relay.ask("/readyz").await?;
        ensure!(
            status == 503 && said.contains(SINK) && said.contains(reason),
            "{status}: {said}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

pub(super) async fn ready(relay: &Relay) {
    until("the relay to be ready", async || {
        let (status, said) = relay.ask("/readyz").await?;
        ensure!(status == 200, "{status}: {said}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_restart_of_the_database_is_survived_and_named() {
    let mut server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 5).await.unwrap();
    scene.published(&committed).await;
    for hard in [false, true] {
        if hard {
            server.crash().await.unwrap();
        } else {
            server.stop().await.unwrap();
        }
        not_ready(&relay, "database").await;
        server.launch(None).await.unwrap();
        ready(&relay).await;
        until("the pool to be back", async || {
            committed.extend(scene.database.enqueue_many(Some("a"), 5).await?);
            Ok(())
        })
        .await
        .unwrap();
        scene.published(&committed).await;
    }
    scene.settled().await;
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_statement_costs_copies_at_most() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let mut other = scene.database.connect().await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("lock table oncebox.cursor in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let committed = scene.database.enqueue_many(Some("a"), 5).await.unwrap();
    scene.published(&committed).await;
    until("the cursor's write to wait", async || {
        ensure!(scene.database.waiting_for_locks().await? > 0, "nobody waits");
        Ok(())
    })
    .await
    .unwrap();
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
        .execute(&scene.database.pool)
        .await
        .unwrap();
    relay.said("start again from its cursor").await.unwrap();
    lock.rollback().await.unwrap();
    scene.settled().await;
    ready(&relay).await;
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_named_once_and_waited_for() {
    let server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    let name = &scene.database.name;
    let alter = async |what: &str| {
        let mut connection = scene.database.connect().await.unwrap();
        for sql in [
            "set default_transaction_read_only = off".to_owned(),
            format!("alter database {name} {what}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    };
    alter("set default_transaction_read_only = on").await;
    scene.database.cut_connections_of_others().await.unwrap();
    not_ready(&relay, "takes no writes").await;
    alter("reset default_transaction_read_only").await;
    ready(&relay).await;
    let mut writer = scene.database.connect().await.unwrap();
    committed.push(system_tests::enqueue(&mut writer, Some("a")).await.unwrap());
    scene.published(&committed).await;
    let exit = relay.stop().await.unwrap();
    let told = exit
        .printed
        .lines()
        .filter(|line| line.contains("the sink stopped") && line.contains("takes no writes"))
        .count();
    assert_eq!(told, 1, "once per change, not once per attempt:\n{}", exit.printed);
}

/// No disk is filled: the server is not let write beyond a place in its files, so that its writes fail
/// with EFBIG where a full disk gives ENOSPC. What it does then is the same: the write-ahead log
/// cannot be written, so the server panics and does not come up again until there is room.
#[tokio::test]
async fn a_server_whose_disk_is_full_is_waited_for_until_there_is_room() {
    let mut server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let relay = scene.relay().await;
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    let written: i32 = sqlx::query_scalar("select file_offset from pg_walfile_name_offset(pg_current_wal_lsn())")
        .fetch_one(&scene.database.pool)
        .await
        .unwrap();
    server.stop().await.unwrap();
    let room = u64::try_from(written).unwrap().max(4_000_000) + 300_000;
    server.launch(Some(room)).await.unwrap();
    ready(&relay).await;
    // What is confirmed before the disk is full must arrive, what is not confirmed may.
    while let Ok(id) = scene.database.enqueue(Some("a")).await {
        committed.push(id);
    }
    not_ready(&relay, "database").await;
    assert!(server.log().contains("File too large"), "{}", server.log());
    server.crash().await.unwrap_or_default();
    server.launch(None).await.unwrap();
    ready(&relay).await;
    until("the pool to be back", async || {
        committed.push(scene.database.enqueue(Some("a")).await?);
        Ok(())
    })
    .await
    .unwrap();
    scene.published(&committed).await;
    scene.settled().await;
}
