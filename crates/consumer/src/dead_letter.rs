//! What goes back to SQS: dead letters and retry delays.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::SqsMessageAttribute;
use aws_sdk_sqs::{primitives::Blob, types::MessageAttributeValue};
use oncebox_envelope::{target::TargetKind, wire};

use crate::{
    failure::Reason,
    record::{Delivery, Part, Record},
    retry_delay::{Retry, RetryDelay, delay_secs, queue_url},
    sqs::{DeadLetter, FifoPlace, OwnQueues, Redelivery},
    time::{self, Instant, timeout_at},
};

/// Dead letter attribute: the class of the failure, [`Reason::as_str`].
const REASON: &str = "oncebox-reason";
/// Dead letter attribute: who set it aside.
const CONSUMER: &str = "oncebox-consumer";
/// Dead letter attribute: the text of the failure.
const ERROR: &str = "oncebox-error";
/// Dead letter attribute: how often the message had been delivered.
const RECEIVE_COUNT: &str = "oncebox-receive-count";

/// Amazon SQS Developer Guide, "Message quotas": ten attributes.
const MAX_ATTRIBUTES: usize = 10;
/// Bytes of body and attributes together; the source queue has let in as many.
const MAX_BYTES: usize = TargetKind::Queue.limits().max_message_bytes;
/// The envelope's own attributes, kept before anybody else's.
const KEPT_FIRST: [&str; 6] = [
    wire::ATTRIBUTE_ID,
    wire::ATTRIBUTE_TYPE,
    wire::ATTRIBUTE_KIND,
    wire::ATTRIBUTE_TENANT,
    wire::ATTRIBUTE_CONTENT_TYPE,
    wire::ATTRIBUTE_TRACE_PARENT,
];

/// The dead-letter queue, and what reaches it.
pub(crate) struct DeadLetterQueue {
    consumer: String,
    url: Option<String>,
    queues: Arc<dyn OwnQueues>,
}

impl DeadLetterQueue {
    pub(crate) fn new(consumer: String, url: Option<String>, queues: Arc<dyn OwnQueues>) -> Self {
        Self { consumer, url, queues }
    }

    /// Stores a message with its reason; the body and the attributes stay as they are, but for what has no
    /// room beside a body that is nearly as large as a queue takes. Of a bundle only the event itself is
    /// stored, as a message of its own.
    ///
    /// Sent twice (the reply was lost, the message came again) it is there twice, except on FIFO
    /// within five minutes.
    pub(crate) async fn send(
        &self,
        delivery: &Delivery,
        part: &Part,
        reason: Reason,
        error: &str,
    ) -> Result<(), String> {
        let Some(url) = &self.url else {
            return Err("no dead-letter queue is configured; the queue's redrive policy moves it".to_owned());
        };
        let record = delivery.record_of(part);
        let body = match &part.element {
            Some(element) => element.json.get(),
            None => record.message.body.as_deref().unwrap_or_default(),
        };
        let room = MAX_BYTES.saturating_sub(body.len());
        let attributes = attributes(record, part, &self.consumer, reason, error, room);
        let place = url.ends_with(".fifo").then(|| {
            let group = record.message.attributes.get("MessageGroupId");
            FifoPlace {
                group: group.unwrap_or(&record.message_id).clone(),
                deduplication_id: match &part.element {
                    Some(element) => format!("{}-{}", record.message_id, element.index),
                    None => record.message_id.clone(),
                },
            }
        });
        let letter = DeadLetter {
            url: url.clone(),
            body: body.to_owned(),
            attributes,
            place,
        };
        let stored = self.queues.store(letter).await;
        stored.map_err(|why| format!("the dead-letter queue did not take it: {why}"))
    }

