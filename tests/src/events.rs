//! Plain events for tests that do not care what they say.

use anyhow::Result;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Database;

/// What [`Database::enqueue`] enqueues.
pub const EVENT_TYPE: &str = "test.happened.v1";
/// A `match` that lets every event through.
pub const EVERYTHING: &str = "{ type = \"*\" }";

/// Enqueues an event in the transaction that `connection` is in; returns its id.
///
/// # Errors
/// The database refuses.
pub async fn enqueue(connection: &mut PgConnection, key: Option<&str>) -> Result<String> {
    let id: Uuid = sqlx::query_scalar("select oncebox.enqueue(type => $1, data => '{}', key => $2)")
        .bind(EVENT_TYPE)
        .bind(key)
        .fetch_one(connection)
        .await?;
    Ok(id.to_string())
}

impl Database {
    /// Enqueues an event in a transaction of its own; returns its id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn enqueue(&self, key: Option<&str>) -> Result<String> {
        enqueue(&mut *self.pool.acquire().await?, key).await
    }

    /// Enqueues `count` events with one key, each in a transaction of its own; returns their ids.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn enqueue_many(&self, key: Option<&str>, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.enqueue(key).await?);
        }
        Ok(ids)
    }
}
