//! What callers may give `oncebox.enqueue`, and what comes of it at the other end.

mod rows;

use std::collections::BTreeMap;

use anyhow::ensure;
use oncebox_envelope::RawEnvelope;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgDatabaseError};
use system_tests::{Database, Queue, until};
use uuid::Uuid;

use self::rows::ROWS;
use super::{Accepted, CANARY, Outcome, Parked, Refused, arrived::Arrivals};
use crate::targets::scene::{SINK, Scene};

/// A call by its arguments, in SQL.
struct Row {
    name: &'static str,
    call: &'static str,
    outcome: Outcome,
}

async fn enqueue(connection: &mut PgConnection, call: &str) -> Result<Uuid, sqlx::Error> {
    let statement = format!("select oncebox.enqueue({call})");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await
}

/// What is wrong with a refusal.
fn fault_of(error: &sqlx::Error, code: &str, named: &str) -> Option<String> {
    let Some(error) = error.as_database_error() else {
        return Some(error.to_string());
    };
    let error = error.downcast_ref::<PgDatabaseError>();
    // What Postgres says itself of a text that is none of its kind quotes that text, to its sender.
    let leaks = code == "22023" && format!("{error:?}").contains(CANARY);
    let is_right = error.code() == code && error.column().unwrap_or_default() == named && !leaks;
    (!is_right).then(|| format!("{} {:?}: {error}", error.code(), error.column()))
}

/// The envelope that the row of the log stands for.
async fn stored(database: &Database, id: Uuid) -> (Map<String, Value>, String) {
    let row = sqlx::query(
        "select type, key, key_seq, tenant, kind, source, headers, data::text as data,
                to_char(time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as time
         from oncebox.event where id = $1",
    )
    .bind(id)
    .fetch_one(&database.pool)
    .await
    .unwrap();
    let text = |name: &str| row.get::<String, _>(name);
    let mut attributes = json!({
        "specversion": "1.0", "id": id, "type": text("type"), "tenant": text("tenant"), "kind": text("kind"),
        "source": text("source"), "datacontenttype": "application/json",
    });
    if let Some(key) = row.get::<Option<String>, _>("key") {
        attributes["partitionkey"] = json!(key);
        attributes["sequence"] = json!(format!("{:020}", row.get::<i64, _>("key_seq")));
    }
    let mut attributes = attributes.as_object().unwrap().clone();
    attributes.extend(row.get::<Value, _>("headers").as_object().unwrap().clone());
    // How many digits a time has is the writer's choice.
    attributes.insert(
        "time".to_owned(),
        json!(text("time").parse::<jiff::Timestamp>().unwrap().to_string()),
    );
    (attributes, text("data"))
}

async fn assert_arrived(database: &Database, name: &str, id: Uuid, arrived: &BTreeMap<Uuid, String>) {
    let text = arrived.get(&id).unwrap_or_else(|| panic!("{name} has not arrived"));
    let envelope = RawEnvelope::from_json(text.as_bytes()).unwrap();
    let (attributes, data) = stored(database, id).await;
    // SQS takes no noncharacters, so they are escaped on the way.
    let came = envelope.data.as_ref().unwrap().get();
    let came = came.replace("\\ufffe", "\u{fffe}").replace("\\uffff", "\u{ffff}");
    assert!(
        came == data,
        "{name}: the data came otherwise ({} and {} bytes)",
        came.len(),
        data.len()
    );
    let mut without_data = envelope;
    without_data.data = Some(serde_json::value::RawValue::from_string("null".to_owned()).unwrap());
    let mut came: Map<String, Value> = serde_json::from_str(&without_data.to_json()).unwrap();
    came.remove("data");
    assert_eq!(came, attributes, "{name}");
}

#[tokio::test]
async fn each_call_has_its_outcome_from_the_log_to_the_consumer() {
    let scene = Scene::new().await;
    let queue = Queue::fifo(&scene.stack).await.unwrap();
    let dead_letters = Queue::standard(&scene.stack).await.unwrap();
    let mut connection = scene.database.connect().await.unwrap();
    let mut accepted = Vec::new();
    let mut parked = Vec::new();
    let mut wrong = Vec::new();
    for row in ROWS {
        let called = enqueue(&mut connection, row.call).await;
        match (row.outcome, called) {
            (Refused(code, named), Err(error)) => {
                wrong.extend(fault_of(&error, code, named).map(|fault| format!("{}: {fault}", row.name)));
            }
            (Accepted, Ok(id)) => accepted.push((row.name, id)),
            (Parked(class), Ok(id)) => parked.push((row.name, id, class)),
            (outcome, called) => wrong.push(format!("{}: {called:?} instead of {outcome:?}", row.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kept: i64 = sqlx::query_scalar("select count(*) from oncebox.event")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(
        usize::try_from(kept).unwrap(),
        accepted.len() + parked.len(),
        "what is refused leaves nothing"
    );

    let _relay = scene.relay(&format!("sqs = {{ queue = \"{}\" }}", queue.name)).await;
    scene.settled().await;
    let messages = queue.take(accepted.len()).await.unwrap();
    let arrivals = Arrivals::new(&scene.stack, &scene.database, &dead_letters).await;
    for message in messages.chunks(10) {
        let bodies: Vec<&str> = message.iter().map(|message| message.body.as_str()).collect();
        let settled = arrivals.deliver(&bodies, &json!({})).await;
        assert!(settled.response().batch_item_failures.is_empty(), "{settled:?}");
    }
    let arrived = arrivals.envelopes().await;
    assert_eq!(arrived.len(), accepted.len());
    for (name, id) in accepted {
        assert_arrived(&scene.database, name, id, &arrived).await;
    }
    for (name, id, class) in parked {
        until("the event to be parked", async || {
            let found: Option<(String, String)> =
                sqlx::query_as("select class, reason from oncebox.parked where sink = $1 and id = $2")
                    .bind(SINK)
                    .bind(id)
                    .fetch_optional(&scene.database.pool)
                    .await?;
            let Some((found, reason)) = found else {
                anyhow::bail!("{name} is not parked")
            };
            ensure!(found == class && !reason.contains(CANARY), "{name}: {found} {reason}");
            Ok(())
        })
        .await
        .unwrap();
    }
    assert_eq!(dead_letters.depth().await.unwrap(), 0);
}
