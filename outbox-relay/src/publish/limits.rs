//! What the targets take: the one table of limits, and how each target counts.

use super::Message;

/// What one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Entries.
    pub max_entries: usize,
    /// Bytes over all entries, as the target counts them.
    pub max_bytes: usize,
}

/// What a target takes; bytes are counted as by [`TargetKind::bytes_of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one request.
    pub max_entries: usize,
    /// Bytes over all entries of one request.
    pub max_request_bytes: usize,
    /// Bytes of one entry.
    pub max_message_bytes: usize,
}

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// An Amazon SQS standard queue.
    Queue,
    /// An Amazon SQS FIFO queue.
    FifoQueue,
    /// An Amazon SNS standard topic.
    Topic,
    /// An Amazon SNS FIFO topic.
    FifoTopic,
    /// An Amazon EventBridge event bus.
    EventBus,
}

/// Message attributes of a message that reaches an SQS queue, be it by raw delivery from SNS (Amazon
/// SQS developer guide, "Message metadata"; Amazon SNS developer guide, "Message attributes": SNS
/// discards what has more).
pub const MAX_ATTRIBUTES: usize = 10;

/// Characters of a `MessageDeduplicationId` (API references of Amazon SQS, `SendMessage`, and Amazon SNS,
/// `PublishBatchRequestEntry`).
pub const MAX_DEDUPLICATION_ID_CHARS: usize = 128;

/// Characters of a `DetailType` (Amazon EventBridge API reference, `PutEventsRequestEntry`).
pub const MAX_DETAIL_TYPE_CHARS: usize = 128;

/// Bytes of a `Source`. The API reference gives no figure for a custom event's; this is what it
/// gives for a partner's event source.
pub const MAX_SOURCE_BYTES: usize = 256;

/// What the `Time` of an EventBridge entry counts (Amazon EventBridge user guide, "Calculating
/// PutEvents event entry size").
const EVENT_TIME_BYTES: usize = 14;

impl TargetKind {
    /// What every target of the kind takes. A single queue or topic may be set to take less or more:
    /// see [`super::Target::limits`].
    #[must_use]
    pub const fn limits(self) -> Limits {
        match self {
            // Amazon SQS API reference, `SendMessageBatch`: ten entries; one message and all of them
            // together at most 1 MiB (256 KiB before August 2025).
            Self::Queue | Self::FifoQueue => Limits {
                max_entries: 10,
                max_request_bytes: 1_048_576,
                max_message_bytes: 1_048_576,
            },
            // Amazon SNS API reference, `PublishBatch`: ten entries; one message and all of them
            // together at most the topic's `MaximumMessageSize`, which is 256 KiB unless it is set.
            Self::Topic | Self::FifoTopic => Limits {
                max_entries: 10,
                max_request_bytes: 262_144,
                max_message_bytes: 262_144,
            },
            // Amazon EventBridge API reference, `PutEvents`: ten entries, and "the total entry size
            // must be less than 1MB" (256 KB before January 2026). Read as 10^6: a rule hands on more
            // than the entry, since it adds fields, and that has to fit into the 1 MiB of a queue.
            Self::EventBus => Limits {
                max_entries: 10,
                max_request_bytes: 999_999,
                max_message_bytes: 999_999,
            },
        }
    }

    /// What a message counts against the limits.
    ///
    /// SQS and SNS count the body and the names, types and values of the attributes (Amazon SQS
    /// developer guide, "Message metadata"; Amazon SNS API reference, `MessageAttributeValue`).
    /// EventBridge counts time, source, detail type and detail (Amazon EventBridge user guide,
    /// "Calculating PutEvents event entry size").
    #[must_use]
    pub fn bytes_of(self, message: &Message) -> usize {
        const TYPE: usize = "String".len();
        match self {
            Self::Queue | Self::FifoQueue | Self::Topic | Self::FifoTopic => {
                let attributes = message.attributes.iter();
                let attributes = attributes.map(|(name, value)| name.len() + TYPE + value.len());
                message.body.len() + attributes.sum::<usize>()
            }
            Self::EventBus => EVENT_TIME_BYTES + message.source.len() + message.event_type.len() + message.body.len(),
        }
    }

    /// Whether the target keeps the order of message groups, so that the relay must keep it too.
    #[must_use]
    pub const fn keeps_order(self) -> bool {
        match self {
            Self::FifoQueue | Self::FifoTopic => true,
            Self::Queue | Self::Topic | Self::EventBus => false,
        }
    }

    /// Whether a message may be a bundle of envelopes. An EventBridge event may not: its `Detail` is
    /// one JSON object, and rules match on it.
    #[must_use]
    pub const fn takes_bundles(self) -> bool {
        match self {
            Self::Queue | Self::FifoQueue | Self::Topic | Self::FifoTopic => true,
            Self::EventBus => false,
        }
    }

    /// The word in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "sqs",
            Self::FifoQueue => "sqs-fifo",
            Self::Topic => "sns",
            Self::FifoTopic => "sns-fifo",
            Self::EventBus => "eventbridge",
        }
    }

    /// The word in traces (OpenTelemetry semantic conventions, `messaging.system`; there is none for
    /// EventBridge yet).
    #[must_use]
    pub const fn system(self) -> &'static str {
        match self {
            Self::Queue | Self::FifoQueue => "aws_sqs",
            Self::Topic | Self::FifoTopic => "aws.sns",
            Self::EventBus => "aws_eventbridge",
        }
    }

    pub(super) const fn queue(is_fifo: bool) -> Self {
        if is_fifo { Self::FifoQueue } else { Self::Queue }
    }

    pub(super) const fn topic(is_fifo: bool) -> Self {
        if is_fifo { Self::FifoTopic } else { Self::Topic }
    }
}

impl Limits {
    /// The part that concerns a request.
    #[must_use]
    pub const fn of_request(self) -> BatchLimits {
        BatchLimits {
            max_entries: self.max_entries,
            max_bytes: self.max_request_bytes,
        }
    }

    /// The limits of one queue or topic, whose attribute `MaximumMessageSize` is `bytes`.
    ///
    /// For a queue it concerns each message, for a topic the sum over a request too (Amazon SNS API
    /// reference, `PublishBatch`).
    #[must_use]
    pub(super) fn for_messages_of(self, kind: TargetKind, bytes: usize) -> Self {
        let max_request_bytes = match kind {
            TargetKind::Topic | TargetKind::FifoTopic => bytes,
            TargetKind::Queue | TargetKind::FifoQueue | TargetKind::EventBus => self.max_request_bytes,
        };
        Self {
            max_request_bytes,
            max_message_bytes: bytes.min(max_request_bytes),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
