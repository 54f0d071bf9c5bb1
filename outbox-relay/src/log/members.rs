//! The list of relays, and who holds what: rows, one statement each.

use std::time::Duration;

use crate::database::{session::Session, statement::statement};

/// A relay on the list, as one look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRow {
    /// Its id.
    pub id: String,
    /// Its sinks, without those whose target it waits for.
    pub sinks: Vec<String>,
    /// Its counter.
    pub beat: i64,
    /// How long it may publish after a beat.
    pub term: Duration,
}

/// A cursor's row, as far as ownership goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRow {
    /// The shard.
    pub shard: i16,
    /// Its epoch.
    pub epoch: i64,
    /// Who holds it, if anybody does.
    pub owner: Option<String>,
}

/// The most rows of relays that are read; far more than can share sixteen shards.
const MAX_RELAYS: i64 = 1_000;

pub(super) async fn join(
    connection: &mut Session,
    relay: &str,
    sinks: &[String],
    waiting: &[String],
    term: Duration,
) -> Result<(), sqlx::Error> {
    statement("insert into oncebox.relay (id, sinks, waiting, term_ms) values ($1, $2, $3, $4) on conflict do nothing")
        .bind(relay)
        .bind(sinks)
        .bind(waiting)
        .bind(i64::try_from(term.as_millis()).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn beat(connection: &mut Session, relay: &str, waiting: &[String]) -> Result<bool, sqlx::Error> {
    let beat = statement("update oncebox.relay set beat = beat + 1, beat_at = now(), waiting = $2 where id = $1");
    Ok(beat.bind(relay).bind(waiting).execute(connection).await? > 0)
}

pub(super) async fn relays(connection: &mut Session) -> Result<Vec<RelayRow>, sqlx::Error> {
    let rows: Vec<(String, Vec<String>, i64, i64)> =
        statement("select id, array(select s from unnest(sinks) s where s <> all (waiting)), beat, term_ms from oncebox.relay order by id limit $1")
            .bind(MAX_RELAYS)
            .fetch_as(connection)
            .await?;
    let row = |(id, sinks, beat, term_ms): (String, Vec<String>, i64, i64)| RelayRow {
        id,
        sinks,
        beat,
        term: Duration::from_millis(term_ms.unsigned_abs()),
    };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) async fn declare_dead(connection: &mut Session, relay: &str, beat: i64) -> Result<bool, sqlx::Error> {
    // Whoever claims at this moment holds a lock on its row, and is looked at again with the next
    // beat: to wait for it would delay this relay's own beats.
    let declared = statement(
        "delete from oncebox.relay
         where id = (select id from oncebox.relay where id = $1 and beat = $2 for update skip locked)",
    );
    Ok(declared.bind(relay).bind(beat).execute(connection).await? > 0)
}

pub(super) async fn cursors(
    connection: &mut Session,
    sinks: &[String],
) -> Result<Vec<(String, ShardRow)>, sqlx::Error> {
    let rows: Vec<(String, i16, i64, Option<String>)> =
        statement("select sink, shard, epoch, owner from oncebox.cursor where sink = any($1) order by sink, shard")
            .bind(sinks)
            .fetch_as(connection)
            .await?;
    let row = |(sink, shard, epoch, owner)| (sink, ShardRow { shard, epoch, owner });
    Ok(rows.into_iter().map(row).collect())
}

pub(super) async fn leave(connection: &mut Session, relay: &str) -> Result<(), sqlx::Error> {
    let left = statement("delete from oncebox.relay where id = $1");
    left.bind(relay).execute(connection).await.map(drop)
}
