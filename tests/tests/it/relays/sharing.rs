//! Relays that come and go in peace.

use anyhow::ensure;
use system_tests::{Moment, Queue, Relay, Request, until};

use super::{SINK, Scene};
use crate::relay::delivered::{assert_keys_in_order, duplicates, ids};

#[tokio::test]
async fn relays_that_join_and_leave_share_the_shards_evenly_and_publish_everything_once() {
    let scene = Scene::new().await;
    let first = scene.relay().await;
    scene.until_shares_are(&[16]).await;
    let mut committed = scene.commit_some().await;

    let second = scene.relay().await;
    let third = scene.relay().await;
    scene.until_shares_are(&[5, 5, 6]).await;
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;

    // Who leaves frees its shards at once: nobody is declared dead.
    assert_eq!(first.stop().await.unwrap().code, Some(0));
    scene.until_shares_are(&[8, 8]).await;
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;
    let ended = second.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.printed.contains("was silent for"), "{}", ended.printed);
    scene.until_shares_are(&[16]).await;
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;
    drop(third);

    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(duplicates(&taken), 0, "a hand-over drains first");
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn shards_are_handed_over_only_when_their_requests_are_answered() {
    let scene = Scene::new().await;
    let config = scene.config(&scene.proxy, 60, 16);
    let first = Relay::start(&config).await.unwrap();
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeReply, Request::is_send);
    let mut committed = scene.commit_some().await;
    gate.reached(1).await.unwrap();

    let second = Relay::spawn(&config).unwrap();
    // It has seen the first one's shards several times over and taken none.
    until("the second relay to have looked round", async || {
        let beats: i64 = sqlx::query_scalar("select coalesce(min(beat), 0) from oncebox.relay having count(*) = 2")
            .fetch_optional(&scene.database.pool)
            .await?
            .unwrap_or(0);
        ensure!(beats >= 3, "{beats} beats");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(scene.shares().await, [0, 16]);
    assert!(
        scene.proxy.taken().len() <= 12,
        "a key's second event waits for the answer to its first"
    );

    gate.release();
    scene.until_shares_are(&[8, 8]).await;
    committed.extend(scene.commit_some().await);
    scene.until_settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(duplicates(&taken), 0);
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
    drop((first, second));
}

#[tokio::test]
async fn a_relay_holds_shards_only_of_the_sinks_that_it_has() {
    let scene = Scene::new().await;
    let other = Queue::standard(&scene.stack).await.unwrap();
    let both = scene
        .config(&scene.proxy, 2, 16)
        .sink("other", "{ type = \"none.*\" }", &other);
    let _both = Relay::start(&both).await.unwrap();
    let _one = scene.relay().await;
    until("the shared sink to be shared and the other not", async || {
        let held: Vec<(String, i64)> = sqlx::query_as(
            "select sink, count(*) from oncebox.cursor where owner is not null group by sink, owner order by sink, 2",
        )
        .fetch_all(&scene.database.pool)
        .await?;
        let expected = [(SINK.to_owned(), 8), (SINK.to_owned(), 8), ("other".to_owned(), 16)];
        ensure!(held == expected, "{held:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn somebody_elses_move_of_a_cursor_is_followed_by_its_holder() {
    let scene = Scene::new().await;
    let relay = scene.relay().await;
    let committed = scene.commit_some().await;
    scene.until_settled().await;
    // What `cursor reset --to beginning` does: the place is moved, the epoch raised, the owner kept.
    sqlx::query(
        "update oncebox.cursor set epoch = epoch + 1, base = '1:1:', base_next_xid = 1, base_seq = 0, base_open_floor = 0,
                base_floors = '{}', target = null, target_next_xid = null, target_seq = null, target_high = null, position = 0",
    )
    .execute(&scene.database.pool)
    .await
    .unwrap();
    until("everything to be published again", async || {
        let copies = duplicates(&scene.proxy.taken());
        ensure!(copies == committed.len(), "{copies} of {}", committed.len());
        Ok(())
    })
    .await
    .unwrap();
    scene.until_settled().await;
    assert_keys_in_order(&scene.proxy.taken());
    assert_eq!(relay.stop().await.unwrap().code, Some(0), "the same process goes on");
}
