//! Batches as Lambda hands them over.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use jiff::{SignedDuration, Timestamp};
use oncebox_consumer::{Consumer, Invocation, Outcome, Settlement};
use oncebox_envelope::Event;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ping::{Act, Ping};

const STANDARD: &str = "arn:aws:sqs:eu-west-1:000000000000:orders";
const FIFO: &str = "arn:aws:sqs:eu-west-1:000000000000:orders.fifo";

/// A message as SQS delivers it; a copy by `redelivered` has the same envelope.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) message_id: String,
    pub(crate) body: String,
    group: Option<String>,
    arn: &'static str,
    receive_count: u32,
    sent: Timestamp,
    first_received: Timestamp,
}

impl Message {
    pub(crate) fn new(act: Act) -> Self {
        Self::with(Uuid::now_v7(), Ping::TYPE, &json!({ "act": act }), &json!({}))
    }

    pub(crate) fn with(id: Uuid, event_type: &str, data: &Value, more: &Value) -> Self {
        let mut envelope = json!({
            "specversion": "1.0", "id": id, "source": "test", "type": event_type,
            "time": "2026-01-01T00:00:00Z", "data": data,
        });
        let attributes = more.as_object().unwrap().clone();
        envelope.as_object_mut().unwrap().extend(attributes);
        Self::raw(id, envelope.to_string())
    }

    pub(crate) fn raw(id: Uuid, body: impl Into<String>) -> Self {
        Self {
            id,
            message_id: Uuid::new_v4().to_string(),
            body: body.into(),
            group: None,
            arn: STANDARD,
            receive_count: 1,
            sent: Timestamp::now(),
            first_received: Timestamp::now(),
        }
    }

    /// An event of a key with its place in it.
    pub(crate) fn numbered(act: Act, key: &str, sequence: i64) -> Self {
        let more = json!({ "partitionkey": key, "sequence": format!("{sequence:020}") });
        Self::with(Uuid::now_v7(), Ping::TYPE, &json!({ "act": act }), &more)
    }

    /// An event of key `k` with its place in it, of a type and with attributes of its own.
    pub(crate) fn numbered_as(sequence: i64, event_type: &str, more: &Value) -> Self {
        let mut attributes = json!({ "partitionkey": "k", "sequence": format!("{sequence:020}") });
        let more = more.as_object().unwrap().clone();
        attributes.as_object_mut().unwrap().extend(more);
        Self::with(Uuid::now_v7(), event_type, &json!({ "act": Act::Succeed }), &attributes)
    }

    /// As SQS delivers it for the `count`th time.
    pub(crate) fn delivered(mut self, count: u32) -> Self {
        self.receive_count = count;
        self
    }

    /// As delivered for the first time so many seconds ago.
    pub(crate) fn first_delivered_before(self, secs: i64) -> Self {
        self.first_delivered_at(Timestamp::now() - SignedDuration::from_secs(secs))
    }

    pub(crate) fn first_delivered_at(mut self, at: Timestamp) -> Self {
        self.first_received = at;
        self
    }

    /// As sent so many seconds ago.
    pub(crate) fn sent_before(mut self, secs: i64) -> Self {
        self.sent = Timestamp::now() - SignedDuration::from_secs(secs);
        self
    }

    /// One message with the events of `messages`.
    pub(crate) fn bundle(messages: &[Self]) -> Self {
        let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
        Self::raw(Uuid::nil(), format!("[{}]", bodies.join(",\n")))
    }

    pub(crate) fn in_group(mut self, group: &str) -> Self {
        self.arn = FIFO;
        self.group = Some(group.to_owned());
        self
    }

    /// As delivered for the `receive_count`th time.
    pub(crate) fn at_delivery(mut self, receive_count: u32) -> Self {
        self.receive_count = receive_count;
        self
    }

    /// A group id on a standard queue: fair queues do that.
    pub(crate) fn of_tenant(mut self, tenant: &str) -> Self {
        self.group = Some(tenant.to_owned());
        self
    }

    /// The same event under another message id, as after a redrive or a second publish.
    pub(crate) fn redelivered(&self) -> Self {
        Self {
            message_id: Uuid::new_v4().to_string(),
            ..self.clone()
        }
    }

    fn record(&self) -> Value {
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receive_count.to_string(), "SentTimestamp": self.sent.as_millisecond().to_string(),
            "SenderId": "AIDA", "ApproximateFirstReceiveTimestamp": self.first_received.as_millisecond().to_string(),
        });
        if let Some(group) = &self.group {
            attributes["MessageGroupId"] = json!(group);
        }
        json!({
            "messageId": self.message_id, "receiptHandle": "receipt", "body": self.body,
            "attributes": attributes, "eventSource": "aws:sqs", "eventSourceARN": self.arn,
            "awsRegion": "eu-west-1", "md5OfBody": "",
            "messageAttributes": {
                "ce-id": { "stringValue": self.id.to_string(), "stringListValues": [], "binaryListValues": [], "dataType": "String" },
            },
        })
    }
}

pub(crate) fn batch(messages: &[Message]) -> SqsEvent {
    let records: Vec<Value> = messages.iter().map(Message::record).collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

pub(crate) fn invocation() -> Invocation {
    Invocation::new("request", Duration::from_secs(20))
}

pub(crate) async fn deliver(consumer: &Consumer, messages: &[Message]) -> Settlement {
    consumer.settle_batch(batch(messages), &invocation()).await.unwrap()
}

pub(crate) async fn deliver_one(consumer: &Consumer, message: &Message) -> Settlement {
    deliver(consumer, std::slice::from_ref(message)).await
}

pub(crate) fn outcomes(settlement: &Settlement) -> Vec<Outcome> {
    settlement.events.iter().map(|event| event.outcome).collect()
}

/// The message ids that go back to the queue, as Lambda is told.
pub(crate) fn returned(settlement: &Settlement) -> Vec<String> {
    let failures = settlement.response().batch_item_failures;
    failures.into_iter().map(|failure| failure.item_identifier).collect()
}
