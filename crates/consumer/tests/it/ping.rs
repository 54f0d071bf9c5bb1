//! An event that says what its handler shall do, and the handler in both modes.

use oncebox_consumer::{Effects, HandlerError, Key, PgTransaction};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the handler shall do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    Succeed,
    Retry,
    Reject,
    Panic,
    Hang,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ping {
    pub(crate) act: Act,
}

impl Event for Ping {
    const TYPE: &'static str = "test.ping.v1";
}

/// Counts the event's effects on the item `{event id}` of table `effects`.
pub(crate) async fn count(event: Envelope<Ping>, effects: &mut Effects) -> Result<(), HandlerError> {
    effects
        .update("effects", Key::new("pk", event.id.to_string()))
        .add("times", 1);
    act(event.data.act).await
}

/// Counts the event's effects by a row each in table `effect`.
pub(crate) async fn insert(event: Envelope<Ping>, tx: &mut PgTransaction<'_>) -> Result<(), HandlerError> {
    sqlx::query("insert into effect (event_id) values ($1)")
        .bind(event.id.as_uuid())
        .execute(&mut **tx)
        .await?;
    act(event.data.act).await
}

async fn act(act: Act) -> Result<(), HandlerError> {
    match act {
        Act::Succeed => Ok(()),
        Act::Retry => Err(HandlerError::retryable("told to retry")),
        Act::Reject => Err(HandlerError::permanent("told to reject")),
        Act::Panic => panic!("told to panic"),
        Act::Hang => std::future::pending().await,
    }
}
