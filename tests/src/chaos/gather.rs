//! Filling the ledger from what the run has left behind.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Queue,
    chaos::{books::Books, stage::Stage},
    ledger::{Effect, Effects, History, Outcome, Place, SetAside},
    tables::Item,
};

/// What was found in the end.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) history: History,
    pub(super) effects: Effects,
    /// When each effect was made, in the order of `effects`.
    pub(super) at_ns: Vec<u64>,
    pub(super) set_aside: SetAside,
    /// When the transaction of each event began.
    pub(super) begun_ns: BTreeMap<Uuid, u64>,
    /// Events whose outcome nobody had heard.
    pub(super) unknown: usize,
    pub(super) not_drained: Option<String>,
    pub(super) logs: Vec<(String, Vec<String>)>,
}

pub(super) async fn gather(stage: &Stage, books: &Books, set_aside: &SetAside) -> Result<Found> {
    let mut history = books.history();
    let unknown = history.unknown().len();
    resolve(stage, &mut history).await.context("reading the log")?;
    let mut effects = rows(stage).await.context("reading the effects in Postgres")?;
    effects.extend(items(stage).await.context("reading the effects in DynamoDB")?);
    let mut set_aside = set_aside.clone();
    let parked: Vec<(String, Uuid)> = sqlx::query_as("select sink, id from oncebox.parked")
        .fetch_all(&stage.database.pool)
        .await
        .context("reading what is parked")?;
    for (sink, event) in parked {
        set_aside.record(sink, event, Place::Parked);
    }
    let (at_ns, effects): (Vec<u64>, Vec<Effect>) = effects.into_iter().unzip();
    Ok(Found {
        history,
        effects: effects.into_iter().collect(),
        at_ns,
        set_aside,
        begun_ns: books.begun_ns(),
        unknown,
        not_drained: None,
        logs: Vec::new(),
    })
}

/// What is in the log is committed. What somebody was told is committed stays so, whether it is there or not.
async fn resolve(stage: &Stage, history: &mut History) -> Result<()> {
    let rows: Vec<(Uuid, Option<i64>)> = sqlx::query_as("select id, key_seq from oncebox.event")
        .fetch_all(&stage.database.pool)
        .await?;
    let log: HashMap<Uuid, Option<i64>> = rows.into_iter().collect();
    let attempted: Vec<(Uuid, Outcome)> = history.attempts().map(|(id, of)| (id, of.outcome)).collect();
    for (id, outcome) in attempted {
        match (outcome, log.get(&id)) {
            (Outcome::Unknown | Outcome::Committed { .. }, Some(number)) => {
                let sequence = number.map(u64::try_from).transpose()?;
                history.settle(id, Outcome::Committed { sequence });
            }
            (Outcome::Unknown, None) => history.settle(id, Outcome::RolledBack),
            (Outcome::Committed { .. }, None) | (Outcome::RolledBack, _) => {}
        }
    }
    Ok(())
}

/// Their order is that of their places: a key's next event is worked on when its predecessor is committed.
async fn rows(stage: &Stage) -> Result<Vec<(u64, Effect)>> {
    type Row = (String, Uuid, Option<String>, Option<i64>, String, i64);
    let rows: Vec<Row> =
        sqlx::query_as("select consumer, event, key, sequence, payload, at_ns from recorder.effect order by place")
            .fetch_all(&stage.database.pool)
            .await?;
    let effect = |(consumer, event, key, sequence, payload, at_ns): Row| {
        let effect = Effect {
            consumer,
            event,
            key,
            sequence: sequence.map(u64::try_from).transpose()?,
            payload: payload.parse()?,
        };
        Ok((u64::try_from(at_ns)?, effect))
    };
    rows.into_iter().map(effect).collect()
}

/// Their order is that of their handlers: a key's next handler runs when its predecessor's effect is committed.
async fn items(stage: &Stage) -> Result<Vec<(u64, Effect)>> {
    let items = stage.tables.scan(&stage.tables.audit).await?;
    let mut effects: Vec<_> = items.iter().map(of_item).collect::<Result<_>>()?;
    effects.sort_by_key(|(at_ns, _)| *at_ns);
    Ok(effects)
}

fn of_item(item: &Item) -> Result<(u64, Effect)> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let number = |name: &str| {
        let value: Option<&AttributeValue> = item.get(name);
        value.and_then(|value| value.as_n().ok()?.parse::<u64>().ok())
    };
    let effect = Effect {
        consumer: text("consumer").context("an effect without a consumer")?,
        event: text("event").context("an effect without an event")?.parse()?,
        key: text("key"),
        sequence: number("sequence"),
        payload: text("payload").context("an effect without a payload")?.parse()?,
    };
    Ok((number("at_ns").context("an effect without a time")?, effect))
}

/// Takes all messages out of a dead-letter queue; their events.
pub(super) async fn dead_letters(queue: &Queue) -> Result<Vec<Uuid>> {
    let mut events = Vec::new();
    loop {
        let messages = queue.take_batch().await?;
        if messages.is_empty() {
            return Ok(events);
        }
        for message in messages {
            events.push(event_of(&message.body).context("a dead letter without an event")?);
        }
    }
}

/// Straight, or wrapped by EventBridge.
fn event_of(body: &str) -> Option<Uuid> {
    let body: Value = serde_json::from_str(body).ok()?;
    let envelope = if body["detail"].is_object() {
        &body["detail"]
    } else {
        &body
    };
    envelope["id"].as_str()?.parse().ok()
}
