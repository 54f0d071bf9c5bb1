//! Relays that vanish, and one that comes back.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::ensure;
use system_tests::{AwsProxy, Moment, Relay, Request, until, until_within};

use super::Scene;
use crate::relay::delivered::{assert_keys_in_order, ids};

#[tokio::test]
async fn a_killed_relays_shards_are_taken_over_and_nothing_is_lost() {
    let scene = Scene::new().await;
    let doomed = scene.relay().await;
    let heir = scene.relay().await;
    scene.until_shares_are(&[8, 8]).await;
    let gate = scene.proxy.hold(2, Moment::BeforeApplied, Request::is_send);
    let mut committed = scene.commit_some().await;
    gate.reached(1).await.unwrap();
    doomed.kill().await.unwrap();
    gate.discard();
    scene.until_shares_are(&[16]).await;
    heir.said("was silent for its whole lease").await.unwrap();
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

/// The promise itself, on real relays: measured from the kill to the last of the events that were
/// committed right after it, with what a busy machine may need on top.
#[tokio::test]
async fn a_killed_relays_shards_publish_again_within_the_lease() {
    const LEASE_SECS: u32 = 10;
    const BUSY_MACHINE: Duration = Duration::from_secs(4);
    let promised = Duration::from_secs(LEASE_SECS.into()) + BUSY_MACHINE;
    let scene = Scene::new().await;
    let config = scene.config(&scene.proxy, LEASE_SECS, 16);
    let doomed = Relay::start(&config).await.unwrap();
    let _heir = Relay::start(&config).await.unwrap();
    scene.until_shares_are(&[8, 8]).await;

    let killed_at = Instant::now();
    doomed.kill().await.unwrap();
    let committed: HashSet<String> = scene.commit_some().await.into_iter().collect();
    until_within(promised, "the killed relay's shards to publish again", async || {
        let missing = committed.difference(&ids(&scene.proxy.taken())).count();
        ensure!(missing == 0, "{missing} events are missing");
        Ok(())
    })
    .await
    .unwrap();
    println!("taken over after {:?}", killed_at.elapsed());
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn a_relay_that_was_stopped_for_longer_than_its_lease_sends_nothing_of_what_it_had() {
    let scene = Scene::new().await;
    // One request in flight: the rest waits in the relay's memory.
    let sleeper = Relay::start(&scene.config(&scene.proxy, 2, 1)).await.unwrap();
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let committed = scene.commit_some().await;
    gate.reached(1).await.unwrap();
    sleeper.pause().unwrap();
    gate.release();
    let sent = scene.proxy.sends().len();

    let own = AwsProxy::start(&scene.stack).await.unwrap();
    let heir = Relay::start(&scene.config(&own, 2, 16)).await.unwrap();
    heir.said("was silent for its whole lease").await.unwrap();
    scene.until_settled().await;
    let epochs = epochs(&scene).await;

    sleeper.go_on().unwrap();
    sleeper.said("it joins anew").await.unwrap();
    scene.until_shares_are(&[8, 8]).await;
    assert_eq!(
        scene.proxy.sends().len(),
        sent,
        "it had nothing to send that was still its own"
    );
    for (shard, before, now) in changes(&scene, &epochs).await {
        assert!(now > before, "shard {shard} was moved under the old epoch");
    }
    let published = [scene.proxy.taken(), own.taken()].concat();
    assert_eq!(ids(&published), committed.into_iter().collect());
    assert_keys_in_order(&published);
}

#[tokio::test]
async fn a_relay_that_cannot_reach_the_database_stops_before_others_may_begin() {
    let scene = Scene::new().await;
    let relay = Relay::start(&scene.config(&scene.proxy, 2, 1)).await.unwrap();
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    scene.commit_some().await;
    gate.reached(1).await.unwrap();
    // Its beats hang: the row is locked. Whatever it holds in memory must not be sent any more.
    let mut lock = scene.database.pool.begin().await.unwrap();
    sqlx::query("select from oncebox.relay for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    relay.said("cannot renew its lease").await.unwrap();
    let sent = scene.proxy.sends().len();
    gate.release();
    until("the relay to have tried again", async || {
        let waiting = scene.database.waiting_for_locks().await?;
        ensure!(waiting >= 1, "nobody waits");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(scene.proxy.sends().len(), sent, "no lease, no request");
    lock.rollback().await.unwrap();
    scene.until_settled().await;
    assert_keys_in_order(&scene.proxy.taken());
}

/// The epochs by shard.
async fn epochs(scene: &Scene) -> Vec<(i16, i64, String)> {
    sqlx::query_as("select shard, epoch, updated_at::text from oncebox.cursor order by shard")
        .fetch_all(&scene.database.pool)
        .await
        .unwrap()
}

/// The shards that were written since, with their epochs before and now.
async fn changes(scene: &Scene, before: &[(i16, i64, String)]) -> Vec<(i16, i64, i64)> {
    let now = epochs(scene).await;
    let pairs = before.iter().zip(now).filter(|(before, now)| before.2 != now.2);
    pairs.map(|(before, now)| (before.0, before.1, now.1)).collect()
}
