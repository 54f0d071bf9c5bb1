//! What the body of a message holds, whatever the way it came.
//!
//! | shape | recognised by | comes from |
//! |---|---|---|
//! | an envelope | an object with `specversion` | SQS, SNS with raw delivery |
//! | a bundle | an array | the same |
//! | an SNS notification | an object with `Type` and no `specversion` | SNS without raw delivery |
//! | an `EventBridge` event | an object with `detail-type` and no `specversion` | an `EventBridge` rule |
//!
//! Structure decides and no message attribute: SNS and `EventBridge` pass none on to SQS. A
//! notification holds an envelope, a bundle or an `EventBridge` event (of a rule whose target is a
//! topic); an `EventBridge` event holds an envelope in `detail`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

use crate::{
    Batch, EnvelopeError, RawEnvelope,
    attribute::{AttributeError, shape},
};

const NOTIFICATION: &str = "the SNS notification";
const EVENT_BRIDGE: &str = "the EventBridge event";

/// The events in the body of a message.
#[derive(Debug)]
pub enum Body {
    /// One envelope, by itself or wrapped.
    Envelope(Box<RawEnvelope>),
    /// An array of envelopes, by itself or wrapped; never empty. Faults are by element.
    Bundle(Batch),
}

impl Body {
    /// Decodes a body of any shape.
    ///
    /// # Errors
    /// [`EnvelopeError::UnknownShape`] and [`EnvelopeError::EmptyBundle`],
    /// [`EnvelopeError::NotJson`], and any fault of a single envelope; what is wrong within a
    /// wrapping comes as [`EnvelopeError::Wrapped`].
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        match Shape::of(json)? {
            Shape::Notification => notification(json).map_err(|source| wrapped(NOTIFICATION, source)),
            other => other.read(json),
        }
    }
}

/// What a body is, as far as its outermost layer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Array,
    Envelope,
    Notification,
    EventBridge,
    Unknown,
}

impl Shape {
    fn of(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.trim_ascii_start().first() == Some(&b'[') {
            return Ok(Self::Array);
        }
        let Object(shape) = serde_json::from_slice(json).map_err(|e| EnvelopeError::not_json(&e))?;
        Ok(shape)
    }

    /// Reads what may stand within a notification too.
    fn read(self, json: &[u8]) -> Result<Body, EnvelopeError> {
        match self {
            Self::Array => match Batch::from_json(json)? {
                batch if batch.elements.is_empty() => Err(EnvelopeError::EmptyBundle),
                batch => Ok(Body::Bundle(batch)),
            },
            Self::Envelope => RawEnvelope::from_json(json).map(|envelope| Body::Envelope(Box::new(envelope))),
            Self::EventBridge => event_bridge(json)
                .map(|envelope| Body::Envelope(Box::new(envelope)))
                .map_err(|source| wrapped(EVENT_BRIDGE, source)),
            Self::Notification | Self::Unknown => Err(EnvelopeError::UnknownShape),
        }
    }
}

/// Amazon SNS developer guide, "Parsing Amazon SNS message formats".
fn notification(json: &[u8]) -> Result<Body, EnvelopeError> {
    #[derive(serde::Deserialize)]
    struct Notification {
        #[serde(rename = "Type")]
        kind: Value,
        #[serde(rename = "Message")]
        message: Option<Value>,
    }
    let outer: Notification = serde_json::from_slice(json).map_err(|e| EnvelopeError::not_json(&e))?;
    if outer.kind != "Notification" {
        let expected = "`Notification`; confirm the subscription, it delivers no events yet";
        return Err(EnvelopeError::invalid("Type", AttributeError::Format { expected }));
    }
    match outer.message {
        Some(Value::String(message)) => Shape::of(message.as_bytes())?.read(message.as_bytes()),
        Some(other) => {
            let (expected, found) = ("a string", shape(&other));
            Err(EnvelopeError::invalid(
                "Message",
                AttributeError::Shape { expected, found },
            ))
        }
        None => Err(EnvelopeError::Missing {
            attribute: "Message",
            fix: "publish the envelope as the message",
        }),
    }
}

/// Amazon `EventBridge` user guide, "Event structure".
///
/// The labels are what a rule chooses by and what an IAM policy can allow a producer
/// (`events:detail-type`, `events:source`), so they must say the same as the envelope within.
fn event_bridge(json: &[u8]) -> Result<RawEnvelope, EnvelopeError> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(rename = "detail-type")]
        detail_type: Option<Value>,
        source: Option<Value>,
        #[serde(borrow)]
        detail: Option<&'a RawValue>,
    }
    let outer: Event<'_> = serde_json::from_slice(json).map_err(|e| EnvelopeError::not_json(&e))?;
    let detail = outer.detail.ok_or(EnvelopeError::Missing {
        attribute: "detail",
        fix: "put the envelope there",
    })?;
    let envelope = RawEnvelope::from_json(detail.get().as_bytes())?;
    for (label, found, attribute, said) in [
        ("detail-type", outer.detail_type, "type", envelope.event_type.as_str()),
        ("source", outer.source, "source", envelope.source.as_str()),
    ] {
        if found.as_ref().and_then(Value::as_str) != Some(said) {
            return Err(EnvelopeError::Label { label, attribute });
        }
    }
    Ok(envelope)
}

fn wrapped(wrapping: &'static str, source: EnvelopeError) -> EnvelopeError {
    EnvelopeError::Wrapped {
        wrapping,
        source: Box::new(source),
    }
}

/// The shape of a JSON object, by the names of its members.
struct Object(Shape);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Shape, M::Error> {
                let mut shape = Shape::Unknown;
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    shape = match (name.as_str(), shape) {
                        ("specversion", _) | (_, Shape::Envelope) => Shape::Envelope,
                        ("Type", _) | (_, Shape::Notification) => Shape::Notification,
                        ("detail-type", _) => Shape::EventBridge,
                        (_, other) => other,
                    };
                }
                Ok(shape)
            }
        }

        deserializer.deserialize_map(Names).map(Object)
    }
}
