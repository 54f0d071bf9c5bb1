//! A sink's cursors and parked events under another name.

use sqlx::{Connection as _, PgConnection};

use super::relays::{self, Concerned, Relay};
use crate::parked::change::Outcome;

/// Why a sink was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// The new name has cursors or parked events of its own.
    #[error(
        "sink `{to}` has {cursors} cursors and {parked} parked events of its own, so it is no new name. If a relay has \
         begun it by mistake: stop that relay, run `outbox-relay cursor delete --sink {to}`, and rename then"
    )]
    Taken {
        /// The new name.
        to: String,
        /// Its cursors.
        cursors: i64,
        /// Its parked events.
        parked: i64,
    },
    /// A relay that was silent or not there before runs one of the two.
    #[error("relay {relay} has started or gone on meanwhile and runs one of the two sinks; stop it, then try again")]
    Started {
        /// The relay.
        relay: String,
    },
    /// Whatever the database says.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Gives the cursors and the parked events of `sink` the name `to`, and frees its shards. Returns how
/// many of each there were. No relay may run either of them: a relay that runs `sink` would begin
/// it anew. Those that were watched and do not live are named in `silent`.
///
/// # Errors
/// See [`RenameError`]; nothing is renamed then.
///
/// # Cancel safety
/// All is renamed or nothing.
pub async fn rename(
    connection: &mut PgConnection,
    sink: &str,
    to: &str,
    silent: &[Relay],
    outcome: Outcome,
) -> Result<(u64, u64), RenameError> {
    let mut transaction = connection.begin().await?;
    // As a relay does: the cursors' rows first, then what is parked.
    sqlx::query("select 1 from oncebox.cursor where sink in ($1, $2) order by sink, shard for update")
        .bind(sink)
        .bind(to)
        .fetch_all(&mut *transaction)
        .await?;
    let (cursors, parked): (i64, i64) = sqlx::query_as(
        "select (select count(*) from oncebox.cursor where sink = $1), (select count(*) from oncebox.parked where sink = $1)",
    )
    .bind(to)
    .fetch_one(&mut *transaction)
    .await?;
    if cursors > 0 || parked > 0 {
        let to = to.to_owned();
        return Err(RenameError::Taken { to, cursors, parked });
    }
    let sinks = [sink, to];
    let among = Concerned::Sinks {
        sinks: &sinks,
        owners: &[],
    };
    if let Some(relay) = relays::lives_after_all(&mut transaction, silent, among).await? {
        return Err(RenameError::Started { relay });
    }
    // The epoch rises, so that whoever held a shard writes nothing any more.
    let renamed = sqlx::query(
        "update oncebox.cursor set sink = $2, epoch = epoch + 1, owner = null, updated_at = now() where sink = $1",
    );
    let renamed = renamed.bind(sink).bind(to).execute(&mut *transaction).await?;
    let moved = sqlx::query("update oncebox.parked set sink = $2 where sink = $1");
    let moved = moved.bind(sink).bind(to).execute(&mut *transaction).await?;
    match outcome {
        Outcome::Keep => transaction.commit().await?,
        Outcome::Undo => transaction.rollback().await?,
    }
    Ok((renamed.rows_affected(), moved.rows_affected()))
}
