//! An event that a handler emits.

use oncebox_envelope::{Event, Kind};

use crate::failure::HandlerError;

/// An event on its way into the consumer's outbox: type and data, and what is known besides.
///
/// The rest comes from its cause, the event that is being consumed: tenant, conversation and trace (with feature `otel`, that of
/// the handler's span where it is recorded);
/// `causationid` is the cause's id, and `source` the consumer's name. The `id` is made of consumer, cause and the
/// event's position among those that the handler emits, so it is the same at each attempt.
#[derive(Debug, Clone)]
#[must_use = "an event is only emitted by `Effects::emit`"]
pub struct NewEvent {
    pub(super) event_type: String,
    pub(super) kind: Kind,
    /// JSON.
    pub(super) data: String,
    pub(super) key: Option<String>,
    pub(super) tenant: Option<String>,
}

impl NewEvent {
    /// An event of type `E`, without a key.
    ///
    /// # Errors
    /// A permanent one when `E` does not serialize to JSON (a map with keys that are no strings, or its own
    /// `Serialize` failing).
    pub fn of<E: Event>(data: &E) -> Result<Self, HandlerError> {
        let not_json = |_| HandlerError::permanent(format_args!("data of `{}` does not serialize to JSON", E::TYPE));
        Ok(Self {
            event_type: E::TYPE.to_owned(),
            kind: E::KIND,
            data: serde_json::to_string(data).map_err(not_json)?,
            key: None,
            tenant: None,
        })
    }

    /// Sets the ordering key, 1 to 2,048 bytes: a FIFO queue gets the events of one key in the order in which
    /// their causes have had their effects.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the tenant, 1 to 128 bytes; that of the cause otherwise.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }
}