    /// Asks SQS to deliver `returned`, each with what its events say of it, again after their delay. Best effort,
    /// bounded by `until`.
    pub(crate) async fn delay(&self, delay: RetryDelay, returned: Vec<(&Record, Vec<Retry>)>, until: Instant) {
        if delay == RetryDelay::QueueDefault {
            return;
        }
        let mut by_queue: HashMap<&str, Vec<Redelivery>> = HashMap::new();
        let mut by_group: HashMap<(&str, &str), i32> = HashMap::new();
        for (record, events) in returned {
            let message = &record.message;
            let Some((arn, receipt)) = message
                .event_source_arn
                .as_deref()
                .zip(message.receipt_handle.as_deref())
            else {
                continue;
            };
            let secs = || delay_secs(record.receive_count.unwrap_or(1), &events, time::chance());
            let secs = match record.group.as_deref() {
                Some(group) => *by_group.entry((arn, group)).or_insert_with(secs),
                None => secs(),
            };
            by_queue.entry(arn).or_default().push(Redelivery {
                receipt: receipt.to_owned(),
                after_secs: secs,
            });
        }
        let requests = by_queue
            .iter()
            .filter_map(|(arn, messages)| Some((queue_url(arn)?, messages)))
            .flat_map(|(url, messages)| messages.chunks(10).map(move |ten| self.redeliver(url.clone(), ten)));
        // An answer that comes too late costs more than a delay that is not set.
        let until = until.min(time::now() + Duration::from_secs(1));
        if timeout_at(until, futures::future::join_all(requests)).await.is_err() {
            tracing::debug!(consumer = self.consumer, "retry delays were not set in time");
        }
    }

    async fn redeliver(&self, url: String, messages: &[Redelivery]) {
        if let Err(error) = self.queues.redeliver(url, messages.to_vec()).await {
            tracing::debug!(consumer = self.consumer, error, "retry delays were not set");
        }
    }
}

/// Ours first, then the envelope's, then others by name, each for as long as there is room: `room` bytes, and
/// ten of them. What finds none is left out whole, for the message must not stay behind for want of it.
///
/// The message attributes of a bundle tell of no event, so those of an element are made from it.
fn attributes(
    record: &Record,
    part: &Part,
    consumer: &str,
    reason: Reason,
    error: &str,
    room: usize,
) -> HashMap<String, MessageAttributeValue> {
    let ours = [
        (REASON, reason.as_str().to_owned()),
        (CONSUMER, consumer.to_owned()),
        (RECEIVE_COUNT, record.receive_count.unwrap_or(0).to_string()),
        (ERROR, error.to_owned()),
    ];
    // A dead letter that was redriven and failed again carries our attributes of last time.
    let is_ours = |name: &str| [REASON, CONSUMER, RECEIVE_COUNT, ERROR].contains(&name);
    let rank = |name: &str| {
        KEPT_FIRST
            .iter()
            .position(|first| *first == name)
            .unwrap_or(KEPT_FIRST.len())
    };
    let theirs = record.message.message_attributes.iter();
    let mut theirs: Vec<(&String, &SqsMessageAttribute)> = theirs
        .filter(|(name, _)| !(is_ours(name) || part.element.is_some() && KEPT_FIRST.contains(&name.as_str())))
        .collect();
    theirs.sort_by_key(|(name, _)| (rank(name), name.as_str()));
    let ours = ours.into_iter().chain(of_element(part));
    let ours = ours.filter_map(|(name, value)| Some((name.to_owned(), text(value)?)));
    let theirs = theirs
        .into_iter()
        .filter_map(|(name, attribute)| Some((name.clone(), copy(attribute)?)));
    let mut kept = HashMap::new();
    let mut room = room;
    for (name, value) in ours.chain(theirs) {
        let bytes = bytes_of(&name, &value);
        if kept.len() < MAX_ATTRIBUTES && bytes <= room {
            room -= bytes;
            kept.insert(name, value);
        }
    }
    kept
}

/// What SQS counts of an attribute: name, type and value (Amazon SQS developer guide, "Message metadata").
fn bytes_of(name: &str, attribute: &MessageAttributeValue) -> usize {
    let text = attribute.string_value().map_or(0, str::len);
    let binary = attribute.binary_value().map_or(0, |value| value.as_ref().len());
    name.len() + attribute.data_type().len() + text + binary
}

fn of_element(part: &Part) -> Vec<(&'static str, String)> {
    match (&part.element, &part.content) {
        (Some(_), Ok(content)) => wire::attributes(&content.envelope),
        (Some(_), Err(_)) | (None, _) => Vec::new(),
    }
}

fn text(value: String) -> Option<MessageAttributeValue> {
    let attribute = MessageAttributeValue::builder().data_type("String").string_value(value);
    attribute.build().ok()
}

fn copy(attribute: &SqsMessageAttribute) -> Option<MessageAttributeValue> {
    let copy = MessageAttributeValue::builder()
        .data_type(attribute.data_type.as_deref()?)
        .set_string_value(attribute.string_value.clone().filter(|value| !value.is_empty()))
        .set_binary_value(attribute.binary_value.as_ref().map(|value| Blob::new(value.0.clone())));
    let has_value = copy.get_string_value().is_some() || copy.get_binary_value().is_some();
    if has_value { copy.build().ok() } else { None }
}
