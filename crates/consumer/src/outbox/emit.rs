//! What a handler emits at one attempt. Pure.

use std::{collections::HashMap, sync::Arc};

use oncebox_envelope::{EventId, RawEnvelope, Text, TraceParent, attribute::AttributeError};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Outbox,
    letter::Letter,
    new_event::NewEvent,
    parcel::{self, MAX_PARCEL_BYTES},
};
use crate::failure::HandlerError;

/// Events that an event may emit.
const MAX_EVENTS: usize = 100;
/// Bytes of a message: a quarter of what SQS takes, since a parcel holds others too, and all that SNS does.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Collects what the handler of one event emits.
pub(crate) struct Emitter {
    outbox: Arc<Outbox>,
    cause: RawEnvelope,
    /// The span of who emits, where there is one.
    trace_parent: Option<TraceParent>,
    pub(super) letters: Vec<Letter>,
    /// Bytes by place of what is stored in one item.
    ordered_bytes: HashMap<(u8, String), usize>,
}

impl Emitter {
    pub(crate) fn new(outbox: Arc<Outbox>, cause: &RawEnvelope, trace_parent: Option<TraceParent>) -> Self {
        let mut cause = cause.clone();
        cause.data = None;
        Self {
            outbox,
            cause,
            trace_parent,
            letters: Vec::new(),
            ordered_bytes: HashMap::new(),
        }
    }

    pub(crate) fn into_letters(self) -> Vec<Letter> {
        self.letters
    }

    pub(crate) fn emit(&mut self, target: &str, event: NewEvent) -> Result<EventId, HandlerError> {
        let Some(to) = self.outbox.targets.get(target) else {
            // A deployment is wrong; the events must outlive it.
            return Err(HandlerError::retryable(format_args!(
                "the consumer has no target `{target}`; call `.target(\"{target}\", …)`"
            )));
        };
        if self.letters.len() >= MAX_EVENTS {
            return Err(HandlerError::permanent(format_args!(
                "more than {MAX_EVENTS} events emitted for one; emit one that stands for many"
            )));
        }
        let position = u32::try_from(self.letters.len()).unwrap_or(u32::MAX);
        let id = stable_id(&self.outbox.consumer, self.cause.id, position);
        let event_type = event.event_type.clone();
        let envelope = self.envelope(id, event).map_err(|(attribute, error)| {
            HandlerError::permanent(format_args!("`{attribute}` of the emitted event is wrong: {error}"))
        })?;
        let letter = Letter::new(to.clone(), &envelope);
        let bytes = letter.message_bytes();
        let most = MAX_MESSAGE_BYTES.min(to.kind.limits().max_message_bytes);
        if bytes > most {
            return Err(HandlerError::permanent(format_args!(
                "the emitted `{event_type}` has {bytes} bytes; {most} are taken: emit a reference to the data"
            )));
        }
        if to.keeps_order() {
            let stored = self.ordered_bytes.entry(parcel::fifo_place(&letter)).or_default();
            *stored += parcel::bytes(&letter);
            if *stored > MAX_PARCEL_BYTES {
                return Err(HandlerError::permanent(format_args!(
                    "the events emitted for one message group have {stored} bytes; {MAX_PARCEL_BYTES} are taken"
                )));
            }
        }
        self.letters.push(letter);
        Ok(id)
    }

    fn envelope(&self, id: EventId, event: NewEvent) -> Result<RawEnvelope, (&'static str, AttributeError)> {
        let named = |name: &'static str| move |error: AttributeError| (name, error);
        let not_json = |_| ("data", AttributeError::Format { expected: "JSON" });
        let cause = &self.cause;
        // Without a span of its own the handler hands on what it was given. A state belongs to the trace that it came with.
        let (trace_parent, trace_state) = match &self.trace_parent {
            Some(own) => (Some(own.clone()), None),
            None => (cause.trace_parent.clone(), cause.trace_state.clone()),
        };
        let cause_id = Text::new(cause.id.to_string()).map_err(named("causationid"))?;
        Ok(RawEnvelope {
            id,
            source: self.outbox.consumer.parse().map_err(named("source"))?,
            event_type: event.event_type.parse().map_err(named("type"))?,
            time: crate::time::wall(),
            partition_key: event
                .key
                .map(|key| key.parse())
                .transpose()
                .map_err(named("partitionkey"))?,
            sequence: None,
            tenant: match event.tenant {
                Some(tenant) => tenant.parse().map_err(named("tenant"))?,
                None => cause.tenant.clone(),
            },
            kind: event.kind,
            correlation_id: Some(cause.correlation_id.clone().unwrap_or_else(|| cause_id.clone())),
            causation_id: Some(cause_id),
            reply_to: None,
            trace_parent,
            trace_state,
            expiry_time: None,
            data_ref: None,
            extensions: std::collections::BTreeMap::new(),
            data: Some(RawValue::from_string(event.data).map_err(not_json)?),
        })
    }
}

/// A `UUIDv8` (RFC 9562 §5.8) of who emits, why, and which one it is: the same at each attempt, so that receivers
/// take an event that was sent twice for one.
fn stable_id(consumer: &str, cause: EventId, position: u32) -> EventId {
    // A consumer's name holds no zero byte.
    let hash = Sha256::new()
        .chain_update(consumer)
        .chain_update([0])
        .chain_update(cause.as_uuid().as_bytes())
        .chain_update(position.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let id: Uuid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    id.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_consumer_cause_and_position_apart_and_never_changes() {
        let cause: EventId = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap();
        let other: EventId = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c".parse().unwrap();
        let id = stable_id("billing", cause, 0);
        assert_eq!(id.as_uuid().get_version_num(), 8);
        // Pinned: an event that was sent by one version and again by the next must have one id.
        assert_eq!(id.to_string(), "97526db1-60cc-8c1d-8394-5270ad9b44af");
        for another in [
            stable_id("billing", cause, 1),
            stable_id("billing", other, 0),
            stable_id("billin", cause, 0),
        ] {
            assert_ne!(another, id);
        }
    }
}
