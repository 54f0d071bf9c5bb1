//! A FIFO topic with a FIFO queue behind it, while requests half fail and the relay is killed at random.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use system_tests::{Fault, Message, Queue, Request, Topic, until};

use super::scene::Scene;
use crate::relay::delivered::{assert_keys_in_order, duplicates, ids};

const KEYS: usize = 7;
const ROUNDS: usize = 5;
const EVENTS_A_ROUND: usize = 30;

fn fault(random: &mut StdRng) -> Fault {
    let n = random.random_range(2..5_i64);
    let chosen = move |entry: &system_tests::Entry| entry.sequence.is_some_and(|sequence| sequence % n == 0);
    match random.random_range(0..7_u8) {
        0 => Fault::fail(chosen),
        1 => Fault::forget(chosen),
        2 => Fault::Status(500),
        3 => Fault::Throttled,
        4 => Fault::LoseReply,
        _ => Fault::None,
    }
}

#[tokio::test]
async fn through_a_fifo_topic_a_key_keeps_its_order_over_partial_failures_and_kills() {
    let seed = std::env::var("ONCEBOX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().next_u64());
    eprintln!("to see this run again: ONCEBOX_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    scene.proxy.inject(1, Fault::LoseReply, Request::is_send);
    for _ in 0..80 {
        scene.proxy.inject(1, fault(&mut random), Request::is_send);
    }
    let lines = format!("sns = {{ topic = \"{}\" }}", topic.name);
    let mut relay = scene.relay(&lines).await;
    let mut committed = Vec::new();
    for _ in 0..ROUNDS {
        let goal = scene.proxy.taken().len() + random.random_range(5..EVENTS_A_ROUND);
        for _ in 0..EVENTS_A_ROUND {
            let key = format!("key-{}", random.random_range(0..KEYS));
            committed.push(scene.database.enqueue(Some(&key)).await.unwrap());
        }
        until("the moment to kill the relay", async || {
            let taken = scene.proxy.taken().len();
            ensure!(taken >= goal, "{taken} of {goal}");
            Ok(())
        })
        .await
        .unwrap();
        relay.kill().await.unwrap();
        relay = scene.relay(&lines).await;
    }
    scene.settled().await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(ids(&taken), committed.iter().cloned().collect());
    assert!(
        duplicates(&taken) > 0,
        "the lost replies made no difference: were they lost?"
    );
    assert_eq!(relay.stop().await.unwrap().code, Some(0));

    // Copies within five minutes are the topic's to drop.
    let messages = queue.take(committed.len()).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), 0, "more messages than events");
    assert_in_order(&messages).unwrap();
}

/// Each key's sequences rise by one, in the order of arrival.
fn assert_in_order(messages: &[Message]) -> Result<()> {
    let mut last: HashMap<String, i64> = HashMap::new();
    for message in messages {
        let envelope = message.envelope()?;
        let key = envelope.partition_key.map(|key| key.to_string()).unwrap_or_default();
        let sequence = envelope.sequence.map_or(0, |sequence| sequence.get());
        ensure!(
            message.group.as_deref() == Some(key.as_str()),
            "group {:?}",
            message.group
        );
        let before = last.insert(key.clone(), sequence).unwrap_or(0);
        ensure!(sequence == before + 1, "{key}: {sequence} after {before}");
    }
    Ok(())
}
