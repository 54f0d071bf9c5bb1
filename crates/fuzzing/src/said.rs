//! What envelopes and errors say, for comparison.

use oncebox_envelope::{Batch, Body, EnvelopeError, RawEnvelope};

/// Everything that an envelope says: data by its text, the rest by its debug form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    attributes: String,
    data: Option<String>,
}

impl Said {
    pub(crate) fn by(envelope: &RawEnvelope) -> Self {
        Self {
            attributes: format!("{:?}", envelope.clone().map_data(|_| ())),
            data: envelope.data.as_ref().map(|data| data.get().to_owned()),
        }
    }

    /// The same for data that may have been written with other escapes.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let unescaped = |data: &Option<String>| {
            data.as_deref()
                .map(|data| serde_json::from_str::<serde_json::Value>(data).ok())
        };
        let is_same_data = self.data == other.data || unescaped(&self.data) == unescaped(&other.data);
        self.attributes == other.attributes && is_same_data
    }
}

/// The events of a body, those that are at fault left out; `None` where the body itself is.
pub(crate) fn events(body: &[u8]) -> Option<Vec<RawEnvelope>> {
    match Body::from_json(body).ok()? {
        Body::Envelope(envelope) => Some(vec![*envelope]),
        Body::Bundle(bundle) => Some(good(bundle)),
    }
}

/// The elements of a bundle that are envelopes.
pub(crate) fn good(bundle: Batch) -> Vec<RawEnvelope> {
    bundle
        .elements
        .into_iter()
        .filter_map(|element| element.envelope.ok())
        .collect()
}

pub(crate) fn all(envelopes: &[RawEnvelope]) -> Vec<Said> {
    envelopes.iter().map(Said::by).collect()
}

/// An error is one line that can be logged and put on a message: SQS takes neither control characters nor
/// more than it has room for.
pub(crate) fn assert_fit_to_be_shown(error: &EnvelopeError) {
    let text = error.to_string();
    assert!(
        !text.chars().any(char::is_control),
        "an error of several lines: {text:?}"
    );
    assert!(text.len() <= 600, "an error of {} bytes: {text}", text.len());
}
