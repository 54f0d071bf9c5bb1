//! From an envelope as it came to the data that a handler takes: older versions are brought up to
//! date, data is checked against its schema, and then it is read.
//!
//! All of it belongs to the attempt, and none of it to the event's identity: the dedupe record is of
//! the data as it came, so an event stays the same event when an upcast is added or changed.

#[cfg(feature = "schema")]
mod schema;
mod upcast;

use std::{collections::HashMap, sync::Arc};

use oncebox_envelope::{Envelope, EnvelopeError, Event, RawData, RawEnvelope};

#[cfg(feature = "schema")]
pub(crate) use self::schema::{Document, Schemas, document};
pub(crate) use self::upcast::{Upcast, chain};
use crate::failure::{Failure, Reason};

/// What a consumer knows of its event types beside their handlers.
#[derive(Default)]
pub(crate) struct Contract {
    /// The way on from each older type. Versions only rise, so every way ends.
    upcasts: HashMap<&'static str, Upcast>,
    #[cfg(feature = "schema")]
    schemas: Schemas,
}

/// How a handler's data is read.
#[doc(hidden)]
pub struct Read<D> {
    contract: Arc<Contract>,
    typed: fn(RawEnvelope) -> Result<Envelope<D>, EnvelopeError>,
}

impl Contract {
    pub(crate) fn new(upcasts: HashMap<&'static str, Upcast>, #[cfg(feature = "schema")] schemas: Schemas) -> Self {
        Self {
            upcasts,
            #[cfg(feature = "schema")]
            schemas,
        }
    }

    /// The type that an event of `event_type` is handled as.
    pub(crate) fn current_type<'a>(&self, event_type: &'a str) -> &'a str {
        let mut current = event_type;
        while let Some(upcast) = self.upcasts.get(current) {
            current = upcast.to;
        }
        current
    }

    fn bring_up_to_date(&self, mut event: RawEnvelope) -> Result<RawEnvelope, Failure> {
        while let Some(upcast) = self.upcasts.get(event.event_type.as_str()) {
            self.check(&event)?;
            event = upcast.apply(event)?;
        }
        self.check(&event)?;
        Ok(event)
    }

    #[cfg(feature = "schema")]
    fn check(&self, event: &RawEnvelope) -> Result<(), Failure> {
        self.schemas.check(event)
    }

    #[cfg(not(feature = "schema"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the shape that it has with the feature"
    )]
    fn check(&self, _: &RawEnvelope) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Event> Read<E> {
    pub(crate) fn event(contract: &Arc<Contract>) -> Self {
        Self {
            contract: Arc::clone(contract),
            typed: RawEnvelope::typed::<E>,
        }
    }
}

impl Read<RawData> {
    /// Every type, its data unread.
    pub(crate) fn any() -> Self {
        Self {
            contract: Arc::default(),
            typed: Ok,
        }
    }
}

impl<D> Read<D> {
    /// # Errors
    /// Permanent: what is there will not be another thing next time.
    pub(crate) fn read(&self, event: RawEnvelope) -> Result<Envelope<D>, Failure> {
        let event = self.contract.bring_up_to_date(event)?;
        (self.typed)(event).map_err(|error| Failure::permanent(Reason::WrongSchema, error))
    }
}
