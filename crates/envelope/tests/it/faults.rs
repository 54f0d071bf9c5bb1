//! Each rule of the envelope with the error that it gives.

use std::collections::BTreeMap;

use oncebox_envelope::{EnvelopeError, Event, RawEnvelope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "specversion": "1.0", "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "source": "/invoicing",
        "type": "invoice.created.v1", "time": "2026-01-02T03:04:05.678Z", "data": {"amount": 5},
    })
}

fn error_of(json: &str) -> String {
    RawEnvelope::from_json(json.as_bytes())
        .expect_err("a fault")
        .to_string()
}

#[test]
fn the_smallest_envelope_has_the_defaults() {
    let envelope = RawEnvelope::from_json(good().to_string().as_bytes()).unwrap();
    assert_eq!((envelope.tenant.as_str(), envelope.kind.as_str()), ("default", "event"));
    assert!(envelope.partition_key.is_none() && envelope.extensions.is_empty());
}

#[test]
fn each_broken_rule_names_its_attribute() {
    let cases = [
        ("specversion", json!("0.3"), "attribute `specversion`: expected `1.0`"),
        ("id", json!("7"), "attribute `id`: expected a UUID"),
        ("id", json!(7), "attribute `id`: expected a string, found a number"),
        ("source", json!(""), "attribute `source`: must not be empty"),
        ("source", json!("a b"), "attribute `source`: expected a URI reference"),
        ("type", json!("invoice.created"), "attribute `type`: expected dotted"),
        (
            "type",
            json!(format!("{}.v1", "x".repeat(126))),
            "attribute `type`: is 129 bytes long; at most 128",
        ),
        (
            "time",
            json!("yesterday"),
            "attribute `time`: expected an RFC 3339 time",
        ),
        (
            "time",
            json!("2026-01-02"),
            "attribute `time`: expected an RFC 3339 time",
        ),
        (
            "time",
            json!("2026-01-02T03:04:05"),
            "attribute `time`: expected an RFC 3339 time",
        ),
        (
            "time",
            json!("2026-02-30T03:04:05Z"),
            "attribute `time`: expected an RFC 3339 time",
        ),
        (
            "datacontenttype",
            json!("text/xml"),
            "attribute `datacontenttype`: expected `application/json`",
        ),
        (
            "data_base64",
            json!("AA=="),
            "attribute `data_base64`: expected JSON in `data`",
        ),
        (
            "partitionkey",
            json!("k".repeat(2_049)),
            "attribute `partitionkey`: is 2049 bytes long; at most 2048",
        ),
        (
            "partitionkey",
            json!("a\nb"),
            "attribute `partitionkey`: holds a control character or noncharacter at byte 1",
        ),
        ("sequence", json!("1"), "attribute `sequence`: expected a position"),
        (
            "sequence",
            json!(1),
            "attribute `sequence`: expected a string, found a number",
        ),
        (
            "tenant",
            json!(["x"]),
            "attribute `tenant`: expected a string, found an array",
        ),
        (
            "kind",
            json!("order"),
            "attribute `kind`: expected `event`, `command`, `query` or `reply`",
        ),
        (
            "traceparent",
            json!("00-x"),
            "attribute `traceparent`: expected W3C traceparent",
        ),
        (
            "expirytime",
            json!(5),
            "attribute `expirytime`: expected a string, found a number",
        ),
        (
            "dataref",
            json!(7),
            "attribute `dataref`: expected a string, found a number",
        ),
        ("Upper", json!("x"), "attribute `Upper`: expected a name of 1 to 20"),
        (
            "ext",
            json!({}),
            "attribute `ext`: expected a string, a boolean or a 32-bit integer, found an object",
        ),
        (
            "ext",
            json!(2_147_483_648_i64),
            "attribute `ext`: expected a string, a boolean or a 32-bit integer",
        ),
        (
            "ext",
            json!(1.5),
            "attribute `ext`: expected a string, a boolean or a 32-bit integer",
        ),
    ];
    for (attribute, value, expected) in cases {
        let mut envelope = good();
        envelope[attribute] = value;
        let error = error_of(&envelope.to_string());
        assert!(error.starts_with(expected), "{error} (expected {expected})");
    }
}

#[test]
fn each_required_attribute_is_missed() {
    for attribute in ["specversion", "id", "source", "type", "time", "data"] {
        let mut envelope = good();
        envelope.as_object_mut().unwrap().remove(attribute);
        let error = error_of(&envelope.to_string());
        assert!(
            error.starts_with(&format!("attribute `{attribute}` is missing; ")),
            "{error}"
        );
    }
    assert!(RawEnvelope::from_json(elsewhere().to_string().as_bytes()).is_ok());
}

/// An envelope whose data lies in S3.
fn elsewhere() -> Value {
    let mut envelope = good();
    envelope.as_object_mut().unwrap().remove("data");
    envelope["dataref"] = json!("s3://bucket/key");
    envelope["datalength"] = json!(12);
    envelope["datasha256"] = json!("0f".repeat(32));
    envelope
}

