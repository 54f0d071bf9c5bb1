//! EventBridge event buses.

use oncebox_envelope::RawEnvelope;
use serde_json::Value;
use system_tests::{Bus, Fault, Queue, Request};

use super::scene::{Scene, has, times_sent};

const EVENTS: &str = r#"{ "detail-type": ["test.happened.v1"], "detail": { "kind": ["event"] } }"#;

#[tokio::test]
async fn a_bus_matches_on_the_envelope_and_hands_it_on_as_the_detail() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVENTS, &queue).await.unwrap();
    let _relay = scene
        .relay(&format!("eventbridge = {{ bus = \"{}\" }}", bus.name))
        .await;
    let id = scene.database.enqueue(Some("k")).await.unwrap();
    let message = queue.take(1).await.unwrap().remove(0);
    let event: Value = serde_json::from_str(&message.body).unwrap();
    let envelope = RawEnvelope::from_json(event["detail"].to_string().as_bytes()).unwrap();
    assert_eq!(envelope.id.to_string(), id);
    assert_eq!(event["detail-type"], "test.happened.v1");
    assert_eq!(event["source"], envelope.source.as_str());
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(time.as_second(), envelope.time.as_second(), "the event's own time");
}

#[tokio::test]
async fn a_failed_entry_of_a_bus_is_sent_again_alone() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVENTS, &queue).await.unwrap();
    let failed = Fault::fail(|entry| entry.sequence == Some(3));
    scene.proxy.inject(2, failed, has(3));
    let first = scene.database.enqueue_many(Some("k"), 4).await.unwrap();
    let _relay = scene.relay(&format!("eventbridge = {{ bus = \"{}\" }}", bus.arn)).await;
    scene.taken(&first).await;
    let unmentioned = Fault::forget(|entry| entry.sequence == Some(7));
    scene.proxy.inject(1, unmentioned, has(7));
    let second = scene.database.enqueue_many(Some("k"), 4).await.unwrap();
    let ids = [first, second].concat();
    let taken = scene.taken(&ids).await;
    scene.settled().await;
    assert_eq!(taken.len(), 8, "nothing twice");
    assert_eq!(times_sent(&scene.proxy, &ids), [1, 1, 3, 1, 1, 1, 2, 1]);
    assert_eq!(queue.take(8).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_bus_that_throttles_or_fails_delays_and_loses_nothing() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVENTS, &queue).await.unwrap();
    for fault in [Fault::Throttled, Fault::Status(500), Fault::LoseReply] {
        scene.proxy.inject(1, fault, Request::is_send);
    }
    let ids = scene.database.enqueue_many(None, 5).await.unwrap();
    let _relay = scene
        .relay(&format!("eventbridge = {{ bus = \"{}\" }}", bus.name))
        .await;
    scene.taken(&ids).await;
    scene.settled().await;
    assert!(scene.proxy.sends().len() > 3, "the faults did not happen");
}
