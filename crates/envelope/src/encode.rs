//! Envelope → JSON.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{ExtensionValue, RawEnvelope, wire::DATA_CONTENT_TYPE};

impl RawEnvelope {
    /// The envelope in structured JSON, `application/cloudevents+json`.
    ///
    /// `data` is written as the JSON text that it was read as, and not at all where there is a
    /// [`data_ref`](crate::Envelope::data_ref).
    ///
    /// # Panics
    /// Never: the writer is memory, every name is a string and the data is JSON text already.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "see above")]
        serde_json::to_string(self).expect("an envelope is serializable")
    }
}

impl Serialize for RawEnvelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &Shown(&self.id))?;
        map.serialize_entry("source", self.source.as_str())?;
        map.serialize_entry("type", self.event_type.as_str())?;
        map.serialize_entry("time", &Shown(&self.time))?;
        map.serialize_entry("datacontenttype", DATA_CONTENT_TYPE)?;
        optional(&mut map, "partitionkey", self.partition_key.as_ref())?;
        optional(&mut map, "sequence", self.sequence.as_ref())?;
        map.serialize_entry("tenant", self.tenant.as_str())?;
        map.serialize_entry("kind", self.kind.as_str())?;
        optional(&mut map, "correlationid", self.correlation_id.as_ref())?;
        optional(&mut map, "causationid", self.causation_id.as_ref())?;
        optional(&mut map, "replyto", self.reply_to.as_ref())?;
        optional(&mut map, "traceparent", self.trace_parent.as_ref())?;
        optional(&mut map, "tracestate", self.trace_state.as_ref())?;
        optional(&mut map, "expirytime", self.expiry_time.as_ref())?;
        if let Some(data_ref) = &self.data_ref {
            map.serialize_entry("dataref", data_ref.uri())?;
            map.serialize_entry("datalength", &data_ref.length())?;
            map.serialize_entry("datasha256", &data_ref.sha256_hex())?;
        }
        for (name, value) in &self.extensions {
            match value {
                ExtensionValue::Boolean(value) => map.serialize_entry(name.as_str(), value)?,
                ExtensionValue::Integer(value) => map.serialize_entry(name.as_str(), value)?,
                ExtensionValue::String(value) => map.serialize_entry(name.as_str(), value)?,
            }
        }
        if let (Some(data), None) = (&self.data, &self.data_ref) {
            map.serialize_entry("data", data)?;
        }
        map.end()
    }
}

/// A value written as the string that it displays as.
struct Shown<'a, T>(&'a T);

impl<T: std::fmt::Display> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

fn optional<M: SerializeMap, T: std::fmt::Display>(
    map: &mut M,
    name: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, &Shown(value)),
        None => Ok(()),
    }
}
