//! The same for a consumer whose effects, and so its watermarks, are in Postgres.

use std::{collections::BTreeSet, time::Duration};

use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{KeyStanding, OperatorError, gap::Mend};
use crate::{
    gap_guard::Watermark,
    postgres::{describe, options_from_env, watermark},
    start_error::StartError,
};

const TABLE: &str = "oncebox.watermark";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A function may be working on the key; and what a person is told as done is durable.
const LIMITS: &str = "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '15s'; \
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// A consumer's watermarks in Postgres, in the hands of a person.
pub struct PostgresOperator {
    pool: PgPool,
    consumer: String,
}

impl PostgresOperator {
    /// For the consumer of this name, whose handlers work in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, consumer: impl Into<String>) -> Self {
        Self {
            pool,
            consumer: consumer.into(),
        }
    }

    /// The same, in the database that `DATABASE_URL` names.
    ///
    /// # Errors
    /// [`StartError::MissingEnv`], or [`StartError::InvalidEnv`] when the value is no Postgres URL.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_env(consumer: impl Into<String>) -> Result<Self, StartError> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options_from_env()?.application_name("oncebox-consumer-cli"));
        Ok(Self::new(pool, consumer))
    }

    /// How far the consumer has come within `key`.
    ///
    /// # Errors
    /// [`OperatorError::Table`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn key(&self, key: &str) -> Result<KeyStanding, OperatorError> {
        Ok(KeyStanding::of(self.look(key).await.map_err(refused)?.as_ref()))
    }

    /// As [`Operator::skip`](super::Operator::skip). It waits for whoever is working on the key, for ten seconds.
    ///
    /// # Errors
    /// As [`Operator::skip`](super::Operator::skip).
    ///
    /// # Cancel safety
    /// Dropped before it ends, the event may be passed by or not.
    pub async fn skip(&self, key: &str, sequence: i64, seen: &KeyStanding) -> Result<KeyStanding, OperatorError> {
        self.mend(key, &Mend::Skip(sequence), seen).await
    }

    /// As [`Operator::forget`](super::Operator::forget). It waits for whoever is working on the key, for ten seconds.
    ///
    /// # Errors
    /// As [`Operator::forget`](super::Operator::forget).
    ///
    /// # Cancel safety
    /// Dropped before it ends, they may be given up or not.
    pub async fn forget(
        &self,
        key: &str,
        sequences: &BTreeSet<i64>,
        seen: &KeyStanding,
    ) -> Result<KeyStanding, OperatorError> {
        self.mend(key, &Mend::Forget(sequences), seen).await
    }

    async fn mend(&self, key: &str, mend: &Mend<'_>, seen: &KeyStanding) -> Result<KeyStanding, OperatorError> {
        let mut tx = self.pool.begin().await.map_err(refused)?;
        sqlx::raw_sql(LIMITS).execute(&mut *tx).await.map_err(refused)?;
        let known = watermark::lock(&mut tx, &self.consumer, key).await.map_err(refused)?;
        let after = mend.after(known.as_ref(), seen)?;
        let written = watermark::write(&mut tx, &self.consumer, key, known.as_ref(), &after).await;
        if !written.map_err(refused)? {
            return Err(OperatorError::Moved);
        }
        let standing = KeyStanding::of(Some(&after));
        match tx.commit().await {
            Ok(()) => Ok(standing),
            // Refused, so not applied.
            Err(error @ sqlx::Error::Database(_)) => Err(refused(error)),
            Err(error) => {
                let why = describe(&error);
                match self.look(key).await {
                    Ok(Some(known)) if known.own == after.own => Ok(standing),
                    // The commit may still be under way, or somebody has gone on from it.
                    _ => Err(OperatorError::Unknown { why }),
                }
            }
        }
    }

    async fn look(&self, key: &str) -> Result<Option<Watermark>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        watermark::look(&mut connection, &self.consumer, key).await
    }
}

fn refused(error: sqlx::Error) -> OperatorError {
    OperatorError::Table {
        table: TABLE.to_owned(),
        why: describe(&error),
    }
}
