//! The shapes that a message's body can have, right and wrong.

use oncebox_envelope::{Body, RawEnvelope};
use serde_json::{Value, json};

const ENVELOPE: &str = r#"{"specversion":"1.0","id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","source":"/s","type":"t.v1",
    "time":"2026-01-01T00:00:00Z","data":{"n":12345678901234567890.5}}"#;

/// A body as SNS delivers it to a queue without raw delivery.
pub(crate) fn in_sns(message: &str) -> String {
    json!({
        "Type": "Notification", "MessageId": "5f5bd7a2-0000-5e5f-8a9b-0c1d2e3f4a5b",
        "TopicArn": "arn:aws:sns:eu-west-1:000000000000:events", "Message": message,
        "Timestamp": "2026-01-01T00:00:00.123Z", "SignatureVersion": "1", "Signature": "c2lnbmVk",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/cert.pem", "UnsubscribeURL": "https://sns/",
        "MessageAttributes": { "ce-type": { "Type": "String", "Value": "t.v1" } },
    })
    .to_string()
}

/// A body as a rule of `EventBridge` delivers it to a queue.
pub(crate) fn in_event_bridge(envelope: &RawEnvelope) -> String {
    event(
        envelope.event_type.as_str(),
        envelope.source.as_str(),
        &envelope.to_json(),
    )
}

/// Written by hand: a number of the data must not lose a digit on the way into the test.
fn event(detail_type: &str, source: &str, detail: &str) -> String {
    let (detail_type, source) = (Value::from(detail_type), Value::from(source));
    format!(
        r#"{{"version":"0","id":"fe8d3c65-xmpl-c5c3-2c87-81584709a377","detail-type":{detail_type},"source":{source},
        "account":"000000000000","time":"2026-01-01T00:00:00Z","region":"eu-west-1","resources":[],"detail":{detail}}}"#
    )
}

fn error_of(body: &str) -> String {
    let error = Body::from_json(body.as_bytes()).expect_err("a fault").to_string();
    assert!(!error.contains("canary"), "{error}");
    error
}

#[test]
fn each_shape_is_told_by_its_structure() {
    let wrapped = event("t.v1", "/s", ENVELOPE);
    for body in [ENVELOPE.to_owned(), in_sns(ENVELOPE), wrapped.clone(), in_sns(&wrapped)] {
        let Body::Envelope(envelope) = Body::from_json(body.as_bytes()).unwrap() else {
            panic!("{body}");
        };
        assert_eq!(
            envelope.data.unwrap().get(),
            r#"{"n":12345678901234567890.5}"#,
            "to the last digit"
        );
    }
    let bundle = format!("\n [{ENVELOPE},{ENVELOPE}]");
    for body in [bundle.clone(), in_sns(&bundle)] {
        assert!(matches!(Body::from_json(body.as_bytes()), Ok(Body::Bundle(batch)) if batch.elements.len() == 2));
    }
}

#[test]
fn an_envelope_with_extensions_named_like_a_wrapping_is_an_envelope() {
    let body = ENVELOPE.replacen('{', r#"{"detail":"x","message":"y","#, 1);
    assert!(matches!(Body::from_json(body.as_bytes()), Ok(Body::Envelope(_))));
}

#[test]
fn each_wrong_shape_is_one_error_that_says_what_is_wrong() {
    let neither = "neither an envelope (`specversion`) nor an array of them, an SNS notification (`Type`, `Message`) or \
         an EventBridge event (`detail-type`, `detail`)";
    let confirmation = r#"{"Type":"SubscriptionConfirmation","Message":"canary","SubscribeURL":"https://canary"}"#;
    let cases = [
        ("{}".to_owned(), neither),
        (r#"{"id":"canary"}"#.to_owned(), neither),
        (r#"{"Records":[{"canary":1}]}"#.to_owned(), neither),
        ("[]".to_owned(), "the bundle is empty"),
        (String::new(), "not a JSON envelope: unexpected end"),
        ("canary".to_owned(), "not a JSON envelope: syntax error"),
        (r#""canary""#.to_owned(), "not a JSON envelope: unexpected value"),
        ("[canary]".to_owned(), "not a JSON envelope: syntax error"),
        (format!("{ENVELOPE} canary"), "not a JSON envelope: syntax error"),
        (
            confirmation.to_owned(),
            "in the SNS notification: attribute `Type`: expected `Notification`; confirm",
        ),
        (
            in_sns("canary"),
            "in the SNS notification: not a JSON envelope: syntax error",
        ),
        (in_sns("{}"), &format!("in the SNS notification: {neither}")),
        (in_sns("[]"), "in the SNS notification: the bundle is empty"),
        (
            in_sns(&in_sns(ENVELOPE)),
            &format!("in the SNS notification: {neither}"),
        ),
        (
            r#"{"Type":"Notification"}"#.to_owned(),
            "in the SNS notification: attribute `Message` is missing; publish the envelope",
        ),
        (
            r#"{"Type":"Notification","Message":{"canary":1}}"#.to_owned(),
            "in the SNS notification: attribute `Message`: expected a string, found an object",
        ),
        (
            event("t.v1", "/s", r#"{"canary":1}"#),
            "in the EventBridge event: attribute `specversion` is missing",
        ),
        (
            event("t.v1", "/s", "[]"),
            "in the EventBridge event: not a JSON envelope: unexpected value",
        ),
        (
            r#"{"detail-type":"t.v1"}"#.to_owned(),
            "in the EventBridge event: attribute `detail` is missing; put the envelope there",
        ),
        (
            event("canary.v1", "/s", ENVELOPE),
            "in the EventBridge event: `detail-type` differs from the envelope's `type`",
        ),
        (
            event("t.v1", "/canary", ENVELOPE),
            "in the EventBridge event: `source` differs from the envelope's `source`",
        ),
        (
            in_sns(&event("t.v1", "/canary", ENVELOPE)),
            "in the SNS notification: in the EventBridge event: `source` differs",
        ),
    ];
    for (body, expected) in cases {
        let error = error_of(&body);
        assert!(error.starts_with(expected), "{error} (expected {expected})");
    }
}
