//! SNS topics, standard and FIFO.

use system_tests::{Fault, Queue, Request, Topic};

use super::scene::{Scene, has, times_sent};

#[tokio::test]
async fn a_topic_hands_envelopes_and_their_attributes_to_its_queues() {
    let scene = Scene::new().await;
    let topic = Topic::standard(&scene.stack).await.unwrap();
    let queues = [
        Queue::standard(&scene.stack).await.unwrap(),
        Queue::standard(&scene.stack).await.unwrap(),
    ];
    for queue in &queues {
        topic.subscribe(queue).await.unwrap();
    }
    let _relay = scene.relay(&format!("sns = {{ topic = \"{}\" }}", topic.name)).await;
    let id = scene.database.enqueue(Some("k")).await.unwrap();
    for queue in &queues {
        let message = queue.take(1).await.unwrap().remove(0);
        let envelope = message.envelope().unwrap();
        assert_eq!(envelope.id.to_string(), id);
        assert_eq!(envelope.sequence.unwrap().get(), 1);
        let expected = [
            ("ce-id", id.as_str()),
            ("ce-type", "test.happened.v1"),
            ("ce-kind", "event"),
            ("ce-tenant", "default"),
            ("content-type", "application/cloudevents+json"),
        ];
        for (name, value) in expected {
            assert_eq!(message.attributes.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(
            message.group.as_deref(),
            Some("default"),
            "the tenant, so that the queue is fair"
        );
    }
}

#[tokio::test]
async fn a_failed_entry_of_a_topic_is_sent_again_alone() {
    let scene = Scene::new().await;
    let topic = Topic::standard(&scene.stack).await.unwrap();
    let queue = Queue::standard(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let failed = Fault::fail(|entry| entry.sequence == Some(3));
    scene.proxy.inject(2, failed, has(3));
    let first = scene.database.enqueue_many(Some("k"), 4).await.unwrap();
    let _relay = scene.relay(&format!("sns = {{ topic = \"{}\" }}", topic.arn)).await;
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
async fn a_fifo_topic_keeps_the_order_of_a_key_past_a_failed_entry() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let third_of_a = |entry: &system_tests::Entry| entry.key.as_deref() == Some("a") && entry.sequence == Some(3);
    scene.proxy.inject(2, Fault::fail(third_of_a), move |request| {
        request.entries.iter().any(third_of_a)
    });
    let _relay = scene.relay(&format!("sns = {{ topic = \"{}\" }}", topic.name)).await;
    let a = scene.database.enqueue_many(Some("a"), 6).await.unwrap();
    let b = scene.database.enqueue_many(Some("b"), 6).await.unwrap();
    scene.taken(&[a.clone(), b].concat()).await;
    assert_eq!(
        times_sent(&scene.proxy, &a),
        [1, 1, 3, 1, 1, 1],
        "the failed one alone is sent again"
    );
    assert_eq!(scene.proxy.overlapping_groups(), Vec::<String>::new());

    let messages = queue.take(12).await.unwrap();
    for key in ["a", "b"] {
        let of_key = messages.iter().filter(|message| message.group.as_deref() == Some(key));
        let sequences: Vec<i64> = of_key
            .clone()
            .map(|message| message.envelope().unwrap().sequence.unwrap().get())
            .collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6], "key {key}");
        for message in of_key {
            let id = message.envelope().unwrap().id.to_string();
            assert_eq!(message.deduplication_id.as_deref(), Some(id.as_str()));
        }
    }
}

#[tokio::test]
async fn a_topic_that_throttles_fails_or_loses_its_reply_delays_and_loses_nothing() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    for fault in [Fault::Throttled, Fault::Status(500), Fault::LoseReply] {
        scene.proxy.inject(1, fault, Request::is_send);
    }
    let _relay = scene.relay(&format!("sns = {{ topic = \"{}\" }}", topic.name)).await;
    let ids = scene.database.enqueue_many(Some("k"), 5).await.unwrap();
    scene.taken(&ids).await;
    scene.settled().await;
    assert!(scene.proxy.sends().len() > 5, "the faults did not happen");
    let messages = queue.take(5).await.unwrap();
    let sequences = messages
        .iter()
        .map(|message| message.envelope().unwrap().sequence.unwrap().get());
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}
