//! An event as a target takes it: envelope, attributes, group, and what it refers to.

mod bundle;

use std::collections::BTreeMap;

use jiff::Timestamp;
use oncebox_envelope::{EnvelopeError, Kind, RawEnvelope, Sequence, attribute::AttributeError, wire};
use serde_json::{Map, Value, value::RawValue};

use super::claim_check::Claim;
use crate::log::page::Row;

/// An event as a target takes it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The envelope's id, as on the wire; what a FIFO target dedupes on.
    pub id: String,
    /// The envelope's source.
    pub source: String,
    /// The envelope's type.
    pub event_type: String,
    /// The envelope's time, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The envelope as JSON.
    pub body: String,
    /// Message attributes by name; all are strings.
    pub attributes: Vec<(&'static str, String)>,
    /// The ordering key, if order was asked for.
    pub key: Option<String>,
    /// The tenant.
    pub tenant: String,
    /// What has to be stored before the message may be sent: the body refers to it.
    pub claims: Vec<Claim>,
}

/// Why a row of the log is no valid envelope. `oncebox.enqueue` lets no such row in, so somebody
/// wrote to the table directly.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} of the log is not valid: {source}")]
pub struct InvalidRow {
    /// The row's position.
    pub seq: i64,
    /// What is wrong with it.
    #[source]
    pub source: EnvelopeError,
}

impl Message {
    /// Makes the message of a row, with its data in it.
    ///
    /// # Errors
    /// [`InvalidRow`] when the row breaks a rule of the envelope.
    pub fn of(row: Row) -> Result<Self, InvalidRow> {
        Ok(Self::of_envelope(&Self::envelope(row)?))
    }

    /// The envelope of a row.
    pub(super) fn envelope(row: Row) -> Result<RawEnvelope, InvalidRow> {
        let seq = row.seq;
        envelope(row).map_err(|source| InvalidRow { seq, source })
    }

    /// The message of an envelope.
    pub(super) fn of_envelope(envelope: &RawEnvelope) -> Self {
        Self {
            id: envelope.id.to_string(),
            source: envelope.source.to_string(),
            event_type: envelope.event_type.to_string(),
            time_micros: envelope.time.as_microsecond(),
            body: wire::body(envelope),
            attributes: wire::attributes(envelope),
            key: envelope.partition_key.as_ref().map(ToString::to_string),
            tenant: envelope.tenant.to_string(),
            claims: Vec::new(),
        }
    }

    /// What the message holds in memory, data that it only refers to included. What it takes of a
    /// request is less then: see [`super::Publisher::bytes_of`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.body.len() + self.claims.iter().map(|claim| claim.data().len()).sum::<usize>()
    }

    /// The message group for SQS and SNS: on FIFO the key, else (and on standard queues, for
    /// fairness) the tenant.
    #[must_use]
    pub fn group(&self, is_fifo: bool) -> String {
        match &self.key {
            Some(key) if is_fifo => wire::group_id(key),
            _ => wire::group_id(&self.tenant),
        }
    }
}

fn envelope(row: Row) -> Result<RawEnvelope, EnvelopeError> {
    let invalid = |attribute: &str, reason: AttributeError| EnvelopeError::Invalid {
        attribute: attribute.to_owned(),
        reason,
    };
    let format = |attribute: &str, expected: &'static str| invalid(attribute, AttributeError::Format { expected });
    let time =
        Timestamp::from_microsecond(row.time_micros).map_err(|_| format("time", "a time within jiff's range"))?;
    let data = RawValue::from_string(row.data).map_err(|_| format("data", "JSON"))?;
    let sequence = row.key_seq.map(Sequence::new).transpose();
    let mut envelope = RawEnvelope {
        id: row.id.into(),
        source: row.source.parse().map_err(|e| invalid("source", e))?,
        event_type: row.event_type.parse().map_err(|e| invalid("type", e))?,
        time,
        partition_key: row
            .key
            .map(|key| key.parse())
            .transpose()
            .map_err(|e| invalid("partitionkey", e))?,
        sequence: sequence.map_err(|e| invalid("sequence", e))?,
        tenant: row.tenant.parse().map_err(|e| invalid("tenant", e))?,
        kind: row.kind.parse::<Kind>().map_err(|e| invalid("kind", e))?,
        correlation_id: None,
        causation_id: None,
        reply_to: None,
        trace_parent: None,
        trace_state: None,
        expiry_time: None,
        data_ref: None,
        extensions: BTreeMap::new(),
        data: Some(data),
    };
    if row.headers != "{}" {
        let headers: Map<String, Value> =
            serde_json::from_str(&row.headers).map_err(|_| format("headers", "a JSON object"))?;
        envelope.set_headers(headers)?;
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests;
