//! The relay killed by SIGKILL, each time at an exact moment.

use system_tests::Moment;

use super::{
    delivered::{assert_keys_in_order, duplicates, ids},
    scene::Scene,
};

/// Five events for each of four keys, in turn.
async fn commit_some(scene: &Scene) -> Vec<String> {
    let mut committed = Vec::new();
    for _ in 0..5 {
        for key in ["a", "b", "c", "d"] {
            committed.push(scene.database.enqueue(Some(key)).await.unwrap());
        }
    }
    committed
}

#[tokio::test]
async fn killed_before_its_request_is_applied_it_loses_nothing() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, |request| request.is_send());
    let committed = commit_some(&scene).await;
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();
    gate.discard();
    scene.proxy.heal();
    assert_eq!(scene.proxy.taken(), [], "nothing may have arrived yet");

    let _relay = scene.relay().await;
    scene.published(&committed).await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert_eq!(duplicates(&taken), 0, "what never arrived cannot come twice");
}

#[tokio::test]
async fn killed_between_send_and_cursor_it_repeats_only_what_was_sent() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeReply, |request| request.is_send());
    let committed = commit_some(&scene).await;
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();
    gate.discard();
    scene.proxy.heal();
    let sent_before = scene.proxy.taken().len();
    assert!(sent_before > 0, "the held request was applied");

    let _relay = scene.relay().await;
    scene.published(&committed).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert!(duplicates(&taken) <= sent_before, "{} copies of {sent_before} events", duplicates(&taken));
}

#[tokio::test]
async fn what_a_killed_relay_had_handed_over_may_arrive_late_and_is_then_a_duplicate() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(1, Moment::BeforeApplied, |request| request.is_send());
    let first = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();

    let _relay = scene.relay().await;
    let later = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&[first, later].concat()).await;
    gate.release();
    // SQS FIFO drops the latecomers by their deduplication id: six messages, in order.
    let messages = scene.queue.take(6).await.unwrap();
    let sequences: Vec<i64> = messages.iter().map(|m| m.envelope().unwrap().sequence.unwrap().get()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn killed_after_its_cursor_moved_it_repeats_nothing() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let before = commit_some(&scene).await;
    scene.published(&before).await;
    scene.settled().await;
    relay.kill().await.unwrap();

    let _relay = scene.relay().await;
    let after = commit_some(&scene).await;
    scene.published(&after).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), before.into_iter().chain(after).collect());
    assert_eq!(duplicates(&taken), 0);
}
