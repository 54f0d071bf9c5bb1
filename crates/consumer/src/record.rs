//! One SQS record, decoded as far as it goes.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use oncebox_envelope::{EnvelopeError, RawEnvelope};

use crate::{batch::BatchError, canonical::PayloadHash};

/// A record of a batch.
pub(crate) struct Record {
    pub(crate) message_id: String,
    /// The message group where order is promised; `None` on a standard queue.
    pub(crate) group: Option<String>,
    pub(crate) receive_count: Option<u32>,
    pub(crate) content: Result<Content, EnvelopeError>,
    /// As delivered: what a dead letter is made of.
    pub(crate) message: SqsMessage,
}

/// What a well-formed record holds.
pub(crate) struct Content {
    pub(crate) envelope: RawEnvelope,
    pub(crate) hash: PayloadHash,
}

impl Record {
    /// Decodes a batch; a body that is no envelope is a fault of its record only.
    ///
    /// # Errors
    /// A record without a message id cannot be reported to Lambda one by one.
    pub(crate) fn decode_all(event: SqsEvent) -> Result<Vec<Self>, BatchError> {
        let decode = |(index, message): (usize, SqsMessage)| Self::decode(message).ok_or(BatchError { index });
        event.records.into_iter().enumerate().map(decode).collect()
    }

    fn decode(message: SqsMessage) -> Option<Self> {
        let message_id = message.message_id.clone().filter(|id| !id.is_empty())?;
        let body = message.body.as_deref().unwrap_or_default();
        let content = RawEnvelope::from_json(body.as_bytes()).map(|envelope| Content {
            hash: PayloadHash::of(&envelope),
            envelope,
        });
        // A group id alone proves nothing: fair queues set one on standard queues too.
        let is_fifo = message
            .event_source_arn
            .as_deref()
            .is_some_and(|arn| arn.ends_with(".fifo"));
        let attribute = |name| message.attributes.get(name);
        Some(Self {
            group: is_fifo.then(|| attribute("MessageGroupId").cloned().unwrap_or_default()),
            receive_count: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()),
            content,
            message_id,
            message,
        })
    }

    /// Which copies of it in the same batch need no attempt of their own.
    pub(crate) fn identity(&self) -> Option<(oncebox_envelope::EventId, PayloadHash)> {
        let content = self.content.as_ref().ok()?;
        Some((content.envelope.id, content.hash))
    }
}
