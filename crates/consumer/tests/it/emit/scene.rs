//! A handler that emits, over tables and targets in memory.

use std::{collections::HashSet, time::Duration};

use oncebox_consumer::{
    Consumer, Effects, HandlerError, Key, NewEvent, RetryDelay,
    test_kit::{MemoryQueues, MemoryTables},
    transactional,
};
use oncebox_envelope::{Envelope, Event, RawEnvelope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    delivery::Message,
    ping::{Act, Ping},
};

pub(super) const FIFO: &str = "https://sqs.test/000000000000/invoices.fifo";
pub(super) const STANDARD: &str = "https://sqs.test/000000000000/mails";
/// Long enough for a parcel to be swept.
pub(super) const LATER: Duration = Duration::from_secs(11);

/// Pings and what they emit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Pong {
    pub(super) text: String,
}

impl Event for Pong {
    const TYPE: &'static str = "test.pong.v1";
}

pub(super) fn pong(event: &Envelope<Ping>, text: &str) -> Result<NewEvent, HandlerError> {
    let key = event.partition_key.as_ref().map_or("none", |key| key.as_str());
    let text = format!("{} {text}", event.id);
    Ok(NewEvent::of(&Pong { text })?.key(key))
}

/// Emits two events in order, and one mail.
pub(super) async fn emit(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    effects.emit("invoices", pong(&event, "first")?)?;
    effects.emit("invoices", pong(&event, "second")?)?;
    effects.emit("mails", pong(&event, "mail")?)?;
    match event.data.act {
        Act::Reject => Err(HandlerError::permanent("told to reject")),
        _ => Ok(()),
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) tables: MemoryTables,
    pub(super) queues: MemoryQueues,
}

impl World {
    pub(super) fn new() -> Self {
        let tables = MemoryTables::new()
            .table("effects", &["pk"])
            .table("outbox", &["pk", "sk"]);
        Self {
            tables,
            queues: MemoryQueues::default(),
        }
    }

    /// A function process that has just started.
    pub(super) fn consumer(&self) -> Consumer {
        Consumer::builder("test")
            .dedupe(self.tables.dedupe())
            .outbox("outbox")
            .target("invoices", FIFO)
            .target("mails", STANDARD)
            .queues(&self.queues)
            .retry_delay(RetryDelay::QueueDefault)
            .on::<Ping, _>(transactional(emit))
            .build()
            .unwrap()
    }

    pub(super) fn texts(&self, url: &str) -> Vec<String> {
        let texts = self.queues.messages(url).into_iter().map(|message| {
            let envelope = RawEnvelope::from_json(message.body.as_bytes()).unwrap();
            envelope.typed::<Pong>().unwrap().data.text
        });
        texts.collect()
    }

    /// The same, each where it stands first.
    pub(super) fn first_texts(&self, url: &str) -> Vec<String> {
        let mut seen = HashSet::new();
        let texts = self.texts(url).into_iter();
        texts.filter(|text| seen.insert(text.clone())).collect()
    }

    pub(super) fn stored(&self) -> usize {
        self.tables.items("outbox").len()
    }
}

pub(super) fn numbered(key: &str) -> Message {
    let more = json!({ "partitionkey": key, "tenant": "acme", "correlationid": "talk" });
    Message::with(Uuid::now_v7(), Ping::TYPE, &json!({ "act": Act::Succeed }), &more)
}

pub(super) fn expected(messages: &[Message]) -> Vec<String> {
    let of = |message: &Message| ["first", "second"].map(|which| format!("{} {which}", message.id));
    messages.iter().flat_map(of).collect()
}
