use oncebox_envelope::{Event, Kind, RawEnvelope, Source};
use oncebox_outbox::{EnqueueError, NewEvent, Outbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::database::Database;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Asked {
    text: String,
}

impl Event for Asked {
    const TYPE: &'static str = "thing.ask.v3";
    const KIND: Kind = Kind::Command;
}

pub(crate) fn outbox() -> Outbox {
    Outbox::new(Source::new("/asking").unwrap())
}

pub(crate) fn asked() -> NewEvent {
    NewEvent::of(&Asked {
        text: "é \u{1F600} \"".into(),
    })
    .unwrap()
}

async fn count(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from oncebox.event")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_is_there_when_its_transaction_commits_and_not_before_or_else() {
    let database = Database::migrated().await;
    let (mut writer, mut reader) = (database.connect().await, database.connect().await);
    let mut rolled_back = writer.begin().await.unwrap();
    outbox().enqueue(&mut rolled_back, asked()).await.unwrap();
    rolled_back.rollback().await.unwrap();
    let mut transaction = writer.begin().await.unwrap();
    let id = outbox().enqueue(&mut transaction, asked()).await.unwrap();
    assert_eq!(count(&mut reader).await, 0);
    transaction.commit().await.unwrap();
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from oncebox.event")
        .fetch_all(&mut reader)
        .await
        .unwrap();
    assert_eq!(ids, [*id.as_uuid()]);
    drop((writer, reader));
    database.drop().await;
}

#[tokio::test]
async fn everything_that_is_said_of_an_event_is_in_its_row() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cause = cause(json!({ "tenant": "acme", "traceparent": trace }));
    let id = Uuid::now_v7();
    let event = asked().key("thing-1").caused_by(&cause).header("priority", 5).id(id);
    let enqueued = outbox().enqueue(&mut connection, event).await.unwrap();
    assert_eq!(enqueued.as_uuid(), &id);
    let row = sqlx::query("select *, headers::text as headers_text, data::text as data_text from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let text = |column: &str| row.get::<String, _>(column);
    assert_eq!(
        [text("type"), text("key"), text("tenant"), text("kind"), text("source")],
        ["thing.ask.v3", "thing-1", "acme", "command", "/asking"]
    );
    assert_eq!(row.get::<i64, _>("key_seq"), 1);
    assert_eq!(
        row.get::<i32, _>("bytes"),
        i32::try_from(text("data_text").len()).unwrap()
    );
    let headers: Value = serde_json::from_str(&text("headers_text")).unwrap();
    let cause_id = cause.id.to_string();
    assert_eq!(
        headers,
        json!({"correlationid": cause_id, "causationid": cause_id, "traceparent": trace, "priority": 5}),
        "it begins a conversation"
    );
    let data: Asked = serde_json::from_str(&text("data_text")).unwrap();
    assert_eq!(data.text, "é \u{1F600} \"");
    drop(connection);
    database.drop().await;
}

/// An event with `attributes` that another one follows from.
fn cause(attributes: Value) -> RawEnvelope {
    let mut envelope = json!({
        "specversion": "1.0", "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "source": "/s", "type": "t.v1",
        "time": "2026-01-01T00:00:00Z", "data": 1,
    });
    let Value::Object(attributes) = attributes else {
        panic!("no attributes")
    };
    envelope.as_object_mut().unwrap().extend(attributes);
    RawEnvelope::from_json(envelope.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn what_follows_from_an_event_goes_on_with_its_conversation_and_its_trace() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cause = cause(json!({ "correlationid": "order-7", "traceparent": trace, "tracestate": "vendor=1" }));
    outbox()
        .enqueue(&mut connection, asked().caused_by(&cause))
        .await
        .unwrap();
    let headers: String = sqlx::query_scalar("select headers::text from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let headers: Value = serde_json::from_str(&headers).unwrap();
    assert_eq!(
        headers,
        json!({
            "correlationid": "order-7", "causationid": cause.id.to_string(), "traceparent": trace,
            "tracestate": "vendor=1",
        })
    );
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn a_refusal_names_the_argument_and_the_transaction_decides() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    outbox().enqueue(&mut transaction, asked()).await.unwrap();
    let mut savepoint = transaction.begin().await.unwrap();
    let error = outbox().enqueue(&mut savepoint, asked().key("")).await.unwrap_err();
    match &error {
        EnqueueError::Rejected { field, message } => {
            assert_eq!(field, "key");
            assert!(
                message.starts_with("oncebox.enqueue: key: must not be empty"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        count(&mut connection).await,
        1,
        "the caller caught the error and kept the rest"
    );
    drop(connection);
    database.drop().await;
}

#[tokio::test]
async fn a_missing_schema_is_an_error_of_the_database_and_no_refusal() {
    let database = Database::empty().await;
    let mut connection = database.connect().await;
    let error = outbox().enqueue(&mut connection, asked()).await.unwrap_err();
    assert!(matches!(error, EnqueueError::Database(_)), "{error:?}");
    drop(connection);
    database.drop().await;
}
