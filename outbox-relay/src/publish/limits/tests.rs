use oncebox_envelope::attribute::{EventType, Source};

use super::*;

const KINDS: [TargetKind; 5] = [
    TargetKind::Queue,
    TargetKind::FifoQueue,
    TargetKind::Topic,
    TargetKind::FifoTopic,
    TargetKind::EventBus,
];

fn message() -> Message {
    Message {
        id: "id".to_owned(),
        source: "/é".to_owned(),
        event_type: "a.v1".to_owned(),
        time_micros: 0,
        body: "{\"é\":1}".to_owned(),
        attributes: vec![("ce-id", "é".to_owned()), ("ce-kind", "event".to_owned())],
        key: None,
        tenant: "default".to_owned(),
        claims: Vec::new(),
    }
}

#[test]
fn each_target_counts_a_message_in_its_own_way() {
    let message = message();
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
fn what_a_queue_or_topic_is_set_to_counts_instead_of_the_kinds_limit() {
    let of = |kind: TargetKind, bytes| kind.limits().for_messages_of(kind, bytes);
    let queue = of(TargetKind::FifoQueue, 1_024);
    assert_eq!((queue.max_message_bytes, queue.max_request_bytes), (1_024, 1_048_576));
    let topic = of(TargetKind::Topic, 1_048_576);
    assert_eq!(
        (topic.max_message_bytes, topic.max_request_bytes),
        (1_048_576, 1_048_576)
    );
    let small = of(TargetKind::FifoTopic, 1_024);
    assert_eq!((small.max_message_bytes, small.max_request_bytes), (1_024, 1_024));
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
