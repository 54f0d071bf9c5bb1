//! More relays than shards, and rows that relays have left behind.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use system_tests::{Database, Stack, until};

use super::light::{LightRelay, Target};

const LEASE: Duration = Duration::from_secs(10);

async fn database() -> Database {
    Database::create(&Stack::from_env().await.unwrap()).await.unwrap()
}

/// Who owns the shards of a sink, each owner once.
async fn owners(database: &Database, sink: &str) -> BTreeSet<String> {
    let owners: Vec<String> =
        sqlx::query_scalar("select distinct owner from oncebox.cursor where sink = $1 and owner is not null")
            .bind(sink)
            .fetch_all(&database.pool)
            .await
            .unwrap();
    owners.into_iter().collect()
}

async fn until_all_shards_are_held_by(database: &Database, sink: &str, relays: usize, among: &BTreeSet<String>) {
    until(&format!("{relays} relays to hold all shards of {sink}"), async || {
        let free: i64 = sqlx::query_scalar("select count(*) from oncebox.cursor where sink = $1 and owner is null")
            .bind(sink)
            .fetch_one(&database.pool)
            .await?;
        let owners = owners(database, sink).await;
        ensure!(free == 0, "{free} are free");
        ensure!(
            owners.len() == relays && owners.is_subset(among),
            "they are held by {owners:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

fn ids(relays: &[LightRelay]) -> BTreeSet<String> {
    relays.iter().map(|relay| relay.id().unwrap()).collect()
}

#[tokio::test]
async fn relays_without_a_shard_stand_by_ready_and_take_over() {
    let (database, target) = (database().await, Target::default());
    let mut relays: Vec<LightRelay> = (0..18)
        .map(|_| LightRelay::start(&database.url, "all", &target, LEASE))
        .collect();
    for relay in &relays {
        relay.until_ready().await;
    }
    until_all_shards_are_held_by(&database, "all", 16, &ids(&relays)).await;

    // Two that hold a shard die: those that stood by hold one now.
    let working = owners(&database, "all").await;
    for _ in 0..2 {
        let dies = relays.iter().position(|relay| working.contains(&relay.id().unwrap()));
        drop(relays.remove(dies.unwrap()));
    }
    until_all_shards_are_held_by(&database, "all", 16, &ids(&relays)).await;
    let committed = database.enqueue_many(None, 64).await.unwrap();
    target.until_confirmed(&committed).await;
}

#[tokio::test]
async fn rows_of_dead_relays_vanish_whatever_their_sinks_and_take_no_share() {
    let (database, target) = (database().await, Target::default());
    // A relay of another sink is all that lives. The dead held shards, or never had any.
    let other = LightRelay::start(&database.url, "other", &target, LEASE);
    other.until_ready().await;
    for statement in [
        "insert into oncebox.cursor (sink, shard, base, base_next_xid, base_seq, base_open_floor, base_floors, position, owner)
         select 'all', shard, '1:1:', 1, 0, 0, '{}', 0, 'held' from generate_series(0, 15) shard",
        "insert into oncebox.relay (id, sinks, beat, term_ms)
         values ('held', '{all}', 7, 300), ('idle', '{all}', 0, 300), ('nothing', '{}', 3, 300)",
    ] {
        sqlx::query(statement).execute(&database.pool).await.unwrap();
    }
    until("the living relay to be alone on the list", async || {
        let listed: Vec<String> = sqlx::query_scalar("select id from oncebox.relay")
            .fetch_all(&database.pool)
            .await?;
        ensure!(Some(&listed) == other.id().map(|id| vec![id]).as_ref(), "{listed:?}");
        Ok(())
    })
    .await
    .unwrap();
    let first = LightRelay::start(&database.url, "all", &target, LEASE);
    first.until_ready().await;
    until_all_shards_are_held_by(&database, "all", 1, &ids(&[first])).await;
}
