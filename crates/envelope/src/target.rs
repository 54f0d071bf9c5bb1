//! What the targets take that envelopes are sent to: the one table of limits, and how each target counts.

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

/// What sources begin with that `EventBridge` takes from AWS's own services only (Amazon EventBridge user guide,
/// "Events from AWS services").
pub const RESERVED_SOURCE: &str = "aws.";

/// What the `Time` of an EventBridge entry counts (Amazon EventBridge user guide, "Calculating
/// PutEvents event entry size").
const EVENT_TIME_BYTES: usize = 14;

/// What a target counts of a message.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// The envelope as JSON, or a bundle.
    pub body: &'a str,
    /// Message attributes by name; all are strings.
    pub attributes: &'a [(&'static str, String)],
    /// The envelope's source.
    pub source: &'a str,
    /// The envelope's type.
    pub event_type: &'a str,
}

impl TargetKind {
    /// A queue.
    #[must_use]
    pub const fn queue(is_fifo: bool) -> Self {
        if is_fifo { Self::FifoQueue } else { Self::Queue }
    }

    /// A topic.
    #[must_use]
    pub const fn topic(is_fifo: bool) -> Self {
        if is_fifo { Self::FifoTopic } else { Self::Topic }
    }

    /// What every target of the kind takes. A single queue or topic may be set to take less or more.
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
    pub fn bytes_of(self, message: &Counted<'_>) -> usize {
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

    /// Whether the target keeps the order of message groups, so that whoever sends must keep it too.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::{EventType, Source};

    const KINDS: [TargetKind; 5] = [
        TargetKind::Queue,
        TargetKind::FifoQueue,
        TargetKind::Topic,
        TargetKind::FifoTopic,
        TargetKind::EventBus,
    ];

    #[test]
    fn each_target_counts_a_message_in_its_own_way() {
        let message = Counted {
            body: "{\"é\":1}",
            attributes: &[("ce-id", "é".to_owned()), ("ce-kind", "event".to_owned())],
            source: "/é",
            event_type: "a.v1",
        };
        // "String" is the type of both attributes.
        let with_attributes = 8 + (5 + 6 + 2) + (7 + 6 + 5);
        for kind in KINDS {
            let expected = match kind {
                TargetKind::EventBus => 14 + 3 + 4 + 8,
                _ => with_attributes,
            };
            assert_eq!(kind.bytes_of(&message), expected, "{kind:?}");
        }
    }

    #[test]
    fn one_message_of_the_largest_size_fits_into_a_request() {
        for kind in KINDS {
            let limits = kind.limits();
            assert!(limits.max_message_bytes <= limits.max_request_bytes, "{kind:?}");
            assert!((1..=10).contains(&limits.max_entries), "{kind:?}");
        }
    }

    #[test]
    fn the_envelopes_contract_fits_into_every_target() {
        // Bytes bound characters from above.
        const { assert!(EventType::MAX_BYTES <= MAX_DETAIL_TYPE_CHARS) };
        const { assert!(Source::MAX_BYTES <= MAX_SOURCE_BYTES) };
        // A UUID, or `bundle-` with a SHA-256 in hex.
        const { assert!("bundle-".len() + 64 <= MAX_DEDUPLICATION_ID_CHARS) };
    }

    #[test]
    fn only_fifo_keeps_order_and_only_eventbridge_takes_no_bundles() {
        for kind in KINDS {
            assert_eq!(kind.keeps_order(), kind.as_str().ends_with("-fifo"), "{kind:?}");
            assert_eq!(kind.takes_bundles(), kind != TargetKind::EventBus, "{kind:?}");
        }
    }
}
