//! SQS batches as Lambda hands them over.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(30);

/// A batch of messages from one queue.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The time that the function has.
    pub deadline: Duration,
    queue_arn: String,
    records: Vec<Record>,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Record {
    /// Unique for each send of a message, as SQS has it.
    pub message_id: String,
    body: String,
    group: Option<String>,
    receive_count: u32,
}

impl Record {
    /// A message that is delivered for the first time.
    #[must_use]
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            message_id: Uuid::new_v4().to_string(),
            body: body.into(),
            group: None,
            receive_count: 1,
        }
    }

    /// Sets `MessageGroupId`.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// The same body sent once more: a message of its own.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            message_id: Uuid::new_v4().to_string(),
            ..self.clone()
        }
    }

    /// The same message delivered once more.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            receive_count: self.receive_count + 1,
            ..self.clone()
        }
    }

    fn to_json(&self, queue_arn: &str) -> Value {
        let mut attributes = json!({
            "ApproximateReceiveCount": self.receive_count.to_string(),
            "SentTimestamp": "1700000000000",
            "SenderId": "test",
            "ApproximateFirstReceiveTimestamp": "1700000000001",
        });
        if let Some(group) = &self.group {
            attributes["MessageGroupId"] = json!(group);
            attributes["MessageDeduplicationId"] = json!(self.message_id);
        }
        json!({
            "messageId": self.message_id,
            "receiptHandle": format!("handle-{}", self.message_id),
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": {
                "content-type": {
                    "stringValue": "application/cloudevents+json", "dataType": "String",
                    "stringListValues": [], "binaryListValues": [],
                },
            },
            "md5OfBody": "00000000000000000000000000000000",
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": "us-east-1",
        })
    }
}

impl Batch {
    /// A batch from the queue with this ARN.
    #[must_use]
    pub fn of(queue_arn: &str, records: impl IntoIterator<Item = Record>) -> Self {
        Self {
            deadline: DEADLINE,
            queue_arn: queue_arn.to_owned(),
            records: records.into_iter().collect(),
        }
    }

    /// All of its messages delivered once more.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            records: self.records.iter().map(Record::again).collect(),
            ..self.clone()
        }
    }

    pub(super) fn to_json(&self) -> String {
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|record| record.to_json(&self.queue_arn))
            .collect();
        json!({ "Records": records }).to_string()
    }
}
