//! Bundles: several envelopes in one message, as a `CloudEvents` JSON batch.

use serde_json::value::RawValue;

use crate::{EnvelopeError, RawEnvelope};

/// A `CloudEvents` JSON batch (`application/cloudevents-batch+json`), in order.
///
/// Each element is decoded on its own, so that one poison element does not hide its neighbours.
#[derive(Debug)]
pub struct Batch {
    /// The elements in the order of the array.
    pub elements: Vec<Element>,
}

/// One element of a batch.
#[derive(Debug)]
pub struct Element {
    /// The element as it stands in the array: what remains of it where it is no envelope.
    pub json: Box<RawValue>,
    /// The element as an envelope; a fault is an [`EnvelopeError::Element`] with its position.
    pub envelope: Result<RawEnvelope, EnvelopeError>,
}

impl Batch {
    /// Decodes a JSON array of envelopes.
    ///
    /// # Errors
    /// [`EnvelopeError::NotJson`] when the bytes are no JSON array. Faults of single elements are
    /// in [`Batch::elements`].
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        let raw: Vec<&RawValue> = serde_json::from_slice(json).map_err(|e| EnvelopeError::not_json(&e))?;
        let decode = |(index, json): (usize, &RawValue)| Element {
            json: json.to_owned(),
            envelope: RawEnvelope::from_json(json.get().as_bytes()).map_err(|source| EnvelopeError::Element {
                index,
                source: Box::new(source),
            }),
        };
        Ok(Self {
            elements: raw.into_iter().enumerate().map(decode).collect(),
        })
    }

    /// Encodes envelopes as a JSON array, in order.
    #[must_use]
    pub fn to_json<'a>(envelopes: impl IntoIterator<Item = &'a RawEnvelope>) -> String {
        let elements: Vec<String> = envelopes.into_iter().map(RawEnvelope::to_json).collect();
        format!("[{}]", elements.join(","))
    }
}
