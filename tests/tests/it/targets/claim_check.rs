//! What is larger than its target takes goes to S3, and its message says where.

use anyhow::ensure;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use system_tests::{AwsProxy, Bucket, Fault, Message, Moment, Queue, Relay, RelayCommand, Request, Topic, until};

use super::scene::{Scene, times_sent};

/// A queue whose messages of more than 10,000 bytes go by reference.
struct Claims {
    scene: Scene,
    queue: Queue,
    bucket: Bucket,
    /// The sink's target and claim check.
    lines: String,
}

impl Claims {
    async fn standard() -> Self {
        let scene = Scene::new().await;
        let queue = Queue::standard(&scene.stack).await.unwrap();
        Self::of(scene, queue).await
    }

    async fn fifo() -> Self {
        let scene = Scene::new().await;
        let queue = Queue::fifo(&scene.stack).await.unwrap();
        Self::of(scene, queue).await
    }

    async fn of(scene: Scene, queue: Queue) -> Self {
        let bucket = Bucket::create(&scene.stack).await.unwrap();
        let lines = format!(
            "sqs = {{ queue = \"{}\" }}\nclaim_check = {{ bucket = \"{}\", prefix = \"large\", above_bytes = 10000 }}",
            queue.name, bucket.name
        );
        Self {
            scene,
            queue,
            bucket,
            lines,
        }
    }
}

/// What the message refers to: it is in the bucket, as long as the message says and with its hash.
async fn referred(bucket: &Bucket, message: &Message) -> String {
    let envelope: Value = serde_json::from_str(&message.body).unwrap();
    assert!(envelope.get("data").is_none(), "the data is not in the message too");
    let uri = envelope["dataref"].as_str().unwrap();
    let key = uri.strip_prefix(&format!("s3://{}/", bucket.name)).unwrap();
    let object = bucket.get(key).await.unwrap();
    assert_eq!(object.content_type.as_deref(), Some("application/json"));
    assert_eq!(envelope["datalength"], object.text.len());
    let hash = Sha256::digest(object.text.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(envelope["datasha256"], hash);
    assert_eq!(key, format!("large/{}/{hash}.json", envelope["id"].as_str().unwrap()));
    object.text
}

#[tokio::test]
async fn an_event_larger_than_a_topic_takes_goes_by_reference_and_its_data_lies_in_the_bucket() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let bucket = Bucket::create(&scene.stack).await.unwrap();
    let lines = format!(
        "sns = {{ topic = \"{}\" }}\nclaim_check = {{ bucket = \"{}\", prefix = \"large\" }}",
        topic.name, bucket.name
    );
    let first = scene.database.enqueue(Some("k")).await.unwrap();
    let large = scene.enqueue_large(Some("k"), 900_000).await;
    let last = scene.database.enqueue(Some("k")).await.unwrap();
    let _relay = scene.relay(&lines).await;
    let messages = queue.take(3).await.unwrap();
    let ids: Vec<String> = messages
        .iter()
        .map(|message| message.attributes["ce-id"].clone())
        .collect();
    assert_eq!(ids, [first, large, last], "in its place within its key");
    assert_eq!(
        referred(&bucket, &messages[1]).await,
        format!("\"{}\"", "x".repeat(900_000))
    );
    for small in [&messages[0], &messages[2]] {
        assert!(
            small.envelope().unwrap().data.is_some(),
            "only what is too large goes by reference"
        );
    }
}

#[tokio::test]
async fn a_bucket_that_fails_holds_up_what_it_is_for_and_nobody_else() {
    let Claims {
        scene,
        queue,
        bucket,
        lines,
    } = Claims::standard().await;
    scene.proxy.inject(usize::MAX, Fault::Status(503), Request::is_store);
    let large = scene.enqueue_large(None, 20_000).await;
    let small = scene.database.enqueue_many(None, 5).await.unwrap();
    let _relay = scene.relay(&lines).await;
    scene.taken(&small).await;
    let others = queue.take(5).await.unwrap();
    assert!(others.iter().all(|message| message.attributes["ce-id"] != large));
    let sent = times_sent(&scene.proxy, std::slice::from_ref(&large));
    assert_eq!(sent, [0], "a message goes once its data is there, and not before");

    scene.proxy.heal();
    scene.taken(std::slice::from_ref(&large)).await;
    let message = queue.take(1).await.unwrap().remove(0);
    assert_eq!(referred(&bucket, &message).await.len(), 20_002);
}

