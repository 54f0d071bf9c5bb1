//! The way of an envelope through the log: a row of it, and the message that the relay makes of that.

use std::sync::Arc;

use jiff::Timestamp;
use oncebox_envelope::{ExtensionValue, RawEnvelope, target};
use outbox_relay::{
    log::page::Row,
    publish::{Message, TargetKind, limits},
};
use serde_json::{Map, Value};

use crate::said::{self, Said};

/// The message of an event with this envelope, which has to say the same; `None` for what is in no row: data that lies in S3, and the
/// last microsecond of all, which jiff does not take for one.
pub(crate) fn of(envelope: &RawEnvelope) -> Option<Message> {
    let time = Timestamp::from_microsecond(envelope.time.as_microsecond()).ok()?;
    let message = Message::of(row(envelope)?).expect("what is an envelope is a row that can be sent");
    let sent = RawEnvelope::from_json(message.body.as_bytes()).expect("what is sent is an envelope");
    // Postgres keeps microseconds.
    let expected = RawEnvelope {
        time,
        ..envelope.clone()
    };
    let (sent, expected) = (Said::by(&sent), Said::by(&expected));
    assert!(sent.agrees_with(&expected), "sent {sent:?}, of {expected:?}");
    assert_counted(&message);
    Some(message)
}

/// What a message counts is what is sent of it, counted here by itself.
pub(crate) fn assert_counted(message: &Message) {
    let attributes = message.attributes.iter();
    let attributes: usize = attributes
        .map(|(name, value)| name.len() + "String".len() + value.len())
        .sum();
    for kind in [
        TargetKind::Queue,
        TargetKind::FifoQueue,
        TargetKind::Topic,
        TargetKind::FifoTopic,
    ] {
        assert_eq!(
            limits::bytes_of(kind, message),
            message.body.len() + attributes,
            "{kind:?}"
        );
    }
    let event = 14 + message.source.len() + message.event_type.len() + message.body.len();
    assert_eq!(limits::bytes_of(TargetKind::EventBus, message), event);
    assert_eq!(message.held_bytes(), message.body.len());
}

/// What the relay makes of several is a bundle of the same, in their order, that is no larger than what was counted for them.
pub(crate) fn assert_packed(envelopes: &[RawEnvelope]) {
    let messages: Vec<Arc<Message>> = envelopes.iter().filter_map(of).map(Arc::new).collect();
    let Some(packed) = Message::bundle(&messages) else {
        assert!(messages.is_empty(), "several messages make no bundle");
        return;
    };
    assert_counted(&packed);
    let sent = said::events(packed.body.as_bytes()).expect("what was packed can be read");
    let alone: Vec<RawEnvelope> = messages
        .iter()
        .filter_map(|m| RawEnvelope::from_json(m.body.as_bytes()).ok())
        .collect();
    assert_eq!(said::all(&sent), said::all(&alone));
    for kind in [TargetKind::Queue, TargetKind::Topic] {
        let counted: usize = messages.iter().map(|message| limits::bytes_of(kind, message)).sum();
        assert!(
            limits::bytes_of(kind, &packed) <= counted,
            "larger than was counted for its events"
        );
    }
    assert!(packed.id.len() <= target::MAX_DEDUPLICATION_ID_CHARS);
    // A FIFO target would take a bundle that begins with the same events for the same one.
    let shorter = Message::bundle(&messages[..messages.len() - 1]);
    assert!(shorter.is_none_or(|shorter| shorter.id != packed.id));
}

fn row(envelope: &RawEnvelope) -> Option<Row> {
    let mut headers: Map<String, Value> = envelope
        .extensions
        .iter()
        .map(|(name, value)| {
            let value = match value {
                ExtensionValue::Boolean(value) => Value::from(*value),
                ExtensionValue::Integer(value) => Value::from(*value),
                ExtensionValue::String(value) => Value::from(value.as_str()),
            };
            (name.to_string(), value)
        })
        .collect();
    let known = [
        (
            "correlationid",
            envelope.correlation_id.as_ref().map(ToString::to_string),
        ),
        ("causationid", envelope.causation_id.as_ref().map(ToString::to_string)),
        ("replyto", envelope.reply_to.as_ref().map(ToString::to_string)),
        ("traceparent", envelope.trace_parent.as_ref().map(ToString::to_string)),
        ("tracestate", envelope.trace_state.as_ref().map(ToString::to_string)),
        ("expirytime", envelope.expiry_time.as_ref().map(ToString::to_string)),
    ];
    headers.extend(
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into()))),
    );
    Some(Row {
        seq: 1,
        shard: 0,
        id: envelope.id.into(),
        event_type: envelope.event_type.to_string(),
        key: envelope.partition_key.as_ref().map(ToString::to_string),
        key_seq: envelope.sequence.map(|sequence| sequence.get()),
        tenant: envelope.tenant.to_string(),
        kind: envelope.kind.to_string(),
        source: envelope.source.to_string(),
        time_micros: envelope.time.as_microsecond(),
        headers: Value::from(headers).to_string(),
        data: envelope.data.as_ref()?.get().to_owned(),
    })
}
