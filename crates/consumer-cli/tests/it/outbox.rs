//! `oncebox-consumer outbox`.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use oncebox_consumer::{
    Consumer, DynamoDbDedupe, Effects, HandlerError, Key, NewEvent, Outcome, RetryDelay, transactional,
};
use oncebox_envelope::{Envelope, Event, RawEnvelope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{CANARY, CONSUMER, Message, Ping, Printed, Scene, deliver};

const MINUTE_MS: i64 = 60_000;
/// As young as can be: a test may be slow.
const YOUNG_MS: i64 = -9_000;
/// Stands in the key of what is emitted.
const KEY: &str = "key-of-a-customer";

async fn emit(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    for _ in 0..2 {
        let note = CANARY.to_owned();
        effects.emit("pings", NewEvent::of(&Ping { note })?.key(KEY))?;
    }
    Ok(())
}

/// A consumer whose emitted events stay in its outbox: its way to the queues is cut.
struct Outbox {
    scene: Scene,
    table: String,
}

impl Outbox {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let table = format!("cli-test-outbox-{}", Uuid::new_v4().simple());
        scene.create(&table, &["pk", "sk"]).await;
        Self { scene, table }
    }

    async fn consumer(&self, queue: &str) -> Consumer {
        let config = aws_config::from_env().endpoint_url("http://127.0.0.1:1");
        let config = config.retry_config(RetryConfig::disabled()).load().await;
        self.scene
            .builder()
            .on::<Ping, _>(transactional(emit))
            .dedupe(DynamoDbDedupe::new(self.scene.client.clone(), &self.scene.dedupe))
            .retry_delay(RetryDelay::QueueDefault)
            .outbox(&self.table)
            .target("pings", queue)
            .sqs(aws_sdk_sqs::Client::new(&config))
            .build()
            .unwrap()
    }

    /// As if what lies there had been stored so many milliseconds ago; a negative number is a clock that is ahead.
    async fn age(&self, ago_ms: i64) {
        for item in self.items().await {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let at = AttributeValue::N((i64::try_from(now).unwrap() - ago_ms).to_string());
            let update = self.scene.client.update_item().table_name(&self.table);
            let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
            let update = update
                .update_expression("SET #at = :at")
                .expression_attribute_names("#at", "at")
                .expression_attribute_values(":at", at);
            update.send().await.unwrap();
        }
    }

    async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.scene.client.scan().table_name(&self.table).send();
        scan.await.unwrap().items.unwrap_or_default()
    }

    async fn run(&self, arguments: &[&str]) -> Printed {
        let printed = Scene::run_on(&self.table, &[&["outbox"], arguments].concat()).await;
        assert!(!format!("{printed:?}").contains(KEY), "{printed:?}");
        printed
    }

    /// With `--json`; the exit code and the document.
    async fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let printed = self.run(&[arguments, &["--json"]].concat()).await;
        let document = serde_json::from_str(&printed.stdout);
        (printed.code, document.unwrap_or_else(|_| panic!("{printed:?}")))
    }
}

async fn sqs() -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(&aws_config::load_from_env().await)
}

async fn fifo_queue() -> String {
    let name = format!("cli-test-{}.fifo", Uuid::new_v4().simple());
    let create = sqs().await.create_queue().queue_name(name);
    let create = create.attributes(QueueAttributeName::FifoQueue, "true");
    create.send().await.unwrap().queue_url.unwrap()
}

/// The ids of the events in the queue, in its order.
async fn received(queue: &str) -> Vec<String> {
    let receive = sqs()
        .await
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10);
    let messages = receive.send().await.unwrap().messages.unwrap_or_default();
    let id = |body: String| RawEnvelope::from_json(body.as_bytes()).unwrap().id.to_string();
    messages.into_iter().map(|message| id(message.body.unwrap())).collect()
}