#[test]
fn the_attributes_of_a_claim_check_stand_together_and_without_data() {
    for (attribute, value, expected) in [
        (
            "dataref",
            Value::Null,
            "attribute `dataref` is missing; `datalength` and `datasha256` say nothing",
        ),
        (
            "datalength",
            Value::Null,
            "attribute `datalength` is missing; write how many bytes",
        ),
        (
            "datasha256",
            Value::Null,
            "attribute `datasha256` is missing; write the hash",
        ),
        ("data", json!(1), "attribute `data`: expected no data beside `dataref`"),
        (
            "data",
            Value::Null,
            "attribute `data`: expected no data beside `dataref`",
        ),
        ("dataref", json!(""), "attribute `dataref`: must not be empty"),
        (
            "dataref",
            json!("https://bucket/key"),
            "attribute `dataref`: expected `s3://bucket/key`",
        ),
        (
            "datalength",
            json!("12"),
            "attribute `datalength`: expected a whole number of bytes from 1",
        ),
        (
            "datalength",
            json!(0),
            "attribute `datalength`: expected a whole number of bytes from 1",
        ),
        (
            "datalength",
            json!(-1),
            "attribute `datalength`: expected a whole number of bytes from 1",
        ),
        (
            "datalength",
            json!(1.5),
            "attribute `datalength`: expected a whole number of bytes from 1",
        ),
        (
            "datalength",
            json!(2_147_483_648_i64),
            "attribute `datalength`: expected a whole number of bytes from 1",
        ),
        (
            "datasha256",
            json!("0F".repeat(32)),
            "attribute `datasha256`: expected 64 lower-case hexadecimal digits",
        ),
        (
            "datasha256",
            json!("0f".repeat(31)),
            "attribute `datasha256`: expected 64 lower-case hexadecimal digits",
        ),
        (
            "datasha256",
            json!(7),
            "attribute `datasha256`: expected a string, found a number",
        ),
    ] {
        let mut envelope = elsewhere();
        envelope[attribute] = value;
        let error = error_of(&envelope.to_string());
        assert!(error.starts_with(expected), "{error} (expected {expected})");
    }
    let mut by_value = good();
    by_value["datalength"] = json!(12);
    assert!(error_of(&by_value.to_string()).starts_with("attribute `dataref` is missing"));
}

#[test]
fn a_producers_header_cannot_forge_a_claim_check() {
    for name in ["dataref", "datalength", "datasha256"] {
        let mut envelope = RawEnvelope::from_json(good().to_string().as_bytes()).unwrap();
        let value = elsewhere()[name].clone();
        let error = envelope
            .set_headers([(name.to_owned(), value)])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("attribute `{name}`: ")), "{error}");
    }
}

#[test]
fn an_attribute_that_stands_twice_is_refused_even_with_the_same_value() {
    for doubled in [
        r#""id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b""#,
        r#""data":{"amount":5}"#,
        r#""ext":1,"ext":1"#,
    ] {
        let json = good().to_string().replacen('{', &format!("{{{doubled},"), 1);
        assert!(error_of(&json).contains("appears more than once"), "{json}");
    }
}

#[test]
fn what_is_no_json_object_is_told_by_line_and_column() {
    for (json, expected) in [
        ("", "unexpected end at line 1 column 0"),
        ("{", "unexpected end at line 1"),
        ("[]", "unexpected value at line 1"),
        ("7", "unexpected value at line 1"),
        ("{\n \"id\": x}", "syntax error at line 2"),
        ("{\"a\":\u{0}}", "syntax error at line 1"),
        ("{} {}", "syntax error at line 1"),
    ] {
        let error = error_of(json);
        assert!(error.contains(expected), "{error} (expected {expected})");
    }
    assert!(
        RawEnvelope::from_json(b"{\"source\":\"\xff\"}").is_err(),
        "invalid UTF-8"
    );
}

#[test]
fn data_that_nests_deep_is_carried_but_does_not_overflow_the_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let json = good().to_string().replace(r#"{"amount":5}"#, &deep);
    let envelope = RawEnvelope::from_json(json.as_bytes()).unwrap();
    let error = envelope.typed::<Invoice>().unwrap_err();
    assert!(matches!(error, EnvelopeError::Data { .. }), "{error}");
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Invoice {
    amount: u64,
    #[serde(default)]
    lines: Vec<Line>,
    #[serde(default)]
    balances: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Line {
    text: String,
}

impl Event for Invoice {
    const TYPE: &'static str = "invoice.created.v1";
}

#[test]
fn wrong_data_is_told_by_its_path_and_never_by_its_value() {
    let cases = [
        (json!({"amount": "canary"}), "at `$.amount`: expected u64"),
        (json!({}), "at `$`: missing field `amount`"),
        (
            json!({"amount": 1, "lines": [{"text": "ok"}, {"text": ["canary"]}]}),
            "at `$.lines[1].text`: expected a string",
        ),
        (json!("canary"), "at `$`: expected struct Invoice"),
        (json!({"amount": "a, expected canary"}), "at `$.amount`: expected u64"),
        (
            json!({"amount": 1, "balances": {"canary@example.org": "x"}}),
            "at `$.balances.*`: expected u64",
        ),
    ];
    for (data, expected) in cases {
        let mut envelope = good();
        envelope["data"] = data;
        let envelope = RawEnvelope::from_json(envelope.to_string().as_bytes()).unwrap();
        let error = envelope.typed::<Invoice>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected {expected})");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn data_of_another_type_or_elsewhere_is_not_read() {
    let mut other = good();
    other["type"] = json!("invoice.created.v2");
    let error = RawEnvelope::from_json(other.to_string().as_bytes())
        .unwrap()
        .typed::<Invoice>()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected type `invoice.created.v1`, found `invoice.created.v2`"
    );
    let envelope = RawEnvelope::from_json(elsewhere().to_string().as_bytes()).unwrap();
    assert!(matches!(envelope.typed::<Invoice>(), Err(EnvelopeError::Unresolved)));
}
