//! What SQS may answer, and the network may do.

use system_tests::{Fault, Request};

use super::{
    delivered::{assert_keys_in_order, duplicates, ids},
    scene::{SINK, Scene},
};

async fn commit_some(scene: &Scene) -> Vec<String> {
    let a = scene.database.enqueue_many(Some("a"), 8).await.unwrap();
    let b = scene.database.enqueue_many(Some("b"), 8).await.unwrap();
    [a, b].concat()
}

/// Commits events while SQS does `fault` to the first three sends; all must arrive, in order.
async fn survives(scene: &Scene, fault: Fault) {
    let relay = scene.relay().await;
    scene.proxy.inject(3, fault, Request::is_send);
    let committed = commit_some(scene).await;
    scene.published(&committed).await;
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.into_iter().collect());
    assert!(scene.proxy.sends().len() > 3, "the faults did not happen");
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
    drop(relay);
}

#[tokio::test]
async fn a_server_error_of_sqs_delays_and_loses_nothing() {
    let scene = Scene::fifo().await;
    survives(&scene, Fault::Status(500)).await;
    assert_eq!(duplicates(&scene.proxy.taken()), 0, "what SQS refused was not applied");
}

#[tokio::test]
async fn sqs_being_unavailable_delays_and_loses_nothing() {
    let scene = Scene::fifo().await;
    survives(&scene, Fault::Status(503)).await;
}

#[tokio::test]
async fn throttling_delays_and_loses_nothing() {
    let scene = Scene::fifo().await;
    survives(&scene, Fault::Throttled).await;
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
}

#[tokio::test]
async fn a_reply_that_is_lost_after_it_was_applied_costs_copies_and_nothing_else() {
    let scene = Scene::fifo().await;
    survives(&scene, Fault::LoseReply).await;
    assert!(
        duplicates(&scene.proxy.taken()) > 0,
        "the lost replies made no difference: were they lost?"
    );
    let messages = scene.queue.take(16).await.unwrap();
    assert_eq!(messages.len(), 16, "FIFO drops the copies by their deduplication id");
}

#[tokio::test]
async fn a_failed_entry_in_a_200_is_sent_again() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    scene.proxy.inject(
        2,
        Fault::fail(|entry| entry.sequence.is_some_and(|n| n % 3 == 0)),
        Request::is_send,
    );
    let committed = commit_some(&scene).await;
    scene.published(&committed).await;
    scene.settled().await;
    assert_eq!(ids(&scene.proxy.taken()), committed.into_iter().collect());
    assert_eq!(
        duplicates(&scene.proxy.taken()),
        0,
        "only the failed entries are to be sent again"
    );
}

#[tokio::test]
async fn an_entry_that_a_200_does_not_mention_is_sent_again() {
    let scene = Scene::standard().await;
    let _relay = scene.relay().await;
    scene.proxy.inject(
        2,
        Fault::forget(|entry| entry.sequence.is_some_and(|n| n % 2 == 0)),
        Request::is_send,
    );
    let committed = commit_some(&scene).await;
    scene.published(&committed).await;
    scene.settled().await;
    assert_eq!(ids(&scene.proxy.taken()), committed.into_iter().collect());
}

#[tokio::test]
async fn a_failed_fifo_entry_holds_up_its_key_and_no_other() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let third_of_a = |entry: &system_tests::Entry| entry.key.as_deref() == Some("a") && entry.sequence == Some(3);
    scene.proxy.inject(usize::MAX, Fault::fail(third_of_a), move |request| {
        request.entries.iter().any(third_of_a)
    });
    let a = scene.database.enqueue_many(Some("a"), 12).await.unwrap();
    let b = scene.database.enqueue_many(Some("b"), 12).await.unwrap();

    scene.published(&b).await;
    scene.published(&a[..2]).await;
    let more_of_b = scene.database.enqueue_many(Some("b"), 3).await.unwrap();
    scene.published(&more_of_b).await;
    assert_eq!(
        scene.sequences("a"),
        [1, 2],
        "nothing of a key may overtake its failed event"
    );
    assert!(relay.metric("oncebox_sink_failed_total", SINK).await.unwrap() > 0.0);

    scene.proxy.heal();
    scene.published(&a).await;
    assert_keys_in_order(&scene.proxy.taken());
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cut_connection_to_postgres_is_made_anew() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(1, system_tests::Moment::BeforeReply, Request::is_send);
    let before = scene.database.enqueue_many(Some("a"), 4).await.unwrap();
    gate.reached(1).await.unwrap();
    assert!(
        scene.database.cut_connections_of_others().await.unwrap() > 0,
        "the relay had no connection"
    );
    gate.release();

    let after = commit_some(&scene).await;
    scene.published(&[before, after].concat()).await;
    scene.settled().await;
    assert_keys_in_order(&scene.proxy.taken());
    assert_eq!(
        relay.stop().await.unwrap().code,
        Some(0),
        "it is still the same process"
    );
}
