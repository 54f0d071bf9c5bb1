//! The envelope: one event with everything that is known about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::{
    DataRef, EnvelopeError, Event, EventId, EventType, ExtensionName, ExtensionValue, Kind, PartitionKey, Sequence,
    Source, Tenant, Text, TraceParent,
};

/// The data of an envelope as the JSON text that it came as; `None` when it is held at `dataref`.
pub type RawData = Option<Box<RawValue>>;

/// An envelope whose data has not been read as a type yet: what is on the wire.
pub type RawEnvelope = Envelope<RawData>;

/// A `CloudEvents` 1.0 event with Oncebox's extension attributes.
///
/// `T` is the type of `data`: [`RawData`] as decoded, the event's own type after
/// [`RawEnvelope::typed`].
#[derive(Debug, Clone)]
pub struct Envelope<T> {
    /// The only identity that anything deduplicates on.
    pub id: EventId,
    /// Who says so.
    pub source: Source,
    /// What happened (or is asked for), ending in its major version.
    pub event_type: EventType,
    /// When the event was enqueued: the start of the producer's transaction, to the microsecond.
    pub time: Timestamp,
    /// The ordering key; `None` when no order was asked for.
    pub partition_key: Option<PartitionKey>,
    /// Position within the key; present exactly when the producer numbers its events.
    pub sequence: Option<Sequence>,
    /// The unit of isolation and fairness.
    pub tenant: Tenant,
    /// What the envelope asks of its reader.
    pub kind: Kind,
    /// The conversation that this belongs to.
    pub correlation_id: Option<Text>,
    /// The id of what caused this.
    pub causation_id: Option<Text>,
    /// Where a reply is to go.
    pub reply_to: Option<Text>,
    /// W3C trace context.
    pub trace_parent: Option<TraceParent>,
    /// W3C trace context, vendors' part.
    pub trace_state: Option<Text>,
    /// From then on, drop instead of process.
    pub expiry_time: Option<Timestamp>,
    /// Claim check: where the data is held; absent where the envelope itself holds it.
    pub data_ref: Option<DataRef>,
    /// Attributes of somebody else's, carried along.
    pub extensions: BTreeMap<ExtensionName, ExtensionValue>,
    /// The payload.
    pub data: T,
}

impl<T> Envelope<T> {
    /// Whether the envelope is past its `expirytime` at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expiry_time.is_some_and(|expiry| expiry <= now)
    }

    /// The same envelope with other data.
    pub fn map_data<U>(self, map: impl FnOnce(T) -> U) -> Envelope<U> {
        Envelope {
            id: self.id,
            source: self.source,
            event_type: self.event_type,
            time: self.time,
            partition_key: self.partition_key,
            sequence: self.sequence,
            tenant: self.tenant,
            kind: self.kind,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            reply_to: self.reply_to,
            trace_parent: self.trace_parent,
            trace_state: self.trace_state,
            expiry_time: self.expiry_time,
            data_ref: self.data_ref,
            extensions: self.extensions,
            data: map(self.data),
        }
    }
}

impl RawEnvelope {
    /// Reads the data as `E`.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongType`] when the envelope's type is not `E::TYPE`,
    /// [`EnvelopeError::Unresolved`] when the data is held at `dataref`, [`EnvelopeError::Data`]
    /// with the path when the data is not an `E`.
    pub fn typed<E: Event>(self) -> Result<Envelope<E>, EnvelopeError> {
        if self.event_type.as_str() != E::TYPE {
            return Err(EnvelopeError::WrongType {
                expected: E::TYPE,
                found: self.event_type.to_string(),
            });
        }
        let raw = self.data.as_deref().ok_or(EnvelopeError::Unresolved)?;
        let data = crate::event::read_data::<E>(raw)?;
        Ok(self.map_data(|_| data))
    }
}
