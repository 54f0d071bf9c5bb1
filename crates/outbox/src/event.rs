//! An event on its way into the outbox.

use oncebox_envelope::{Envelope, Event};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::EnqueueError;

/// An event on its way into the outbox: type and data, and what is known besides.
///
/// Nothing is checked until [`Outbox::enqueue`](crate::Outbox::enqueue); there the database checks
/// everything, for callers in every language alike.
#[derive(Debug, Clone)]
#[must_use = "an event is only enqueued by `Outbox::enqueue`"]
pub struct NewEvent {
    pub(crate) event_type: String,
    pub(crate) data: String,
    pub(crate) key: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) headers: Map<String, Value>,
    pub(crate) id: Option<Uuid>,
}

impl NewEvent {
    /// An event of type `E`, without a key.
    ///
    /// # Errors
    /// [`EnqueueError::Encode`] when `E` does not serialize to JSON (a map with keys that are no
    /// strings, or its own `Serialize` failing).
    pub fn of<E: Event>(data: &E) -> Result<Self, EnqueueError> {
        Ok(Self {
            event_type: E::TYPE.to_owned(),
            data: serde_json::to_string(data).map_err(EnqueueError::Encode)?,
            key: None,
            tenant: None,
            kind: E::KIND.as_str(),
            headers: Map::new(),
            id: None,
        })
    }

    /// Sets the ordering key, 1 to 2,048 bytes: events of one key are published in commit order.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the tenant, 1 to 128 bytes; `default` otherwise.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Brings an id of the caller's own. Consumers take two events with one id for one event, so
    /// an id must never be used for another payload.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets another attribute of the envelope (`correlationid`, `traceparent`, `expirytime`, an
    /// extension of the caller's own, or `sequence` as a number for a caller that versions its
    /// aggregates itself).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Makes this the consequence of `cause`: same tenant, same conversation, same trace, and
    /// `causationid` is the id of `cause`.
    pub fn caused_by<T>(mut self, cause: &Envelope<T>) -> Self {
        let id = cause.id.to_string();
        let conversation = cause
            .correlation_id
            .as_ref()
            .map_or_else(|| id.clone(), ToString::to_string);
        self.tenant = Some(cause.tenant.to_string());
        self = self.header("correlationid", conversation).header("causationid", id);
        if let Some(trace_parent) = &cause.trace_parent {
            self = self.header("traceparent", trace_parent.as_str());
        }
        if let Some(trace_state) = &cause.trace_state {
            self = self.header("tracestate", trace_state.as_str());
        }
        self
    }
}
