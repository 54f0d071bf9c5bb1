//! The table: bodies.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    super::{Accepted, DeadLettered, Outcome},
    Row,
};

/// A valid envelope with `data` as it is written here, under an id of its own.
fn envelope(data: &str) -> String {
    with("", data)
}

/// As [`envelope`], with members before its own; `more` ends with a comma.
fn with(more: &str, data: &str) -> String {
    format!(
        r#"{{{more}"specversion":"1.0","id":"{}","source":"/s","type":"a.v1","time":"2026-01-02T03:04:05Z","data":{data}}}"#,
        Uuid::now_v7()
    )
}

/// A valid envelope in which `name` is `value`.
fn set(name: &str, value: &Value) -> String {
    let mut envelope: Value = serde_json::from_str(&envelope("1")).unwrap_or_default();
    envelope[name] = value.clone();
    envelope.to_string()
}

fn notification(message: &Value) -> String {
    json!({ "Type": "Notification", "MessageId": Uuid::now_v7(), "Message": message }).to_string()
}

fn from_bus(detail_type: &str, detail: &str) -> String {
    format!(
        r#"{{"id":"{}","detail-type":"{detail_type}","source":"/s","detail":{detail}}}"#,
        Uuid::now_v7()
    )
}

const fn poison(words: &'static str) -> Outcome {
    DeadLettered("not_an_envelope", words)
}

