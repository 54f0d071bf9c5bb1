//! An event and where it goes. Pure.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use oncebox_envelope::{EventId, RawEnvelope, target::Counted, wire};

use super::target::Target;

/// An event on its way to a target. What is stored is the target's address and the body; the rest follows from the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: Target,
    pub(crate) id: EventId,
    pub(crate) event_type: String,
    pub(crate) source: String,
    /// When it was emitted, by the clock of who did.
    pub(crate) time: Timestamp,
    /// The message group.
    pub(crate) group: String,
    pub(crate) attributes: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

const TO: &str = "to";
const BODY: &str = "body";

impl Letter {
    pub(crate) fn new(to: Target, envelope: &RawEnvelope) -> Self {
        Self {
            id: envelope.id,
            event_type: envelope.event_type.to_string(),
            source: envelope.source.to_string(),
            time: envelope.time,
            group: wire::group(envelope, to.keeps_order()),
            attributes: wire::attributes(envelope),
            body: wire::body(envelope),
            to,
        }
    }

    /// What it counts against its target's limits.
    pub(crate) fn message_bytes(&self) -> usize {
        self.to.kind.bytes_of(&Counted {
            body: &self.body,
            attributes: &self.attributes,
            source: &self.source,
            event_type: &self.event_type,
        })
    }

    pub(super) fn write(&self) -> AttributeValue {
        AttributeValue::M(HashMap::from([
            (TO.to_owned(), AttributeValue::S(self.to.address.clone())),
            (BODY.to_owned(), AttributeValue::S(self.body.clone())),
        ]))
    }

    /// `None` when it is no letter that this version can read.
    pub(super) fn read(value: &AttributeValue) -> Option<Self> {
        let text = |name| value.as_m().ok()?.get(name)?.as_s().ok();
        let to = Target::new(text(TO)?).ok()?;
        let envelope = RawEnvelope::from_json(text(BODY)?.as_bytes()).ok()?;
        Some(Self {
            body: text(BODY)?.clone(),
            ..Self::new(to, &envelope)
        })
    }
}
