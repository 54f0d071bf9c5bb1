//! Several events in one message.

use std::collections::HashSet;

use anyhow::ensure;
use oncebox_envelope::Batch;
use system_tests::{EVERYTHING, Fault, Message, Relay, RelayConfig, Request, until};

use super::scene::{SINK, Scene};

fn config(scene: &Scene, bundle: &str) -> RelayConfig {
    let lines = format!("sqs = {{ queue = \"{}\" }}\nbundle = {bundle}", scene.queue.name);
    RelayConfig::new(&scene.database)
        .sink_table(SINK, EVERYTHING, &lines)
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
}

/// The events of a message: id, key and sequence.
fn events(message: &Message) -> Vec<(String, String, i64)> {
    let body = message.body.as_str();
    let batch =
        Batch::from_json(body.as_bytes()).unwrap_or_else(|_| Batch::from_json(format!("[{body}]").as_bytes()).unwrap());
    let elements = batch.elements.into_iter();
    elements
        .map(|element| {
            let envelope = element.envelope.unwrap();
            let key = envelope.partition_key.unwrap().to_string();
            (envelope.id.to_string(), key, envelope.sequence.unwrap().get())
        })
        .collect()
}

/// Takes messages until `count` events have come.
async fn take(scene: &Scene, count: usize) -> Vec<Vec<(String, String, i64)>> {
    let mut bundles = Vec::new();
    until(&format!("{count} events to come"), async || {
        for message in scene.queue.take_batch().await? {
            bundles.push(events(&message));
        }
        let come: usize = bundles.iter().map(Vec::len).sum();
        ensure!(come >= count, "{come} so far");
        Ok(())
    })
    .await
    .unwrap();
    bundles
}

#[tokio::test]
async fn bundles_are_full_never_mix_groups_and_keep_the_order_of_keys() {
    let scene = Scene::fifo().await;
    let mut committed = HashSet::new();
    for _ in 0..20 {
        for key in ["a", "b"] {
            committed.insert(scene.database.enqueue(Some(key)).await.unwrap());
        }
    }
    let relay = Relay::start(&config(&scene, "{ max_events = 8, linger_ms = 200 }"))
        .await
        .unwrap();
    let bundles = take(&scene, 40).await;
    let mut last = std::collections::HashMap::new();
    for bundle in &bundles {
        let keys: HashSet<&str> = bundle.iter().map(|(_, key, _)| key.as_str()).collect();
        assert_eq!(keys.len(), 1, "a bundle has one group");
        assert!(bundle.len() <= 8, "{}", bundle.len());
        for (_, key, sequence) in bundle {
            let before = last.insert(key.clone(), *sequence).unwrap_or(0);
            assert_eq!(*sequence, before + 1, "{key}");
        }
    }
    assert!(
        bundles.iter().any(|bundle| bundle.len() == 8),
        "no bundle is full: {bundles:?}"
    );
    assert_eq!(
        bundles
            .iter()
            .flatten()
            .map(|event| event.0.clone())
            .collect::<HashSet<_>>(),
        committed
    );
    let messages = relay.metric("oncebox_sink_messages_total", SINK).await.unwrap();
    assert!(messages <= 8.0, "{messages} messages for 40 events");
    assert_eq!(scene.queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_that_is_alone_goes_when_it_has_waited_long_enough() {
    let scene = Scene::standard().await;
    let _relay = Relay::start(&config(&scene, "{ max_events = 100, linger_ms = 20 }"))
        .await
        .unwrap();
    let id = scene.database.enqueue(Some("a")).await.unwrap();
    let bundles = take(&scene, 1).await;
    assert_eq!(bundles[0][0].0, id);
}

#[tokio::test]
async fn a_bundle_stays_within_its_bytes() {
    let scene = Scene::standard().await;
    scene.database.enqueue_many(Some("a"), 30).await.unwrap();
    let _relay = Relay::start(&config(
        &scene,
        "{ max_events = 1000, max_bytes = 2048, linger_ms = 50 }",
    ))
    .await
    .unwrap();
    let bundles = take(&scene, 30).await;
    assert!(
        bundles.len() > 5,
        "30 events of some 300 bytes do not fit into {} bundles of 2048",
        bundles.len()
    );
}

#[tokio::test]
async fn one_refused_event_of_a_bundle_is_parked_and_its_neighbours_arrive() {
    let scene = Scene::standard().await;
    let committed = scene.database.enqueue_many(Some("a"), 6).await.unwrap();
    let bad = committed[2].clone();
    // Whatever holds this event is refused: the bundle, and the event alone.
    let marker = bad.clone();
    scene
        .proxy
        .inject(usize::MAX, Fault::RefuseRequest, move |request: &Request| {
            request.is_send() && request.body.to_string().contains(&marker)
        });
    let _relay = Relay::start(&config(&scene, "{ max_events = 50, linger_ms = 100 }"))
        .await
        .unwrap();
    let bundles = take(&scene, 5).await;
    let come: HashSet<String> = bundles.into_iter().flatten().map(|event| event.0).collect();
    assert_eq!(come, committed.iter().filter(|id| **id != bad).cloned().collect());
    until("the event to be parked", async || {
        let parked: Vec<uuid::Uuid> = sqlx::query_scalar("select id from oncebox.parked")
            .fetch_all(&scene.database.pool)
            .await?;
        ensure!(
            parked.iter().map(ToString::to_string).collect::<Vec<_>>() == [bad.clone()],
            "{parked:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    scene.settled().await;
}
