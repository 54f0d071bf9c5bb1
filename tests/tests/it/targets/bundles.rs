//! Bundles on topics, and how large they may be.

use std::collections::{HashMap, HashSet};

use anyhow::ensure;
use system_tests::{Fault, Message, Queue, Request, Topic, until};

use super::scene::{SINK, Scene};
use crate::relay::bundles::events;

/// Takes messages until `count` events have come.
async fn take(queue: &Queue, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    until(&format!("{count} events to come"), async || {
        messages.extend(queue.take_batch().await?);
        let come: usize = messages.iter().map(|message| events(message).len()).sum();
        ensure!(come >= count, "{come} so far");
        Ok(())
    })
    .await
    .unwrap();
    messages
}

fn ids(messages: &[Message]) -> HashSet<String> {
    messages.iter().flat_map(events).map(|event| event.0).collect()
}

#[tokio::test]
async fn bundles_on_a_fifo_topic_are_of_one_key_each_and_in_order() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let mut committed = HashSet::new();
    for _ in 0..12 {
        for key in ["a", "b"] {
            committed.insert(scene.database.enqueue(Some(key)).await.unwrap());
        }
    }
    // A failed request in between must not mix them up.
    scene.proxy.inject(1, Fault::Status(500), Request::is_send);
    scene.proxy.inject(1, Fault::LoseReply, Request::is_send);
    let lines = format!(
        "sns = {{ topic = \"{}\" }}\nbundle = {{ max_events = 5, linger_ms = 200 }}",
        topic.name
    );
    let relay = scene.relay(&lines).await;
    let messages = take(&queue, 24).await;
    scene.settled().await;
    let mut last: HashMap<String, i64> = HashMap::new();
    for message in &messages {
        let events = events(message);
        assert!(events.len() <= 5, "{} events", events.len());
        for (_, key, sequence) in events {
            assert_eq!(message.group.as_deref(), Some(key.as_str()), "a bundle has one group");
            let before = last.insert(key.clone(), sequence).unwrap_or(0);
            assert_eq!(sequence, before + 1, "{key}");
        }
    }
    assert_eq!(ids(&messages), committed);
    assert!(
        messages.iter().any(|message| events(message).len() == 5),
        "none is full"
    );
    assert_eq!(queue.depth().await.unwrap(), 0, "the copy was dropped by its id");
    assert!(relay.failed(SINK, "transient").await.unwrap() > 0.0);
}

#[tokio::test]
async fn one_refused_event_of_a_bundle_on_a_topic_is_parked_and_its_neighbours_arrive() {
    let scene = Scene::new().await;
    let topic = Topic::standard(&scene.stack).await.unwrap();
    let queue = Queue::standard(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let mut committed = scene.database.enqueue_many(Some("a"), 6).await.unwrap();
    let bad = committed.remove(3);
    let marker = bad.clone();
    scene.proxy.inject(usize::MAX, Fault::RefuseRequest, move |request| {
        request.is_send() && request.mentions(&marker)
    });
    let lines = format!(
        "sns = {{ topic = \"{}\" }}\nbundle = {{ max_events = 50, linger_ms = 100 }}",
        topic.name
    );
    let _relay = scene.relay(&lines).await;
    let messages = take(&queue, 5).await;
    assert_eq!(ids(&messages), committed.into_iter().collect());
    scene.settled().await;
    let parked: Vec<String> = sqlx::query_scalar("select id::text from oncebox.parked")
        .fetch_all(&scene.database.pool)
        .await
        .unwrap();
    assert_eq!(parked, [bad]);
}