#[tokio::test]
async fn a_message_that_is_sent_again_refers_to_the_same_object() {
    let Claims {
        scene,
        queue,
        bucket,
        lines,
    } = Claims::standard().await;
    scene.proxy.inject(1, Fault::LoseReply, Request::is_send);
    let large = scene.enqueue_large(None, 20_000).await;
    let _relay = scene.relay(&lines).await;
    scene.settled().await;
    let messages = queue.take(2).await.unwrap();
    assert_eq!(messages[0].body, messages[1].body);
    assert_eq!(messages[0].attributes["ce-id"], large);
    referred(&bucket, &messages[0]).await;
    assert_eq!(bucket.keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_parked_as_too_large_goes_by_reference_once_there_is_a_bucket() {
    let scene = Scene::new().await;
    let topic = Topic::fifo(&scene.stack).await.unwrap();
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    topic.subscribe(&queue).await.unwrap();
    let bucket = Bucket::create(&scene.stack).await.unwrap();
    let topic_line = format!("sns = {{ topic = \"{}\" }}", topic.name);
    let mut committed = vec![
        scene.database.enqueue(Some("k")).await.unwrap(),
        scene.enqueue_large(Some("k"), 300_000).await,
        scene.database.enqueue(Some("k")).await.unwrap(),
    ];
    let relay = scene.relay(&topic_line).await;
    until_parked(&scene, &["oversize", "follows"]).await;
    // People look for it with `parked show --id`.
    relay.said(&committed[1]).await.unwrap();
    scene.settled().await;
    relay.stop().await.unwrap();

    // Without a bucket a retry changes nothing.
    let relay = scene.relay(&topic_line).await;
    let retry = RelayCommand::new(&["parked", "retry", "--reason", "Oversize", "--yes"]).on(&scene.database);
    let report = retry.json().await.unwrap();
    assert_eq!(
        (&report["events"], &report["added"]),
        (&json!(2), &json!(1)),
        "{report}"
    );
    until_parked(&scene, &["oversize", "follows"]).await;
    relay.stop().await.unwrap();

    let claim_check = format!("claim_check = {{ bucket = \"{}\", prefix = \"large\" }}", bucket.name);
    let relay = scene.relay(&format!("{topic_line}\n{claim_check}")).await;
    committed.push(scene.database.enqueue(Some("k")).await.unwrap());
    until_parked(&scene, &["oversize", "follows", "follows"]).await;
    retry.done().await.unwrap();
    let messages = queue.take(4).await.unwrap();
    let come = messages.iter().map(|message| message.attributes["ce-id"].clone());
    assert_eq!(come.collect::<Vec<_>>(), committed, "in the order of the key");
    assert_eq!(referred(&bucket, &messages[1]).await.len(), 300_002);
    until_parked(&scene, &[]).await;
    assert_eq!(relay.stop().await.unwrap().code, Some(0));
    assert_eq!(times_sent(&scene.proxy, &committed), [1, 1, 1, 1]);
    assert_eq!(queue.depth().await.unwrap(), 0);
    assert_eq!(bucket.keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn killed_between_the_data_and_its_message_it_sends_the_message_with_the_same_data() {
    let Claims {
        scene,
        queue,
        bucket,
        lines,
    } = Claims::fifo().await;
    let relay = scene.relay(&lines).await;
    let gate = scene.proxy.hold(1, Moment::BeforeApplied, Request::is_send);
    let large = scene.enqueue_large(Some("k"), 20_000).await;
    let last = scene.database.enqueue(Some("k")).await.unwrap();
    gate.reached(1).await.unwrap();
    let stored = bucket.keys().await.unwrap();
    assert_eq!(stored.len(), 1, "the data goes first");
    relay.kill().await.unwrap();
    gate.discard();

    let _relay = scene.relay(&lines).await;
    let messages = queue.take(2).await.unwrap();
    let come: Vec<&String> = messages.iter().map(|message| &message.attributes["ce-id"]).collect();
    assert_eq!(come, [&large, &last]);
    assert_eq!(referred(&bucket, &messages[0]).await.len(), 20_002);
    scene.settled().await;
    assert_eq!(bucket.keys().await.unwrap(), stored, "the same object");
    assert_eq!(queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn killed_while_the_data_is_stored_it_loses_nothing() {
    let Claims {
        scene,
        queue,
        bucket,
        lines,
    } = Claims::fifo().await;
    let relay = scene.relay(&lines).await;
    let gate = scene.proxy.hold(1, Moment::BeforeApplied, Request::is_store);
    let large = scene.enqueue_large(Some("k"), 20_000).await;
    gate.reached(1).await.unwrap();
    relay.kill().await.unwrap();
    gate.discard();
    assert!(bucket.keys().await.unwrap().is_empty());
    assert!(scene.proxy.sends().is_empty(), "no message before its data");

    let _relay = scene.relay(&lines).await;
    let messages = queue.take(1).await.unwrap();
    assert_eq!(messages[0].attributes["ce-id"], large);
    referred(&bucket, &messages[0]).await;
}

#[tokio::test]
async fn stopped_between_the_data_and_its_message_for_longer_than_its_lease_it_sends_no_message() {
    let Claims {
        scene,
        queue,
        bucket,
        lines,
    } = Claims::fifo().await;
    let sleeper = scene.relay(&lines).await;
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_store);
    let large = scene.enqueue_large(Some("k"), 20_000).await;
    let last = scene.database.enqueue(Some("k")).await.unwrap();
    gate.reached(1).await.unwrap();
    sleeper.pause().unwrap();
    gate.release();
    let stored = bucket.keys().await.unwrap();
    assert_eq!(stored.len(), 1, "the data is there, and the relay does not know yet");
    assert!(scene.proxy.sends().is_empty());

    let own = AwsProxy::start(&scene.stack).await.unwrap();
    let heir = scene.config(&lines).env("AWS_ENDPOINT_URL", &own.endpoint);
    let heir = Relay::start(&heir).await.unwrap();
    let messages = queue.take(2).await.unwrap();
    let come: Vec<&String> = messages.iter().map(|message| &message.attributes["ce-id"]).collect();
    assert_eq!(come, [&large, &last]);
    assert_eq!(referred(&bucket, &messages[0]).await.len(), 20_002);
    scene.settled().await;

    sleeper.go_on().unwrap();
    sleeper.said("it joins anew").await.unwrap();
    assert_eq!(heir.stop().await.unwrap().code, Some(0));
    // It has all shards again, so whatever it had in memory has been looked at.
    let next = scene.database.enqueue(Some("k")).await.unwrap();
    assert_eq!(queue.take(1).await.unwrap()[0].attributes["ce-id"], next);
    scene.settled().await;
    assert_eq!(
        times_sent(&scene.proxy, &[large, last, next]),
        [0, 0, 1],
        "it sent nothing that was no longer its own"
    );
    assert_eq!(bucket.keys().await.unwrap(), stored, "the same object");
    assert_eq!(queue.depth().await.unwrap(), 0);
}

/// Waits until these classes, and no others, are parked, in the order of the log.
async fn until_parked(scene: &Scene, classes: &[&str]) {
    until(&format!("{classes:?} to be parked"), async || {
        let parked: Vec<String> =
            sqlx::query_scalar("select class from oncebox.parked where state = 'parked' order by seq")
                .fetch_all(&scene.database.pool)
                .await?;
        ensure!(parked == classes, "{parked:?}");
        Ok(())
    })
    .await
    .unwrap();
}
