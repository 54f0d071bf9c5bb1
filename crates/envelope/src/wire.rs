//! The names on the wire: content types and message attributes.
//!
//! SQS and SNS allow ten message attributes; an envelope uses at most six.

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