fn row(name: &'static str, body: impl Into<String>, outcome: Outcome) -> Row {
    Row {
        name,
        body: body.into(),
        outcome,
    }
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let key = |key: String| set("partitionkey", &json!(key));
    vec![
        // No envelope at all.
        row("white space", " \n ", poison("unexpected end")),
        row("null", "null", poison("unexpected value")),
        row("a number", "7", poison("unexpected value")),
        row("a number beyond all numbers", "1e999", poison("not a JSON envelope")),
        row("text", "\"kanarienvogel\"", poison("unexpected value")),
        row("words", "kanarienvogel", poison("syntax error")),
        row("an empty object", "{}", poison("neither an envelope")),
        row("an empty bundle", "[]", poison("the bundle is empty")),
        row("a bundle of nothing", "[{}]", poison("element 0 of the batch: attribute `specversion` is missing")),
        row("a bundle in a bundle", "[[]]", poison("element 0 of the batch")),
        row("a bundle with a comma too many", format!("[{},]", envelope("1")), poison("syntax error")),
        row("half an envelope", &envelope("1")[..100], poison("unexpected end")),
        row("two envelopes", format!("{}{}", envelope("1"), envelope("2")), poison("syntax error")),
        row("an envelope and a NUL's escape", format!("{}\\u0000", envelope("1")), poison("syntax error")),
        row("a byte order mark", format!("\u{feff}{}", envelope("1")), poison("syntax error")),
        row("white space around an envelope", format!(" \r\n\t{}\n", envelope("1")), Accepted),
        row("comments", format!("// x\n{}", envelope("1")), poison("syntax error")),
        // Depth.
        row("arrays, 100,000 deep", deep("[", "]"), poison("element 0 of the batch")),
        row("objects, 100,000 deep", format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)), poison("neither an envelope")),
        row("an attribute, 100,000 deep", with(&format!("\"ext\":{},", deep("[", "]")), "1"), poison("")),
        row("data, 100,000 deep", envelope(&deep("[", "]")), Accepted),
        row("data of objects, 10,000 deep", envelope(&format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))), Accepted),
        row("a detail, 100,000 deep", from_bus("a.v1", &deep("[", "]")), poison("in the EventBridge event")),
        row("brackets that do not end", "[".repeat(100_000), poison("unexpected end")),
        // Characters.
        row("NUL in data", envelope(r#""\u0000""#), Accepted),
        row("a surrogate alone in data", envelope(r#""\ud800""#), Accepted),
        row("a surrogate alone in a key", with(r#""partitionkey":"\ud800","#, "1"), poison("")),
        row("NUL in a key", with(r#""partitionkey":"\u0000","#, "1"), poison("attribute `partitionkey`: holds a control character")),
        row("noncharacter in a key", with(r#""partitionkey":"\ufffe","#, "1"), poison("attribute `partitionkey`: holds a control character or noncharacter")),
        row("a tab in a text", envelope("\"\t\""), poison("syntax error")),
        row("a key of a family", key("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}".into()), Accepted),
        row("a name with a NUL", with(r#""\u0000kanarienvogel":1,"#, "1").replace("kanarienvogel", ""), poison("expected a name of 1 to 20")),
        row("a name of nothing", with(r#""":1,"#, "1"), poison("expected a name of 1 to 20")),
        // Names that stand twice.
        row("the id twice", with(&format!("\"id\":\"{}\",", Uuid::now_v7()), "1"), poison("attribute `id` appears more than once")),
        row("the data twice", with(r#""data":"kanarienvogel","#, "1"), poison("attribute `data` appears more than once")),
        row("an extension twice", with(r#""x":1,"x":1,"#, "1"), poison("attribute `x` appears more than once")),
        row("one name by two spellings", with(r#""x":1,"\u0078":1,"#, "1"), poison("attribute `x` appears more than once")),
        row("a name in data twice", envelope(r#"{"a":1,"a":2}"#), Accepted),
        // Numbers.
        row("data beyond every number", envelope("[1e400,-1e400,1e-400,1e9999999999]"), Accepted),
        row("data with zeros and minus zero", envelope("[1.10,-0,-0.0,1E+2]"), Accepted),
        row("data of 10,000 digits", envelope(&"9".repeat(10_000)), Accepted),
        row("data that begins with zero", envelope("01"), poison("syntax error")),
        row("data that is no number", envelope("NaN"), poison("syntax error")),
        row("the largest sequence", set("sequence", &json!("09223372036854775807")), Accepted),
        row("the next sequence", set("sequence", &json!("09223372036854775808")), poison("attribute `sequence`")),
        row("sequence zero", set("sequence", &json!("00000000000000000000")), poison("attribute `sequence`")),
        row("a sequence that is not padded", set("sequence", &json!("1")), poison("attribute `sequence`")),
        row("the largest extension", set("x", &json!(2_147_483_647)), Accepted),
        row("the next extension", set("x", &json!(2_147_483_648_i64)), poison("attribute `x`: expected")),
        row("an extension that is whole, with a fraction", with(r#""x":1.0,"#, "1"), poison("attribute `x`: expected")),
        row("an extension beyond every number", with(r#""x":1e999,"#, "1"), poison("")),
        row("the last year", set("time", &json!("9999-12-30T22:00:00Z")), Accepted),
        row("a year of five digits", set("time", &json!("10000-01-01T00:00:00Z")), poison("attribute `time`")),
        // Types.
        row("a number for the id", set("id", &json!(7)), poison("attribute `id`: expected a string, found a number")),
        row("null for the id", set("id", &json!(null)), poison("attribute `id` is missing")),
        row("null for the tenant: the default", set("tenant", &json!(null)), Accepted),
        row("an object for the tenant", set("tenant", &json!({"kanarienvogel": 1})), poison("attribute `tenant`: expected a string, found an object")),
        row("another specversion", set("specversion", &json!("2.0")), poison("attribute `specversion`: expected `1.0`")),
        row("a number for the specversion", set("specversion", &json!(1.0)), poison("attribute `specversion`: expected a string")),
        row("text for the data's type", set("datacontenttype", &json!("text/kanarienvogel")), poison("attribute `datacontenttype`: expected")),
        row("binary data", set("data_base64", &json!("kanarienvogel")), poison("attribute `data_base64`: expected")),
        row("no data", envelope("1").replace(r#","data":1"#, ""), poison("attribute `data` is missing")),
        row("an empty text for the key", key(String::new()), poison("attribute `partitionkey`: must not be empty")),
        // Limits.
        row("a key of 2,048 bytes", key("k".repeat(2_048)), Accepted),
        row("a key of 2,049 bytes", key("k".repeat(2_049)), poison("attribute `partitionkey`: is 2049 bytes long; at most 2048")),
        row("a tenant of 129 bytes", set("tenant", &json!("é".repeat(64) + "t")), poison("attribute `tenant`: is 129 bytes long; at most 128")),
        row("a type of 128 bytes", set("type", &json!("a".repeat(125) + ".v1")), Accepted),
        row("a type of 129 bytes", set("type", &json!("a".repeat(126) + ".v1")), poison("attribute `type`: is 129 bytes long; at most 128")),
        row("a source of 257 bytes", set("source", &json!("s".repeat(257))), poison("attribute `source`: is 257 bytes long; at most 256")),
        row("an extension of 2,048 bytes", set("x", &json!("h".repeat(2_048))), Accepted),
        row("a name of 20 letters", set(&"n".repeat(20), &json!(1)), Accepted),
        row("a name of 21 letters", set(&"n".repeat(21), &json!(1)), poison("expected a name of 1 to 20")),
        row("a body as large as a queue takes", { let around = envelope("\"\"").len(); envelope(&format!("\"{}\"", "x".repeat(1_048_576 - around))) }, Accepted),
        // Wrappings.
        row("a notification", notification(&json!(envelope("1"))), Accepted),
        row("a notification of a bundle", notification(&json!(format!("[{},{}]", envelope("1"), envelope("2")))), Accepted),
        row("a notification of an event of a bus", notification(&json!(from_bus("a.v1", &envelope("1")))), Accepted),
        row("a notification of a notification", notification(&json!(notification(&json!(envelope("1"))))), poison("in the SNS notification")),
        row("a notification of nothing", notification(&json!("")), poison("in the SNS notification: not a JSON envelope: unexpected end")),
        row("a notification of an object", notification(&json!({"kanarienvogel": 1})), poison("in the SNS notification: attribute `Message`: expected a string, found an object")),
        row("a notification without a message", r#"{"Type":"Notification"}"#, poison("attribute `Message` is missing")),
        row("a subscription to be confirmed", r#"{"Type":"SubscriptionConfirmation","Token":"kanarienvogel"}"#, poison("confirm the subscription")),
        row("an event of a bus", from_bus("a.v1", &envelope("1")), Accepted),
        row("an event of a bus with another label", from_bus("b.v1", &envelope("1")), poison("`detail-type` differs from the envelope's `type`")),
        row("an event of a bus without a detail", r#"{"detail-type":"a.v1","source":"/s"}"#, poison("attribute `detail` is missing")),
        row("an event of a bus whose detail is text", from_bus("a.v1", &json!(envelope("1")).to_string()), poison("in the EventBridge event: not a JSON envelope")),
        row("a bundle of a notification", format!("[{}]", notification(&json!(envelope("1")))), poison("element 0 of the batch")),
        row("a bundle of 1,000", format!("[{}]", (0..1_000).map(|n| envelope(&n.to_string())).collect::<Vec<_>>().join(",")), Accepted),
    ]
}
