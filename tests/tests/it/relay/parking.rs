//! What a target will never take is set aside with the followers of its key, and sent again on command.

use anyhow::ensure;
use system_tests::{Entry, Fault, Moment, Request, until};

use super::{
    delivered::{assert_keys_in_order, duplicates, ids},
    scene::{SINK, Scene},
};

/// A parked event: key, sequence, state, class, code, attempts.
type Parked = (Option<String>, Option<i64>, String, String, String, i64);

async fn parked(scene: &Scene) -> Vec<Parked> {
    sqlx::query_as("select key, key_seq, state, class, code, attempts from oncebox.parked where sink = $1 order by seq")
        .bind(SINK)
        .fetch_all(&scene.database.pool)
        .await
        .unwrap()
}

async fn until_parked(scene: &Scene, count: usize) -> Vec<Parked> {
    until(&format!("{count} events to be parked"), async || {
        let parked = parked(scene).await;
        ensure!(parked.len() == count, "{} are", parked.len());
        Ok(parked)
    })
    .await
    .unwrap()
}

/// What `outbox-relay parked retry --all` does.
async fn retry_all(scene: &Scene) {
    sqlx::query("update oncebox.parked set state = 'retry'")
        .execute(&scene.database.pool)
        .await
        .unwrap();
}

fn is(key: &'static str, sequence: i64) -> impl Fn(&Entry) -> bool + Clone + Send + Sync + 'static {
    move |entry| entry.key.as_deref() == Some(key) && entry.sequence == Some(sequence)
}

fn has(key: &'static str, sequence: i64) -> impl Fn(&Request) -> bool + Send + 'static {
    move |request| request.entries.iter().any(is(key, sequence))
}

fn parked_as(key: &str, sequence: i64, class: &str, code: &str, attempts: i64) -> Parked {
    (
        Some(key.to_owned()),
        Some(sequence),
        "parked".to_owned(),
        class.to_owned(),
        code.to_owned(),
        attempts,
    )
}

#[tokio::test]
async fn a_refused_event_is_parked_with_the_followers_of_its_key_and_all_others_go_on() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    scene
        .proxy
        .inject(usize::MAX, Fault::refuse(is("bad", 2)), has("bad", 2));
    let bad = scene.database.enqueue_many(Some("bad"), 4).await.unwrap();
    let good = scene.database.enqueue_many(Some("good"), 4).await.unwrap();
    scene.published(&[&bad[..1], &good].concat()).await;
    assert_eq!(
        until_parked(&scene, 3).await,
        [
            parked_as("bad", 2, "permanent", "InvalidMessageContents", 1),
            parked_as("bad", 3, "follows", "Follows", 0),
            parked_as("bad", 4, "follows", "Follows", 0),
        ]
    );
    // The cursor has passed them: they hold up nothing, and what comes later of the key waits with them.
    scene.settled().await;
    let later = scene.database.enqueue_many(Some("bad"), 2).await.unwrap();
    until_parked(&scene, 5).await;
    until("the metric to tell", async || {
        let told = relay.metric("oncebox_sink_parked", SINK).await?;
        ensure!(told == 5.0, "{told}");
        Ok(())
    })
    .await
    .unwrap();

    scene.proxy.heal();
    retry_all(&scene).await;
    scene.published(&[&bad[..], &later].concat()).await;
    until_parked(&scene, 0).await;
    let after = scene.database.enqueue_many(Some("bad"), 1).await.unwrap();
    scene.published(&after).await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(duplicates(&taken), 0);
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_committed_while_a_key_is_sent_again_comes_behind_it() {
    let scene = Scene::fifo().await;
    let _relay = scene.relay().await;
    scene.proxy.inject(1, Fault::refuse(is("k", 1)), has("k", 1));
    let mut committed = scene.database.enqueue_many(Some("k"), 30).await.unwrap();
    until_parked(&scene, 30).await;
    let gate = scene.proxy.hold(1, Moment::BeforeReply, has("k", 10));
    retry_all(&scene).await;
    gate.reached(1).await.unwrap();
    committed.extend(scene.database.enqueue_many(Some("k"), 10).await.unwrap());
    let other = scene.database.enqueue_many(Some("other"), 3).await.unwrap();
    scene.published(&other).await;
    gate.release();
    scene.published(&committed).await;
    until_parked(&scene, 0).await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(duplicates(&taken), 0);
}

#[tokio::test]
async fn what_is_refused_again_is_parked_again_with_its_followers_and_its_attempts_add_up() {
    let scene = Scene::fifo().await;
    let _relay = scene.relay().await;
    scene.proxy.inject(usize::MAX, Fault::refuse(is("k", 2)), has("k", 2));
    scene.database.enqueue_many(Some("k"), 3).await.unwrap();
    until_parked(&scene, 2).await;
    retry_all(&scene).await;
    until("the event to be refused again", async || {
        let parked = parked(&scene).await;
        let again = [
            parked_as("k", 2, "permanent", "InvalidMessageContents", 2),
            parked_as("k", 3, "follows", "Follows", 0),
        ];
        ensure!(parked == again, "{parked:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(scene.sequences("k"), [1], "nothing overtakes the refused event");
}

#[tokio::test]
async fn a_refused_request_parks_only_the_event_at_fault() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    // The target names no entry: the relay has to find out which one it means.
    scene.proxy.inject(usize::MAX, Fault::RefuseRequest, has("k", 5));
    let committed = scene.database.enqueue_many(Some("k"), 9).await.unwrap();
    let fine: Vec<String> = committed
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 4)
        .map(|(_, id)| id.clone())
        .collect();
    scene.published(&fine).await;
    let parked = until_parked(&scene, 1).await;
    assert_eq!(
        (parked[0].1, parked[0].4.as_str()),
        (Some(5), "InvalidParameterValue"),
        "no order, no followers"
    );
    scene.settled().await;
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
}

#[tokio::test]
async fn a_relay_killed_while_it_parks_loses_nothing_and_parks_nothing_twice() {
    let scene = Scene::fifo().await;
    scene.proxy.inject(
        usize::MAX,
        Fault::refuse(|entry| entry.sequence == Some(3)),
        |request: &Request| request.entries.iter().any(|entry| entry.sequence == Some(3)),
    );
    let mut committed = Vec::new();
    for round in 0..6 {
        let relay = scene.relay().await.quiet();
        let sent = scene.proxy.sends().len();
        for key in 0..4 {
            let key = format!("key-{round}-{key}");
            committed.extend(scene.database.enqueue_many(Some(&key), 5).await.unwrap());
        }
        // Killed at whatever step it is.
        until("a request or two", async || {
            ensure!(scene.proxy.sends().len() > sent + round % 3, "none yet");
            Ok(())
        })
        .await
        .unwrap();
        relay.kill().await.unwrap();
    }
    let _relay = scene.relay().await;
    scene.settled().await;
    let parked = until_parked(&scene, 6 * 4 * 3).await;
    assert_eq!(parked.iter().filter(|parked| parked.3 == "permanent").count(), 6 * 4);
    scene.proxy.heal();
    retry_all(&scene).await;
    scene.published(&committed).await;
    until_parked(&scene, 0).await;
    assert_keys_in_order(&scene.proxy.taken());
    assert_eq!(ids(&scene.proxy.taken()), committed.into_iter().collect());
}

#[tokio::test]
async fn a_new_holder_of_the_shard_sends_again_what_another_has_parked() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    scene.proxy.inject(1, Fault::refuse(is("k", 1)), has("k", 1));
    let committed = scene.database.enqueue_many(Some("k"), 3).await.unwrap();
    until_parked(&scene, 3).await;
    relay.stop().await.unwrap();
    let _relay = scene.relay().await;
    let more = scene.database.enqueue_many(Some("k"), 2).await.unwrap();
    until_parked(&scene, 5).await;
    retry_all(&scene).await;
    scene.published(&[committed, more].concat()).await;
    until_parked(&scene, 0).await;
    assert_keys_in_order(&scene.proxy.taken());
}
