//! The names on the wire: content types and message attributes.
//!
//! SQS and SNS allow ten message attributes; an envelope uses at most six.

use crate::RawEnvelope;

/// The content type of one envelope.
pub const ENVELOPE_CONTENT_TYPE: &str = "application/cloudevents+json";
/// The content type of a bundle: a JSON array of envelopes.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// The content type of every envelope's data.
pub const DATA_CONTENT_TYPE: &str = "application/json";

/// Message attribute: the envelope's `id`.
pub const ATTRIBUTE_ID: &str = "ce-id";
/// Message attribute: the envelope's `type`.
pub const ATTRIBUTE_TYPE: &str = "ce-type";
/// Message attribute: the envelope's `kind`.
pub const ATTRIBUTE_KIND: &str = "ce-kind";
/// Message attribute: the envelope's `tenant`.
pub const ATTRIBUTE_TENANT: &str = "ce-tenant";
/// Message attribute: the body's content type.
pub const ATTRIBUTE_CONTENT_TYPE: &str = "content-type";
/// Message attribute: the envelope's `traceparent`, when it has one.
pub const ATTRIBUTE_TRACE_PARENT: &str = "traceparent";

/// The attributes of a message whose body is `envelope`, each a string.
#[must_use]
pub fn attributes(envelope: &RawEnvelope) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        (ATTRIBUTE_ID, envelope.id.to_string()),
        (ATTRIBUTE_TYPE, envelope.event_type.to_string()),
        (ATTRIBUTE_KIND, envelope.kind.to_string()),
        (ATTRIBUTE_TENANT, envelope.tenant.to_string()),
        (ATTRIBUTE_CONTENT_TYPE, ENVELOPE_CONTENT_TYPE.to_owned()),
    ];
    attributes.extend(
        envelope
            .trace_parent
            .as_ref()
            .map(|trace_parent| (ATTRIBUTE_TRACE_PARENT, trace_parent.to_string())),
    );
    attributes
}
