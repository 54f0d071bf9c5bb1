//! What the SQL border refuses, and that it refuses what the envelope refuses.

use oncebox_envelope::{EventType, PartitionKey, RawEnvelope, Source, Tenant, TraceParent};
use serde_json::{Value, json};
use sqlx::{PgConnection, postgres::PgDatabaseError};

use crate::database::Database;

#[derive(Clone)]
struct Call {
    event_type: Value,
    data: Value,
    key: Value,
    tenant: Value,
    kind: Value,
    source: Value,
    headers: Value,
}

fn call() -> Call {
    Call {
        event_type: json!("a.v1"),
        data: json!("{}"),
        key: Value::Null,
        tenant: json!("default"),
        kind: json!("event"),
        source: json!("/s"),
        headers: json!("{}"),
    }
}

/// `Ok`, or the field and message of the refusal.
async fn enqueue(connection: &mut PgConnection, call: &Call) -> Result<(), (String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let outcome = sqlx::query("select oncebox.enqueue($1, $2::text::jsonb, $3, $4, $5, $6, $7::text::jsonb)")
        .bind(text(&call.event_type))
        .bind(text(&call.data))
        .bind(text(&call.key))
        .bind(text(&call.tenant))
        .bind(text(&call.kind))
        .bind(text(&call.source))
        .bind(text(&call.headers))
        .execute(connection)
        .await;
    let Err(error) = outcome else { return Ok(()) };
    let error = error
        .as_database_error()
        .expect("a refusal")
        .downcast_ref::<PgDatabaseError>();
    assert_eq!(error.code(), "22023", "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("nothing was enqueued")));
    Err((
        error.column().unwrap_or_default().to_owned(),
        error.message().to_owned(),
    ))
}

#[tokio::test]
async fn each_bad_argument_is_one_error_that_names_it() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let with = |change: fn(&mut Call)| {
        let mut call = call();
        change(&mut call);
        call
    };
    let cases = [
        (with(|c| c.event_type = Value::Null), "type", "expected dotted"),
        (with(|c| c.event_type = json!("")), "type", "expected dotted"),
        (
            with(|c| c.event_type = json!("invoice.created")),
            "type",
            "expected dotted",
        ),
        (with(|c| c.data = Value::Null), "data", "must not be NULL"),
        (with(|c| c.key = json!("")), "key", "must not be empty"),
        (with(|c| c.key = json!("a\tb")), "key", "control character"),
        (with(|c| c.tenant = Value::Null), "tenant", "must not be NULL"),
        (with(|c| c.tenant = json!("")), "tenant", "must not be empty"),
        (
            with(|c| c.kind = json!("order")),
            "kind",
            "expected event, command, query or reply",
        ),
        (
            with(|c| c.kind = Value::Null),
            "kind",
            "expected event, command, query or reply",
        ),
        (
            with(|c| c.source = json!("a b")),
            "source",
            "ASCII characters without white space",
        ),
        (with(|c| c.headers = Value::Null), "headers", "found NULL"),
        (with(|c| c.headers = json!("[]")), "headers", "found array"),
        (
            with(|c| c.headers = json!(r#"{"Upper": 1}"#)),
            "headers.Upper",
            "1 to 20 lower-case",
        ),
        (
            with(|c| c.headers = json!(r#"{"id": "x"}"#)),
            "headers.id",
            "a parameter of its own",
        ),
        (
            with(|c| c.headers = json!(r#"{"datalength": 1}"#)),
            "headers.datalength",
            "a parameter of its own",
        ),
        (
            with(|c| c.headers = json!(r#"{"datasha256": "x"}"#)),
            "headers.datasha256",
            "a parameter of its own",
        ),
        (
            with(|c| c.headers = json!(r#"{"traceparent": "x"}"#)),
            "headers.traceparent",
            "W3C",
        ),
        (
            with(|c| c.headers = json!(r#"{"expirytime": "soon"}"#)),
            "headers.expirytime",
            "RFC 3339",
        ),
        (
            with(|c| c.headers = json!(r#"{"correlationid": 7}"#)),
            "headers.correlationid",
            "expected a string, found number",
        ),
        (with(|c| c.headers = json!(r#"{"x": null}"#)), "headers.x", "found null"),
        (
            with(|c| c.headers = json!(r#"{"x": 1.5}"#)),
            "headers.x",
            "32-bit integer",
        ),
        (
            with(|c| c.headers = json!(r#"{"x": 2147483648}"#)),
            "headers.x",
            "32-bit integer",
        ),
        (
            with(|c| c.headers = json!(r#"{"sequence": 1}"#)),
            "headers.sequence",
            "pass the key too",
        ),
        (
            with(|c| {
                c.key = json!("k");
                c.headers = json!(r#"{"sequence": 0}"#);
            }),
            "headers.sequence",
            "expected a whole number",
        ),
    ];
    for (call, expected_field, expected) in cases {
        let (field, message) = enqueue(&mut connection, &call).await.expect_err(expected);
        assert_eq!(field, expected_field, "{message}");
        assert!(
            message.contains(expected) && message.contains(&field),
            "{message} (expected {expected})"
        );
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows, 0);
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn every_limit_takes_the_last_byte_and_refuses_the_next() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    type Set = fn(&mut Call, usize);
    let limits: [(&str, usize, Set); 6] = [
        ("type", 128, |c, n| {
            c.event_type = json!(format!("{}.v1", "x".repeat(n - 3)))
        }),
        ("key", 2_048, |c, n| c.key = json!("k".repeat(n))),
        ("tenant", 128, |c, n| c.tenant = json!("t".repeat(n))),
        ("source", 256, |c, n| c.source = json!("s".repeat(n))),
        ("data", 8_388_608, |c, n| {
            c.data = json!(format!("\"{}\"", "d".repeat(n - 2)))
        }),
        ("headers.x", 2_048, |c, n| {
            c.headers = json!(format!(r#"{{"x": "{}"}}"#, "h".repeat(n)))
        }),
    ];
    for (field, limit, set) in limits {
        let mut call = call();
        set(&mut call, limit);
        enqueue(&mut connection, &call)
            .await
            .unwrap_or_else(|error| panic!("{field} of {limit}: {error:?}"));
        set(&mut call, limit + 1);
        let (named, message) = enqueue(&mut connection, &call).await.expect_err(field);
        assert_eq!(named, field, "{message}");
    }
    let mut many = call();
    let header = |n: usize| format!("\"x{n}\": \"{}\"", "h".repeat(2_000));
    many.headers = json!(format!("{{{}}}", (0..9).map(header).collect::<Vec<_>>().join(",")));
    let (named, message) = enqueue(&mut connection, &many).await.expect_err("headers");
    assert_eq!(named, "headers", "{message}");
    drop(connection);
    database.drop().await;
}

/// The relay publishes what is in the log, so SQL must refuse exactly what the envelope refuses.
#[tokio::test]
async fn sql_and_the_envelope_agree_on_every_attribute() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let long = "x".repeat(129);
    let words = [
        "a.v1",
        "a.v0",
        "a.v01",
        "A.v1",
        "a..b.v1",
        ".v1",
        "a.v",
        "a.v100000",
        "a.v99999",
        "-a.v1",
        "a-b_c.0.v7",
        "a.v1.x",
        "a",
        " ",
        "a b",
        "a\u{a0}b",
        "\u{7f}",
        "\u{80}",
        "\u{9f}",
        "\u{a0}",
        "é",
        "\u{fdd0}",
        "\u{fdef}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{fffd}",
        "\u{1fffe}",
        "\u{5ffff}",
        "\u{10fffe}",
        "\u{10ffff}",
        "\u{1f600}",
        "a\u{1}",
        "\\",
        "\"",
        "'",
        "%",
        "\u{2028}",
        "\u{200b}",
        "\u{3000}",
        "\u{85}",
        long.as_str(),
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-0000000000000000a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da60000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e47-6-00f067aa0ba902b7-01",
        "0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.5+02:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00-23:59",
        "2026-01-01T00:00:00+00:60",
        "2026-01-01T00:60:00Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.123456789z",
        "2026-01-01T00:00:00+0200",
        "2026-01-01T00:00:00Z[UTC]",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00.1234567890Z",
        "+002026-01-01T00:00:00Z",
    ];
    let header = |name: &str, word: &str| json!(json!({ name: word }).to_string());
    for word in words {
        let envelope_takes = |name: &str| {
            let mut envelope = json!({
                "specversion": "1.0", "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "source": "/s", "type": "t.v1",
                "time": "2026-01-01T00:00:00Z", "data": 1,
            });
            envelope[name] = json!(word);
            RawEnvelope::from_json(envelope.to_string().as_bytes()).is_ok()
        };
        let as_type = Call {
            event_type: json!(word),
            ..call()
        };
        let as_key = Call {
            key: json!(word),
            ..call()
        };
        let as_tenant = Call {
            tenant: json!(word),
            ..call()
        };
        let as_source = Call {
            source: json!(word),
            ..call()
        };
        let headers = |name| Call {
            headers: header(name, word),
            ..call()
        };
        let cases = [
            ("type", as_type, EventType::new(word).is_ok()),
            ("key", as_key, PartitionKey::new(word).is_ok()),
            ("tenant", as_tenant, Tenant::new(word).is_ok()),
            ("source", as_source, Source::new(word).is_ok()),
            ("traceparent", headers("traceparent"), TraceParent::new(word).is_ok()),
            (
                "correlationid",
                headers("correlationid"),
                envelope_takes("correlationid"),
            ),
            ("expirytime", headers("expirytime"), envelope_takes("expirytime")),
            ("extension", headers("ext"), envelope_takes("ext")),
        ];
        for (attribute, call, envelope_takes) in cases {
            let outcome = enqueue(&mut connection, &call).await;
            assert_eq!(outcome.is_ok(), envelope_takes, "{attribute} {word:?}: {outcome:?}");
        }
    }
    drop(connection);
    database.drop().await;
}
