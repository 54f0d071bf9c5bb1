//! Several events in one message.

use std::{collections::HashSet, time::Duration};

use anyhow::ensure;
use oncebox_envelope::Batch;
use outbox_relay::{
    config::TargetConfig,
    publish::{Clients, Target},
};
use system_tests::{EVERYTHING, Fault, Message, Relay, RelayConfig, Request, until};

use super::scene::{SINK, Scene};
use crate::targets::requests::counted_bytes;

fn config(scene: &Scene, bundle: &str) -> RelayConfig {
    let lines = format!("sqs = {{ queue = \"{}\" }}\nbundle = {bundle}", scene.queue.name);
    RelayConfig::new(&scene.database)
        .sink_table(SINK, EVERYTHING, &lines)
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
}

/// The events of a message: id, key and sequence.
pub(crate) fn events(message: &Message) -> Vec<(String, String, i64)> {
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

#[tokio::test]
async fn killed_while_a_bundle_is_gathered_it_loses_nothing() {
    let scene = Scene::fifo().await;
    let relay = Relay::start(&config(&scene, "{ max_events = 100, linger_ms = 10000 }"))
        .await
        .unwrap();
    let committed = scene.database.enqueue_many(Some("a"), 5).await.unwrap();
    until("the events to be read", async || {
        // The age of what was read; what is only known to be there has none.
        let seconds = relay.metric("oncebox_sink_lag_seconds", SINK).await?;
        ensure!(seconds > 0.0, "{seconds} s");
        Ok(())
    })
    .await
    .unwrap();
    relay.kill().await.unwrap();
    assert_eq!(scene.proxy.sends().len(), 0, "it was still gathering");
    assert_eq!(scene.database.unpublished(SINK).await.unwrap(), 5);
    let _relay = Relay::start(&config(&scene, "{ max_events = 100, linger_ms = 100 }"))
        .await
        .unwrap();
    let come: Vec<String> = take(&scene, 5)
        .await
        .into_iter()
        .flatten()
        .map(|event| event.0)
        .collect();
    assert_eq!(come, committed, "in order, none twice");
    scene.settled().await;
    assert_eq!(scene.queue.depth().await.unwrap(), 0);
}

/// Four equal events with a limit of two of them, by what the relay counts, less so many bytes. Returns the
/// limit, how many events each message held and how long its body was.
async fn bundled_with(bytes_less: usize) -> (usize, Vec<(usize, usize)>) {
    let scene = Scene::standard().await;
    let stack = &scene.stack;
    let target = Target::resolve(
        &Clients::new(stack.aws(), Duration::from_secs(10)),
        &TargetConfig::Sqs {
            queue: scene.queue.name.clone(),
        },
        None,
    )
    .await
    .unwrap();
    let mut transaction = scene.database.pool.begin().await.unwrap();
    for _ in 0..4 {
        sqlx::query("select oncebox.enqueue('test.happened.v1', to_jsonb(repeat('x', 500)), key => 'k')")
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let counted = counted_bytes(&scene.database, &target).await;
    assert!(counted.windows(2).all(|pair| pair[0] == pair[1]), "{counted:?}");
    let most = 2 * counted[0] - bytes_less;
    let bundle = format!("{{ max_events = 100, max_bytes = {most}, linger_ms = 300 }}");
    let _relay = Relay::start(&config(&scene, &bundle)).await.unwrap();
    let mut messages = Vec::new();
    until("four events to come", async || {
        messages.extend(scene.queue.take_batch().await?);
        let come: usize = messages.iter().map(|message| events(message).len()).sum();
        ensure!(come >= 4, "{come} so far");
        Ok(())
    })
    .await
    .unwrap();
    let sizes = messages
        .iter()
        .map(|message| (events(message).len(), message.body.len()));
    (most, sizes.collect())
}

#[tokio::test]
async fn a_bundle_takes_the_last_byte_of_its_limit_and_not_the_next() {
    let (most, sizes) = bundled_with(0).await;
    assert_eq!(sizes.iter().map(|size| size.0).collect::<Vec<_>>(), [2, 2]);
    assert!(sizes.iter().all(|size| size.1 <= most), "{sizes:?} in {most}");
    let (_, sizes) = bundled_with(1).await;
    assert_eq!(sizes.iter().map(|size| size.0).collect::<Vec<_>>(), [1, 1, 1, 1]);
}
