//! A sink that may lose and never repeats.

use anyhow::ensure;
use system_tests::{EVERYTHING, Fault, Moment, Relay, RelayConfig, Request, until};

use super::{
    delivered::duplicates,
    scene::{SINK, Scene},
};

fn config(scene: &Scene) -> RelayConfig {
    let lines = format!(
        "sqs = {{ queue = \"{}\" }}\nguarantee = \"at-most-once\"",
        scene.queue.name
    );
    RelayConfig::new(&scene.database)
        .sink_table(SINK, EVERYTHING, &lines)
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
}

#[tokio::test]
async fn without_faults_everything_arrives_once() {
    let scene = Scene::standard().await;
    let relay = Relay::start(&config(&scene)).await.unwrap();
    let committed = scene.database.enqueue_many(Some("a"), 40).await.unwrap();
    scene.published(&committed).await;
    assert_eq!(relay.stop().await.unwrap().code, Some(0));
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
}

#[tokio::test]
async fn the_cursor_moves_before_the_event_is_sent_so_a_kill_repeats_nothing() {
    let scene = Scene::standard().await;
    let relay = Relay::start(&config(&scene)).await.unwrap();
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let held = scene.database.enqueue(Some("a")).await.unwrap();
    gate.reached(1).await.unwrap();
    // It is at the target, nobody has confirmed it, and the cursor is past it.
    assert_eq!(scene.database.unpublished(SINK).await.unwrap(), 0);
    relay.kill().await.unwrap();
    gate.discard();
    let _relay = Relay::start(&config(&scene)).await.unwrap();
    let after = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&after).await;
    assert_eq!(scene.taken_ids().iter().filter(|id| **id == held).count(), 1);
}

#[tokio::test]
async fn a_lost_reply_is_counted_and_what_was_surely_not_taken_is_sent_again() {
    let scene = Scene::standard().await;
    let relay = Relay::start(&config(&scene)).await.unwrap();
    scene.proxy.inject(1, Fault::LoseReply, Request::is_send);
    let first = scene.database.enqueue(Some("a")).await.unwrap();
    until("the loss to be counted", async || {
        let dropped = relay.metric("oncebox_sink_dropped_total", SINK).await?;
        ensure!(dropped == 1.0, "{dropped}");
        Ok(())
    })
    .await
    .unwrap();
    scene.proxy.inject(2, Fault::Throttled, Request::is_send);
    let second = scene.database.enqueue(Some("a")).await.unwrap();
    scene.published(&[first, second]).await;
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
}

#[tokio::test]
async fn a_drain_sends_what_the_cursor_has_passed() {
    let scene = Scene::standard().await;
    let relay = Relay::start(&config(&scene)).await.unwrap();
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, Request::is_send);
    let committed = scene.database.enqueue_many(Some("a"), 400).await.unwrap();
    gate.reached(1).await.unwrap();
    relay.terminate().unwrap();
    gate.release();
    assert_eq!(relay.ended().await.unwrap().code, Some(0));
    let _relay = Relay::start(&config(&scene)).await.unwrap();
    scene.published(&committed).await;
    assert_eq!(duplicates(&scene.proxy.taken()), 0);
}
