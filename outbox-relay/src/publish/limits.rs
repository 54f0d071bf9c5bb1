//! What a single target takes; the table for their kinds is in `oncebox_envelope::target`, which functions
//! send by as well.

pub use oncebox_envelope::target::{Limits, TargetKind};

use oncebox_envelope::target::Counted;

use super::Message;

/// What one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Entries.
    pub max_entries: usize,
    /// Bytes over all entries, as the target counts them.
    pub max_bytes: usize,
}

impl BatchLimits {
    /// The part of `limits` that concerns a request.
    #[must_use]
    pub const fn of(limits: Limits) -> Self {
        Self {
            max_entries: limits.max_entries,
            max_bytes: limits.max_request_bytes,
        }
    }
}

/// What a message counts against the limits of a kind.
#[must_use]
pub fn bytes_of(kind: TargetKind, message: &Message) -> usize {
    kind.bytes_of(&Counted {
        body: &message.body,
        attributes: &message.attributes,
        source: &message.source,
        event_type: &message.event_type,
    })
}

/// The limits of one queue or topic, whose attribute `MaximumMessageSize` is `bytes`.
///
/// For a queue it concerns each message, for a topic the sum over a request too (Amazon SNS API
/// reference, `PublishBatch`).
#[must_use]
pub(super) fn for_messages_of(kind: TargetKind, bytes: usize) -> Limits {
    let limits = kind.limits();
    let max_request_bytes = match kind {
        TargetKind::Topic | TargetKind::FifoTopic => bytes,
        TargetKind::Queue | TargetKind::FifoQueue | TargetKind::EventBus => limits.max_request_bytes,
    };
    Limits {
        max_request_bytes,
        max_message_bytes: bytes.min(max_request_bytes),
        ..limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_or_topic_is_set_to_counts_instead_of_the_kinds_limit() {
        let queue = for_messages_of(TargetKind::FifoQueue, 1_024);
        assert_eq!((queue.max_message_bytes, queue.max_request_bytes), (1_024, 1_048_576));
        let topic = for_messages_of(TargetKind::Topic, 1_048_576);
        assert_eq!(
            (topic.max_message_bytes, topic.max_request_bytes),
            (1_048_576, 1_048_576)
        );
        let small = for_messages_of(TargetKind::FifoTopic, 1_024);
        assert_eq!((small.max_message_bytes, small.max_request_bytes), (1_024, 1_024));
    }
}
