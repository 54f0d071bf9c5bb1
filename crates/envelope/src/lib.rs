//! The contract of Oncebox: what the relay writes and the functions read.
//!
//! An [`Envelope`] is a `CloudEvents` 1.0 event in structured JSON with the extension attributes
//! that Oncebox needs (partition key, sequence, tenant, kind, conversation, trace context). This
//! crate does no I/O and depends on nobody else in the workspace; everybody else depends on it.
//!
//! # Guarantees
//! - [`Envelope::from_json`] never panics, and never accepts what [`Envelope::to_json`] could not
//!   have written: each attribute is validated, a duplicate one is an error.
//! - `data` is carried as the JSON text it came as ([`serde_json::value::RawValue`]): no number
//!   loses a digit on the way from Postgres to the function.
//! - No error shows the payload or an attribute's value; it shows the attribute's name, the shape
//!   that was found and what is expected.
//!
//! # Reading order
//! [`Envelope`], then [`attribute`] (the rule for each attribute), [`event`] (typed events and
//! their schemas), [`wire`] (message attributes and content types), [`target`] (what targets take), [`batch`] (bundles), [`body`]
//! (what a message holds after SNS or `EventBridge`), [`DataRef`] (data that lies in S3).

pub mod attribute;
pub mod batch;
pub mod body;
mod decode;
mod encode;
mod envelope;
mod error;
pub mod event;
pub mod target;
pub mod wire;

pub use attribute::{
    DataRef, EventId, EventType, ExtensionName, ExtensionValue, Kind, PartitionKey, Sequence, Source, Tenant, Text,
    TraceParent,
};
pub use batch::{Batch, Element};
pub use body::Body;
pub use envelope::{Envelope, RawData, RawEnvelope};
pub use error::EnvelopeError;
pub use event::{Event, schema_of};
