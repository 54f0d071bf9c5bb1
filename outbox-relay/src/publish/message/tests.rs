use super::*;

fn row() -> Row {
    Row {
        seq: 7,
        shard: 0,
        id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().unwrap(),
        event_type: "invoice.created.v1".into(),
        key: Some("invoice-1".into()),
        key_seq: Some(3),
        tenant: "acme".into(),
        kind: "event".into(),
        source: "/invoicing".into(),
        time_micros: 1_700_000_000_123_456,
        headers: r#"{"correlationid": "c-1", "priority": 5}"#.into(),
        data: r#"{"amount": 1.00000000000000000000000000000001}"#.into(),
    }
}

#[test]
fn a_message_is_the_envelope_of_its_row() {
    let message = Message::of(row()).unwrap();
    let envelope = RawEnvelope::from_json(message.body.as_bytes()).unwrap();
    assert_eq!(envelope.sequence.unwrap().get(), 3);
    assert_eq!(envelope.correlation_id.unwrap().as_str(), "c-1");
    assert_eq!(envelope.extensions.len(), 1);
    assert_eq!(envelope.time.to_string(), "2023-11-14T22:13:20.123456Z");
    assert_eq!(
        envelope.data.unwrap().get(),
        r#"{"amount": 1.00000000000000000000000000000001}"#,
        "no digit is lost"
    );
    let names: Vec<&str> = message.attributes.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ce-id", "ce-type", "ce-kind", "ce-tenant", "content-type"]);
}

#[test]
fn a_group_is_the_key_on_fifo_and_the_tenant_elsewhere() {
    let message = Message::of(row()).unwrap();
    assert_eq!(
        (message.group(true), message.group(false)),
        ("invoice-1".into(), "acme".into())
    );
    let unkeyed = Message::of(Row {
        key: None,
        key_seq: None,
        ..row()
    })
    .unwrap();
    assert_eq!(unkeyed.group(true), "acme");
}

#[test]
fn noncharacters_in_data_are_escaped_since_sqs_refuses_them() {
    let data = "{\"a\": \"x\u{fffe}\u{ffff}\"}";
    let message = Message::of(Row {
        data: data.into(),
        ..row()
    })
    .unwrap();
    assert!(!message.body.contains(['\u{fffe}', '\u{ffff}']));
    let envelope = RawEnvelope::from_json(message.body.as_bytes()).unwrap();
    let (sent, meant): (Value, Value) = (
        serde_json::from_str(envelope.data.unwrap().get()).unwrap(),
        serde_json::from_str(data).unwrap(),
    );
    assert_eq!(sent, meant);
}

#[test]
fn a_row_that_breaks_a_rule_names_its_position_and_the_attribute() {
    let error = Message::of(Row {
        tenant: String::new(),
        ..row()
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("event 7 of the log is not valid: attribute `tenant`"),
        "{error}"
    );
}
