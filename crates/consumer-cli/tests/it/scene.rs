//! Tables of a test's own, a consumer over them, and the binary.

use std::{process::Stdio, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use jiff::{SignedDuration, Timestamp};
use oncebox_consumer::{
    Consumer, ConsumerBuilder, DynamoDbDedupe, Effects, GapGuard, HandlerError, Invocation, Key, LeaseContext, Outcome,
    RetryDelay, leased, transactional,
};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

/// The consumer's name.
pub(crate) const CONSUMER: &str = "cli-test";
/// Stands in every payload, and must stand in no output.
pub(crate) const CANARY: &str = "canary-93417";

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ping {
    pub(crate) note: String,
}

impl Event for Ping {
    const TYPE: &'static str = "test.ping.v1";
}

async fn count(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    Ok(())
}

async fn answer(_: Envelope<Ping>, _: &LeaseContext) -> Result<&'static str, HandlerError> {
    Ok(CANARY)
}

async fn forget(_: Envelope<Ping>, _: &LeaseContext) -> Result<&'static str, HandlerError> {
    Err(HandlerError::outcome_unknown("no reply"))
}

async fn hang(_: Envelope<Ping>, _: &LeaseContext) -> Result<(), HandlerError> {
    std::future::pending().await
}

pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) dedupe: String,
    effects: String,
}

/// What a command has printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let is_set = std::env::var_os("AWS_ENDPOINT_URL").is_some();
        assert!(
            is_set,
            "AWS_ENDPOINT_URL is not set: this test needs the stack, run `make test`"
        );
        let name = |what: &str| format!("cli-test-{what}-{}", Uuid::new_v4().simple());
        let scene = Self {
            client: Client::new(&aws_config::load_from_env().await),
            dedupe: name("dedupe"),
            effects: name("effects"),
        };
        for table in [&scene.dedupe, &scene.effects] {
            scene.create(table, &["pk"]).await;
        }
        scene
    }

    pub(crate) async fn create(&self, table: &str, key: &[&str]) {
        let mut create = self.client.create_table().table_name(table);
        for (name, kind) in key.iter().zip([KeyType::Hash, KeyType::Range]) {
            let attribute = AttributeDefinition::builder()
                .attribute_name(*name)
                .attribute_type(ScalarAttributeType::S);
            let part = KeySchemaElement::builder().attribute_name(*name).key_type(kind);
            create = create
                .attribute_definitions(attribute.build().unwrap())
                .key_schema(part.build().unwrap());
        }
        create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    }

    /// For a consumer whose effects are counted.
    pub(crate) fn builder(&self) -> ConsumerBuilder {
        Consumer::builder(CONSUMER).table("effects", &self.effects)
    }

    /// A consumer that counts, behind a gap guard.
    pub(crate) fn consumer(&self) -> Consumer {
        self.builder()
            .on::<Ping, _>(transactional(count))
            .dedupe(DynamoDbDedupe::new(self.client.clone(), &self.dedupe))
            .retry_delay(RetryDelay::QueueDefault)
            .gap_guard(GapGuard::from_one())
            .build()
            .unwrap()
    }

    /// A consumer in mode `leased`, whose handler answers, or never ends.
    pub(crate) fn leased(&self, ends: bool) -> Consumer {
        let builder = Consumer::builder(CONSUMER)
            .dedupe(DynamoDbDedupe::new(self.client.clone(), &self.dedupe))
            .retry_delay(RetryDelay::QueueDefault);
        match ends {
            true => builder.on::<Ping, _>(leased(answer).retry_same_key()),
            false => builder.on::<Ping, _>(leased(hang).retry_same_key()),
        }
        .build()
        .unwrap()
    }

    /// A consumer in mode `leased` that parks what has no known end; its handler answers, or does not know.
    pub(crate) fn parking(&self, knows: bool) -> Consumer {
        let builder = Consumer::builder(CONSUMER)
            .dedupe(DynamoDbDedupe::new(self.client.clone(), &self.dedupe))
            .retry_delay(RetryDelay::QueueDefault);
        match knows {
            true => builder.on::<Ping, _>(leased(answer).park()),
            false => builder.on::<Ping, _>(leased(forget).park()),
        }
        .build()
        .unwrap()
    }

    /// Runs the binary to its end, without a terminal.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Printed {
        Self::run_on(&self.dedupe, arguments).await
    }

    /// The same, on this table.
    pub(crate) async fn run_on(table: &str, arguments: &[&str]) -> Printed {
        run_with(&[arguments, &["--table", table]].concat(), &[]).await
    }

    /// Runs the binary with `--json` and expects success.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(printed.code, Some(0), "{arguments:?}: {printed:?}");
        serde_json::from_str(&printed.stdout).unwrap()
    }
}

/// Takes out when a key went on last, which must be within these ten minutes.
pub(crate) fn take_moved_at(standing: &mut Value) {
    let moved_at = standing.as_object_mut().unwrap().remove("moved_at").unwrap();
    let moved_at: Timestamp = moved_at.as_str().unwrap().parse().unwrap();
    let ago = Timestamp::now().duration_since(moved_at).abs();
    assert!(ago < SignedDuration::from_mins(10), "{moved_at}");
}

/// Runs the binary with these variables, for our consumer.
pub(crate) async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Printed {
    let output = Command::new(env!("CARGO_BIN_EXE_oncebox-consumer"))
        .args(arguments)
        .args(["--consumer", CONSUMER])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .unwrap()
        .unwrap();
    let printed = Printed {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!format!("{printed:?}").contains(CANARY), "{printed:?}");
    printed
}

/// An event as SQS delivers it.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    envelope: Value,
}

impl Message {
    pub(crate) fn new() -> Self {
        let id = Uuid::now_v7();
        let envelope = json!({
            "specversion": "1.0", "id": id, "source": "test", "type": Ping::TYPE,
            "time": "2026-01-01T00:00:00Z", "data": { "note": CANARY },
        });
        Self { id, envelope }
    }

    pub(crate) fn numbered(key: &str, sequence: i64) -> Self {
        let mut message = Self::new();
        message.envelope["partitionkey"] = json!(key);
        message.envelope["sequence"] = json!(format!("{sequence:020}"));
        message
    }
}

/// Delivers one message and tells what became of it.
pub(crate) async fn deliver(consumer: &Consumer, message: &Message) -> Outcome {
    let record = json!({
        "messageId": Uuid::new_v4(), "receiptHandle": "receipt", "body": message.envelope.to_string(),
        "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {}, "md5OfBody": "",
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:q", "awsRegion": "eu-west-1",
    });
    let event = serde_json::from_value(json!({ "Records": [record] })).unwrap();
    let invocation = Invocation::new("request", Duration::from_secs(20));
    let settled = consumer.settle_batch(event, &invocation).await.unwrap();
    settled.events[0].outcome
}