fn ids(shown: &Value) -> Vec<String> {
    let events = shown["shown"].as_array().unwrap().iter();
    let events = events.flat_map(|parcel| parcel["events"].as_array().unwrap());
    events
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_was_left_unsent_is_listed_and_sent_by_a_person_in_order_under_the_same_ids() {
    let outbox = Outbox::new().await;
    let queue = fifo_queue().await;
    let consumer = outbox.consumer(&queue).await;
    for message in [Message::new(), Message::new()] {
        assert_eq!(deliver(&consumer, &message).await, Outcome::Done);
    }
    outbox.age(YOUNG_MS).await;
    let (code, list) = outbox.json(&["list"]).await;
    let parcel = &list["shown"][0];
    let expected = json!({
        "action": "list", "consumer": CONSUMER, "parcels": 1, "events": 4, "young": 1, "unreadable": 0,
        "oldest": parcel["events"][0]["emitted"], "shown": [{
            "parcel": parcel["parcel"], "ordered": true, "young": true, "added": parcel["added"],
            "events": parcel["events"],
        }],
    });
    assert_eq!((code, &list), (Some(0), &expected));
    let first = &parcel["events"][0];
    assert_eq!((&first["type"], &first["target"]), (&json!(Ping::TYPE), &json!(queue)));
    let emitted = ids(&list);
    assert_eq!(emitted.len(), 4);
    let text = outbox.run(&["list"]).await.stdout;
    assert!(emitted.iter().all(|id| text.contains(id)), "{text}");

    // Its function may be about to send it.
    outbox.age(YOUNG_MS).await;
    let (code, swept) = outbox.json(&["sweep", "--yes"]).await;
    assert_eq!((code, &swept["sent"], &swept["young"]), (Some(0), &json!(0), &json!(1)));
    outbox.age(MINUTE_MS).await;
    let asked = outbox.run(&["sweep"]).await;
    assert_eq!(asked.code, Some(2), "{asked:?}");
    let (code, told) = outbox.json(&["sweep", "--dry-run"]).await;
    let expected = json!({
        "action": "sweep", "dry_run": true, "consumer": CONSUMER, "parcels": 1, "events": 4, "sent": 0, "left": 1,
        "young": 0, "unreadable": 0, "error": null,
    });
    assert_eq!((code, told), (Some(0), expected));
    assert_eq!(received(&queue).await, [""; 0]);

    let (code, swept) = outbox.json(&["sweep", "--yes"]).await;
    let expected = json!({
        "action": "sweep", "dry_run": false, "consumer": CONSUMER, "parcels": 1, "events": 4, "sent": 4, "left": 0,
        "young": 0, "unreadable": 0, "error": null,
    });
    assert_eq!((code, swept), (Some(0), expected));
    assert_eq!(received(&queue).await, emitted);
    assert!(outbox.items().await.is_empty());
    let (code, swept) = outbox.json(&["sweep", "--yes"]).await;
    assert_eq!(
        (code, &swept["parcels"], &swept["sent"]),
        (Some(0), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn what_a_queue_does_not_take_is_told_with_exit_code_1_and_stays() {
    let outbox = Outbox::new().await;
    let gone = fifo_queue().await;
    assert_eq!(
        deliver(&outbox.consumer(&gone).await, &Message::new()).await,
        Outcome::Done
    );
    sqs().await.delete_queue().queue_url(&gone).send().await.unwrap();
    outbox.age(MINUTE_MS).await;
    let swept = outbox.run(&["sweep", "--yes"]).await;
    assert_eq!(swept.code, Some(1), "{swept:?}");
    assert!(
        swept.stdout.contains("0 events were sent, 1 parcels are left"),
        "{swept:?}"
    );
    assert!(swept.stderr.contains("NonExistentQueue"), "{swept:?}");
    assert_eq!(outbox.items().await.len(), 1);
}

#[tokio::test]
async fn a_parcel_of_another_version_is_told_and_left_alone() {
    let outbox = Outbox::new().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let put = outbox.scene.client.put_item().table_name(&outbox.table);
    let put = put
        .item("pk", text(&format!("{CONSUMER}#2")))
        .item("sk", text("fifo#later"));
    put.item("letters", text(CANARY)).send().await.unwrap();
    let (code, list) = outbox.json(&["list"]).await;
    assert_eq!(
        (code, &list["parcels"], &list["unreadable"], &list["events"]),
        (Some(0), &json!(1), &json!(1), &json!(0))
    );
    let swept = outbox.run(&["sweep", "--yes"]).await;
    assert_eq!(swept.code, Some(1), "{swept:?}");
    assert!(swept.stderr.contains("another version"), "{swept:?}");
    assert_eq!(outbox.items().await.len(), 1);
}

#[tokio::test]
async fn a_table_that_is_not_there_or_has_another_key_is_told_with_exit_code_3() {
    let scene = Scene::new().await;
    for action in [&["outbox", "list"][..], &["outbox", "sweep", "--yes"]] {
        let told = Scene::run_on("no-such-table", action).await;
        assert_eq!(told.code, Some(3), "{told:?}");
        assert!(told.stderr.contains("`no-such-table`"), "{told:?}");
    }
    let mut other = scene;
    other.dedupe = format!("cli-test-other-{}", Uuid::new_v4().simple());
    other.create(&other.dedupe, &["id"]).await;
    let told = other.run(&["outbox", "list"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stderr.contains("its key is not the one"), "{told:?}");
}
