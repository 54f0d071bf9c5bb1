//! What Lambda delivers: records, and the events in them, decoded as far as they go.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;
use oncebox_envelope::{Body, EnvelopeError, EventId, RawEnvelope};
use serde_json::value::RawValue;

use crate::{batch::BatchError, canonical::PayloadHash};

/// The records of a batch and their parts, both in the order of the batch.
pub(crate) struct Delivery {
    pub(crate) records: Vec<Record>,
    pub(crate) parts: Vec<Part>,
    /// Whether a gap guard looks after the keys.
    pub(crate) is_gap_guarded: bool,
}

/// An SQS message; it is acknowledged or goes back as a whole.
pub(crate) struct Record {
    pub(crate) message_id: String,
    /// The message group where order is promised; `None` on a standard queue.
    pub(crate) group: Option<String>,
    pub(crate) receive_count: Option<u32>,
    /// Since when it has been waiting, by the clock of SQS: when that delivered it for the first time; on a FIFO queue
    /// when it was sent, since there it is delivered only when what stands before it in its group is gone.
    pub(crate) waits_since: Option<Timestamp>,
    /// As delivered.
    pub(crate) message: SqsMessage,
}

/// One event of a record, or what stands in its place; each is worked on and settled for itself.
///
/// A record has one part, a bundle one for each of its elements.
pub(crate) struct Part {
    /// Position of its record in the batch.
    pub(crate) record: usize,
    /// The element of a bundle; `None` where the record is not a bundle.
    pub(crate) element: Option<Element>,
    pub(crate) content: Result<Content, EnvelopeError>,
}

/// Where a part stands in its bundle.
pub(crate) struct Element {
    /// 0-based.
    pub(crate) index: usize,
    /// As it stands there: what a dead letter of it alone is made of.
    pub(crate) json: Box<RawValue>,
}

/// An event and the hash of what it says.
pub(crate) struct Content {
    pub(crate) envelope: RawEnvelope,
    pub(crate) hash: PayloadHash,
}

impl Content {
    pub(crate) fn new(envelope: RawEnvelope) -> Self {
        Self {
            hash: PayloadHash::of(&envelope),
            envelope,
        }
    }
}

impl Delivery {
    /// Decodes a batch; a body or an element that is no envelope is a fault of its part only.
    ///
    /// # Errors
    /// A record without a message id cannot be reported to Lambda one by one.
    pub(crate) fn decode(event: SqsEvent) -> Result<Self, BatchError> {
        let mut delivery = Self {
            records: Vec::with_capacity(event.records.len()),
            parts: Vec::with_capacity(event.records.len()),
            is_gap_guarded: false,
        };
        for (index, message) in event.records.into_iter().enumerate() {
            delivery
                .parts
                .extend(parts(index, message.body.as_deref().unwrap_or_default()));
            delivery.records.push(Record::new(message).ok_or(BatchError { index })?);
        }
        Ok(delivery)
    }

    /// The record of a part.
    pub(crate) fn record_of(&self, part: &Part) -> &Record {
        &self.records[part.record]
    }
}

fn parts(record: usize, body: &str) -> Vec<Part> {
    let part = |content: Result<RawEnvelope, EnvelopeError>, element| Part {
        record,
        element,
        content: content.map(Content::new),
    };
    match Body::from_json(body.as_bytes()) {
        Ok(Body::Envelope(envelope)) => vec![part(Ok(*envelope), None)],
        Ok(Body::Bundle(bundle)) => {
            let elements = bundle.elements.into_iter().enumerate();
            let part_of = |(index, element): (usize, oncebox_envelope::Element)| {
                let json = element.json;
                part(element.envelope, Some(Element { index, json }))
            };
            elements.map(part_of).collect()
        }
        Err(error) => vec![part(Err(error), None)],
    }
}

impl Record {
    fn new(message: SqsMessage) -> Option<Self> {
        let message_id = message.message_id.clone().filter(|id| !id.is_empty())?;
        // A group id alone proves nothing: fair queues set one on standard queues too.
        let is_fifo = message
            .event_source_arn
            .as_deref()
            .is_some_and(|arn| arn.ends_with(".fifo"));
        let attribute = |name| message.attributes.get(name);
        Some(Self {
            group: is_fifo.then(|| attribute("MessageGroupId").cloned().unwrap_or_default()),
            receive_count: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()),
            waits_since: attribute(if is_fifo {
                "SentTimestamp"
            } else {
                "ApproximateFirstReceiveTimestamp"
            })
            .and_then(|ms| Timestamp::from_millisecond(ms.parse().ok()?).ok()),
            message_id,
            message,
        })
    }
}

impl Part {
    /// Which copies of it in the same batch need no attempt of their own.
    pub(crate) fn identity(&self) -> Option<(EventId, PayloadHash)> {
        let content = self.content.as_ref().ok()?;
        Some((content.envelope.id, content.hash))
    }
}
