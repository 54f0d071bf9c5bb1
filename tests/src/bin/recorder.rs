//! A function that records each effect and enforces nothing: what the ledger is read from.
//!
//! Built like any user's function. A record is a row in a table without a unique key, or an item under a
//! random key, so that an event that has its effect twice is there twice. Environment: `RECORDER_MODE`
//! (`postgres`, `transactional`, `gap-guard`), `RECORDER_CONSUMER` (its name), `RECORDER_TABLE` (the
//! `DynamoDB` table), `RECORDER_DOUBLE` (any value: some events are recorded twice, to check the checker),
//! and what the modes need (`DATABASE_URL`, `DEDUPE_TABLE`, `ONCEBOX_DLQ_URL`).

use std::{env, sync::LazyLock};

use anyhow::{Context as _, bail};
use oncebox_consumer::{
    Consumer, DynamoDbDedupe, Effects, GapGuard, HandlerError, Key, PgTransaction, pool_from_env, postgres,
    transactional,
};
use oncebox_envelope::RawEnvelope;
use serde_json::Value;
use system_tests::{chaos::now_ns, ledger::PayloadHash};
use uuid::Uuid;

const EFFECTS: &str = "effects";

static CONSUMER: LazyLock<String> = LazyLock::new(|| env::var("RECORDER_CONSUMER").unwrap_or_default());
static DOUBLES: LazyLock<bool> = LazyLock::new(|| env::var_os("RECORDER_DOUBLE").is_some());

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mode = env::var("RECORDER_MODE").context("RECORDER_MODE is not set")?;
    let builder = Consumer::builder(CONSUMER.as_str());
    let builder = match mode.as_str() {
        "postgres" => builder.on_any(postgres(record_row)).postgres(pool_from_env()?),
        "transactional" | "gap-guard" => {
            let builder = builder
                .on_any(transactional(record_item))
                .table_from_env(EFFECTS, "RECORDER_TABLE")
                .dedupe(DynamoDbDedupe::from_env().await?);
            match mode.as_str() {
                "gap-guard" => builder.gap_guard(GapGuard::from_one()),
                _ => builder,
            }
        }
        other => bail!("RECORDER_MODE is `{other}`; expected postgres, transactional or gap-guard"),
    };
    builder.run().await?;
    Ok(())
}

async fn record_row(event: RawEnvelope, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    let payload = payload_of(&event)?;
    for _ in 0..times(&event) {
        sqlx::query(
            "insert into recorder.effect (consumer, event, key, sequence, payload, at_ns) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(CONSUMER.as_str())
        .bind(event.id.as_uuid())
        .bind(event.partition_key.as_ref().map(|key| key.as_str().to_owned()))
        .bind(event.sequence.map(oncebox_envelope::Sequence::get))
        .bind(payload.to_string())
        .bind(i64::try_from(now_ns()).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn record_item(event: RawEnvelope, effects: &mut Effects) -> Result<(), HandlerError> {
    let payload = payload_of(&event)?;
    for _ in 0..times(&event) {
        let item = effects.put(EFFECTS, Key::new("pk", Uuid::new_v4().to_string()));
        item.set("consumer", CONSUMER.as_str())
            .set("event", event.id.to_string())
            .set("payload", payload.to_string())
            .set("at_ns", i64::try_from(now_ns()).unwrap_or(i64::MAX));
        if let Some(key) = &event.partition_key {
            item.set("key", key.as_str());
        }
        if let Some(sequence) = event.sequence {
            item.set("sequence", sequence.get());
        }
    }
    Ok(())
}

fn payload_of(event: &RawEnvelope) -> Result<PayloadHash, HandlerError> {
    let data = event.data.as_deref().map(serde_json::value::RawValue::get);
    let data: Value = data
        .and_then(|data| serde_json::from_str(data).ok())
        .ok_or_else(|| HandlerError::permanent("the data is no JSON"))?;
    if data["poison"] == true {
        return Err(HandlerError::permanent("the event says that it is poison"));
    }
    Ok(PayloadHash::of_json(&data))
}

/// One, but for the fault that is planted.
fn times(event: &RawEnvelope) -> usize {
    let is_chosen = event.id.as_uuid().as_bytes()[15] < 32;
    if *DOUBLES && is_chosen { 2 } else { 1 }
}
