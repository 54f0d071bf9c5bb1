//! Enqueueing: one call of `oncebox.enqueue` in the caller's transaction.

use oncebox_envelope::{EventId, Source};
use sqlx::{PgConnection, postgres::PgDatabaseError};
use uuid::Uuid;

use crate::NewEvent;

/// The outbox of one producer.
#[derive(Debug, Clone)]
pub struct Outbox {
    source: Source,
}

/// Why an event was not enqueued. The caller's transaction decides what becomes of the rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The event's data does not serialize.
    #[error("the event's data cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// `oncebox.enqueue` refused an argument (SQLSTATE 22023); the message names it and the rule.
    /// The transaction is aborted, as after any error in Postgres.
    #[error("{message}")]
    Rejected {
        /// The argument, such as `key` or `headers.traceparent`.
        field: String,
        /// What the database said.
        message: String,
    },
    /// The log has no partition for the next event: nobody has added any for millions of events.
    #[error(
        "the log has no partition left; a running outbox-relay adds them, or by hand: \
         select oncebox.ensure_partitions()"
    )]
    NoPartition,
    /// Any other error of the database, for instance a missing migration or a cut connection.
    #[error("the outbox could not be written")]
    Database(#[source] sqlx::Error),
}

impl Outbox {
    /// An outbox whose events say that they come from `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source }
    }

    /// Appends an event to the log within the transaction that `connection` is in, and returns its
    /// id. The event becomes visible when that transaction commits and not before.
    ///
    /// A keyed event locks its key until the transaction ends: enqueue late in the transaction, and
    /// several keys always in the same order (otherwise Postgres ends a deadlock with an error).
    ///
    /// # Errors
    /// See [`EnqueueError`].
    ///
    /// # Cancel safety
    /// As for any query: a cancelled call leaves the connection to be rolled back.
    pub async fn enqueue(&self, connection: &mut PgConnection, event: NewEvent) -> Result<EventId, EnqueueError> {
        let headers = serde_json::to_string(&event.headers).map_err(EnqueueError::Encode)?;
        // Data and headers travel as text and become jsonb in the database: no digit is lost.
        let id: Uuid = sqlx::query_scalar(
            "select oncebox.enqueue($1, $2::text::jsonb, $3, coalesce($4, 'default'), $5, $6, $7::text::jsonb, $8)",
        )
        .bind(event.event_type)
        .bind(event.data)
        .bind(event.key)
        .bind(event.tenant)
        .bind(event.kind)
        .bind(self.source.as_str())
        .bind(headers)
        .bind(event.id)
        .fetch_one(connection)
        .await
        .map_err(classify)?;
        Ok(id.into())
    }
}

fn classify(error: sqlx::Error) -> EnqueueError {
    const INVALID_PARAMETER_VALUE: &str = "22023";
    const CHECK_VIOLATION: &str = "23514";
    // Postgres' way of saying that no partition takes a row; the log has no other check.
    let is_without_partition = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .is_some_and(|error| error.code() == CHECK_VIOLATION && error.table() == Some("event"));
    if is_without_partition {
        return EnqueueError::NoPartition;
    }
    let refusal = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .filter(|error| error.code() == INVALID_PARAMETER_VALUE);
    match refusal {
        Some(refusal) => EnqueueError::Rejected {
            field: refusal.column().unwrap_or_default().to_owned(),
            message: refusal.message().to_owned(),
        },
        None => EnqueueError::Database(error),
    }
}
