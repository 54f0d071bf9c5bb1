//! One envelope.

use oncebox_envelope::{RawEnvelope, target, wire};

use crate::{
    canary,
    said::{Said, assert_fit_to_be_shown},
};

/// Whatever is taken for an envelope is written as one that says the same, becomes a message that its target takes, and comes back
/// from the log; whatever is not is one error that shows no value.
pub fn envelope(bytes: &[u8]) {
    match RawEnvelope::from_json(bytes) {
        Ok(envelope) => {
            assert_round_trip(&envelope);
            assert_sendable(&envelope);
            #[cfg(feature = "relay")]
            crate::message::of(&envelope);
        }
        Err(error) => assert_fit_to_be_shown(&error),
    }
    canary::assert_no_error_shows_a_value(bytes, |json| Some(RawEnvelope::from_json(json).err()?.to_string()));
}

fn assert_round_trip(envelope: &RawEnvelope) {
    let json = envelope.to_json();
    let back = RawEnvelope::from_json(json.as_bytes()).expect("what was written can be read");
    assert_eq!(Said::by(&back), Said::by(envelope));
    assert_eq!(back.to_json(), json);
}

/// The rules of SQS and SNS for a message; see `wire` for their sources.
fn assert_sendable(envelope: &RawEnvelope) {
    let body = wire::body(envelope);
    assert!(!body.contains(['\u{fffe}', '\u{ffff}']), "SQS takes no noncharacters");
    let back = RawEnvelope::from_json(body.as_bytes()).expect("a body is an envelope");
    assert!(Said::by(&back).agrees_with(&Said::by(envelope)), "{body}");
    let attributes = wire::attributes(envelope);
    assert!(attributes.len() <= target::MAX_ATTRIBUTES);
    assert!(
        attributes.iter().all(|(_, value)| !value.is_empty()),
        "SQS takes no empty value"
    );
    for group in [wire::group(envelope, true), wire::group(envelope, false)] {
        let is_taken =
            (1..=wire::MAX_GROUP_ID_CHARS).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_graphic());
        assert!(is_taken, "{group:?}");
    }
}
