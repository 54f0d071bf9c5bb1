//! The body of a message as SQS, SNS and EventBridge deliver it.

use oncebox_envelope::{Batch, Body, RawEnvelope};
use serde_json::{Value, json};

use crate::{
    canary,
    said::{self, Said, assert_fit_to_be_shown},
};

/// Whatever is decoded says the same however it is wrapped again, an envelope or a bundle is taken for one, and no error shows a
/// value.
pub fn body(bytes: &[u8]) {
    match Body::from_json(bytes) {
        Ok(Body::Envelope(envelope)) => {
            let expected = [Said::by(&envelope)];
            let (plain, event) = (envelope.to_json(), in_event_bridge(&envelope));
            for body in [in_sns(&plain), in_sns(&event), plain, event] {
                assert_says(&body, &expected);
            }
        }
        Ok(Body::Bundle(bundle)) => {
            assert!(!bundle.elements.is_empty(), "an empty bundle is an error");
            let faults = bundle
                .elements
                .iter()
                .filter_map(|element| element.envelope.as_ref().err());
            faults.for_each(assert_fit_to_be_shown);
            let good = said::good(bundle);
            let bundle = Batch::to_json(&good);
            for body in [in_sns(&bundle), bundle].iter().filter(|_| !good.is_empty()) {
                assert_says(body, &said::all(&good));
            }
        }
        Err(error) => assert_fit_to_be_shown(&error),
    }
    assert_shape_is_seen(bytes);
    canary::assert_no_error_shows_a_value(bytes, |json| Some(Body::from_json(json).err()?.to_string()));
}

fn assert_says(body: &str, expected: &[Said]) {
    let events = said::events(body.as_bytes()).expect("what was wrapped can be read");
    assert_eq!(said::all(&events), expected, "{body}");
}

/// What is an envelope, or an array, is not taken for anything else.
fn assert_shape_is_seen(bytes: &[u8]) {
    if let Ok(envelope) = RawEnvelope::from_json(bytes) {
        let seen = said::events(bytes).expect("an envelope is a body");
        assert_eq!(said::all(&seen), [Said::by(&envelope)]);
    }
    if let Ok(bundle) = Batch::from_json(bytes) {
        match Body::from_json(bytes) {
            Ok(Body::Bundle(seen)) => assert_eq!(seen.elements.len(), bundle.elements.len()),
            Ok(Body::Envelope(_)) => panic!("an array is taken for an envelope"),
            Err(error) => assert!(bundle.elements.is_empty(), "a bundle is refused: {error}"),
        }
    }
}

/// As SNS delivers it to a queue without raw delivery.
fn in_sns(message: &str) -> String {
    json!({ "Type": "Notification", "Message": message }).to_string()
}

/// As a rule of EventBridge delivers it. Written by hand: a number of the data must not lose a digit here.
fn in_event_bridge(envelope: &RawEnvelope) -> String {
    let (detail_type, source) = (
        Value::from(envelope.event_type.as_str()),
        Value::from(envelope.source.as_str()),
    );
    let detail = envelope.to_json();
    format!(r#"{{"version":"0","detail-type":{detail_type},"source":{source},"detail":{detail}}}"#)
}
