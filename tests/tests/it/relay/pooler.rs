//! Through a connection pooler in transaction mode.

use anyhow::ensure;
use sqlx::PgConnection;
use system_tests::{Pooler, Relay, Server, until};

use super::scene::Scene;

#[tokio::test]
async fn through_a_pooler_nothing_is_lost_or_repeated_and_cut_connections_do_not_matter() {
    let scene = Scene::fifo().await;
    let pooler = Pooler::start(&scene.database.url).await.unwrap();
    let config = scene.config().env("DATABASE_URL", pooler.url.as_str());
    let relay = Relay::start(&config).await.unwrap();
    let mut committed = Vec::new();
    for round in 0..6 {
        committed.extend(scene.database.enqueue_many(Some("a"), 20).await.unwrap());
        if round == 3 {
            assert!(scene.database.cut_connections_of_others().await.unwrap() > 0);
        }
        scene.published(&committed).await;
    }
    scene.settled().await;
    assert!(
        pooler.lost() > 0,
        "the pooler has replaced connections that the relay knew nothing of"
    );
    assert!(
        pooler.transactions() > 50,
        "{} transactions came through the pooler",
        pooler.transactions()
    );
    relay.stop().await.unwrap();
    let before = scene.taken_ids();
    let _relay = Relay::start(&config).await.unwrap();
    committed.extend(scene.database.enqueue_many(Some("a"), 5).await.unwrap());
    scene.published(&committed).await;
    assert_eq!(scene.taken_ids().len(), before.len() + 5, "the cursor was kept");
    let first_sent: Vec<i64> = (1..=125).collect();
    let mut seen = scene.sequences("a");
    let mut highest = 0;
    seen.retain(|sequence| {
        let is_first = *sequence > highest;
        highest = highest.max(*sequence);
        is_first
    });
    assert_eq!(seen, first_sent, "in order, whichever connection carried a statement");
}

#[tokio::test]
async fn a_crash_of_the_server_behind_a_pooler_ends_the_session() {
    let server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let pooler = Pooler::start(&scene.database.url).await.unwrap();
    let relay = Relay::start(&scene.config().env("DATABASE_URL", pooler.url.as_str()))
        .await
        .unwrap();
    let mut committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    scene.settled().await;
    // One process is killed; the postmaster lives on and recovers within a moment, so that only the
    // pooler sees connections break.
    let (victim, _connection) = server_process(&scene).await;
    server.kill_backend(victim).unwrap();
    relay.said("since this session began").await.unwrap();
    until("the database to be back", async || {
        committed.extend(scene.database.enqueue_many(Some("a"), 3).await?);
        Ok(())
    })
    .await
    .unwrap();
    scene.published(&committed).await;
    scene.settled().await;
}

/// A server process that serves nobody but this test, for as long as its connection is held.
async fn server_process(scene: &Scene) -> (i32, PgConnection) {
    let mut connection = scene.database.connect().await.unwrap();
    let process = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    (process, connection)
}

#[tokio::test]
async fn the_servers_life_changes_with_recovery_and_restart_and_with_nothing_else() {
    let mut server = Server::start().await.unwrap();
    let scene = Scene::fifo_on(&server).await;
    let life = async || -> anyhow::Result<String> {
        let mut connection = scene.database.connect().await?;
        Ok(sqlx::query_scalar("select oncebox.incarnation()")
            .fetch_one(&mut connection)
            .await?)
    };
    let first = life().await.unwrap();
    sqlx::query("checkpoint").execute(&scene.database.pool).await.unwrap();
    scene.database.enqueue_many(None, 5).await.unwrap();
    assert_eq!(life().await.unwrap(), first);
    let (victim, _connection) = server_process(&scene).await;
    server.kill_backend(victim).unwrap();
    let second = until("the server to have recovered", async || {
        let second = life().await?;
        ensure!(second != first, "still the first life");
        Ok(second)
    })
    .await
    .unwrap();
    server.stop().await.unwrap();
    server.launch(None).await.unwrap();
    assert_ne!(life().await.unwrap(), second);
}
