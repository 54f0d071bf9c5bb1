//! What a producer in Rust may give `Outbox::enqueue`: the same rules, as errors of their own.

use std::collections::HashMap;

use oncebox_envelope::Event;
use oncebox_outbox::{EnqueueError, NewEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgDatabaseError;
use system_tests::{Database, Stack};

use super::{Accepted, CANARY, Outcome, Refused};

/// Data of odd shapes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Odd {
    Text(String),
    Number(f64),
    Large([u128; 1]),
    /// JSON has no such keys.
    Keys(HashMap<(i32, i32), i32>),
}

impl Event for Odd {
    const TYPE: &'static str = "a.v1";
}

fn text(text: impl Into<String>) -> Result<NewEvent, EnqueueError> {
    NewEvent::of(&Odd::Text(text.into()))
}

struct Row {
    name: &'static str,
    input: Result<NewEvent, EnqueueError>,
    outcome: Outcome,
}

fn plain() -> NewEvent {
    text("1").unwrap()
}

fn rows() -> Vec<Row> {
    let row = |name, input, outcome| Row { name, input, outcome };
    let bad = |field| Refused("22023", field);
    vec![
        row("plain", Ok(plain()), Accepted),
        row(
            "keys that are no text",
            NewEvent::of(&Odd::Keys(HashMap::from([((1, 2), 3)]))),
            Refused("encode", ""),
        ),
        row("no number", NewEvent::of(&Odd::Number(f64::NAN)), Accepted),
        row("128 bits", NewEvent::of(&Odd::Large([u128::MAX])), Accepted),
        row("NUL in data", text("\0kanarienvogel"), Refused("22P05", "")),
        row("NUL in the key", Ok(plain().key("\0")), Refused("22021", "")),
        row("NUL in a header", Ok(plain().header("x", "\0")), Refused("22P05", "")),
        row("key of no characters", Ok(plain().key("")), bad("key")),
        row("key of 2,048 bytes", Ok(plain().key("ß".repeat(1_024))), Accepted),
        row(
            "key of 2,049 bytes",
            Ok(plain().key("ß".repeat(1_024) + CANARY)),
            bad("key"),
        ),
        row("tenant of no characters", Ok(plain().tenant("")), bad("tenant")),
        row(
            "tenant of 129 bytes",
            Ok(plain().tenant("t".repeat(129))),
            bad("tenant"),
        ),
        row(
            "sequence of 64 bits",
            Ok(plain().key("k").header("sequence", i64::MAX)),
            Accepted,
        ),
        row(
            "sequence of 64 bits without a sign",
            Ok(plain().key("k").header("sequence", u64::MAX)),
            bad("headers.sequence"),
        ),
        row(
            "sequence as text",
            Ok(plain().key("k").header("sequence", "1")),
            bad("headers.sequence"),
        ),
        row("header's name of nothing", Ok(plain().header("", 1)), bad("headers.")),
        row(
            "header of a list",
            Ok(plain().header("x", vec![CANARY])),
            bad("headers.x"),
        ),
        row(
            "header set twice: the last",
            Ok(plain().header("x", vec![CANARY]).header("x", 1)),
            Accepted,
        ),
        row("8 MiB of data", text("x".repeat(8_388_606)), Accepted),
        row(
            "8 MiB of data and a byte",
            text(CANARY.to_owned() + &"x".repeat(8_388_594)),
            bad("data"),
        ),
    ]
}

#[tokio::test]
async fn each_event_of_a_rust_producer_has_its_outcome() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let mut taken = 0_i64;
    for Row { name, input, outcome } in rows() {
        let outcome_of = match input {
            Ok(event) => Database::outbox().enqueue(&mut connection, event).await.map(drop),
            Err(error) => Err(error),
        };
        let Err(error) = outcome_of else {
            assert_eq!(outcome, Accepted, "{name}");
            taken += 1;
            continue;
        };
        assert!(!error.to_string().contains(CANARY), "{name}: {error}");
        let found = match &error {
            EnqueueError::Encode(_) => ("encode".to_owned(), String::new()),
            EnqueueError::Rejected { field, .. } => ("22023".to_owned(), field.clone()),
            EnqueueError::Database(error) => {
                let error = error.as_database_error().unwrap().downcast_ref::<PgDatabaseError>();
                (error.code().to_owned(), String::new())
            }
            other => panic!("{name}: {other:?}"),
        };
        let Refused(code, field) = outcome else {
            panic!("{name}: {error:?}")
        };
        assert_eq!((found.0.as_str(), found.1.as_str()), (code, field), "{name}: {error}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, taken, "what is refused leaves nothing");
}
