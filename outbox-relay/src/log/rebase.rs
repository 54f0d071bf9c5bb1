//! A log whose transaction ids are another cluster's: restored from a dump, cloned, replicated.
//!
//! Cursors say "published is what this snapshot sees", in transaction ids of the cluster that wrote
//! the rows. Elsewhere those numbers mean nothing: they may be given out a second time, or lie so far
//! ahead that no snapshot sees them for years. A rebase gives every row that is there the id 1, which
//! every snapshot sees and [`Base::beginning`] does not, and says anew how far each sink is:
//!
//! - The first row that a cursor does not count as published is found by arithmetic on the old
//!   numbers alone (module `survey`).
//! - Base: the beginning. Target: a look at this cluster. Position: just before that row. So what was
//!   published stays so, and from the first row that was not, everything follows in the order of `seq`.
//!
//! One repeatable-read transaction does it all: the rows that it reads, the rows that it rewrites and
//! the rows that its target sees are those of one and the same snapshot. A row that a producer has
//! written since the restore and that is visible in it gets the id 1 as well: it lies above what the
//! cursors know (module `survey`), so it is still to come. A row that commits later keeps its own id,
//! which is this cluster's; the target does not see it, and the next run finds it by that id.

mod survey;

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

pub use self::survey::{SinkSurvey, Survey};
use super::{
    Seq,
    cursor::{Base, Horizon},
    moving::{is_foreign, system_id},
    page,
    relays::{self, Concerned, Relay},
    standing::{self, Standing},
    store,
};
use crate::parked::change::Outcome;

/// How far the sequence is set above the highest row when it was behind. `setval` may race with
/// producers; they would have to take this many numbers within one statement to be overtaken.
const SEQUENCE_MARGIN: Seq = 10_000;

/// Why nothing was rebased.
#[derive(Debug, thiserror::Error)]
pub enum RebaseError {
    /// No cursor and no row is foreign.
    #[error("cursors and log are this cluster's and none is ahead of it: there is nothing to rebase")]
    Nothing,
    /// A relay has beaten or joined: since it was looked, if the caller has watched.
    #[error("relay {0} lives; stop all relays of this database first")]
    Lives(String),
    /// Rows with foreign ids may still arrive.
    #[error(
        "subscription `{0}` still replicates oncebox.event into this database; drop or disable it first, and then \
         rebase: rows that it brings later would never be published"
    )]
    Subscribed(String),
    /// `--adopt` was asked for, but the ids do not simply go on.
    #[error(
        "the transaction ids do not go on from where the cursors stand, so this is no upgrade in place: \
         rebase without --adopt"
    )]
    NotInPlace,
    /// Whatever the database says.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a rebase did, or would do.
#[derive(Debug, Clone)]
pub struct Rebased {
    /// What was found, and so where the sinks go on.
    pub survey: Survey,
    /// Where the sequence was set to, if it was behind the log.
    pub sequence_set_to: Option<Seq>,
    /// Keys whose counter was behind their events, or missing.
    pub keys_mended: i64,
}

/// Rebases all cursors and the log. `silent` are rows of relays that were watched and found dead.
///
/// # Errors
/// See [`RebaseError`]. The log and the cursors are as they were then; counters of keys and the
/// sequence may have been raised already, which is right in any case.
///
/// # Cancel safety
/// As with an error.
pub async fn rebase(connection: &mut PgConnection, silent: &[Relay], outcome: Outcome) -> Result<Rebased, RebaseError> {
    check_subscriptions(connection).await?;
    let here = system_id(connection).await?;
    let keys_mended = mend_keys(connection, outcome).await?;

    // Before the snapshot: rows of transactions that get their id from here on lie above it.
    let seq_before = page::sequence_position_on(connection).await?;
    let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
    // The first statement takes the transaction's snapshot, and nothing has asked for the next xid
    // before; so this is a look like any other.
    let mut target = page::look_on(&mut transaction, seq_before).await?;
    sqlx::query("select 1 from oncebox.cursor order by sink, shard for update")
        .fetch_all(&mut *transaction)
        .await?;
    check_silence(&mut transaction, silent).await?;
    let standings = standing::read(&mut transaction, None).await?;
    // A cursor without a system identifier was never claimed by a relay that writes one: unknown.
    let is_ours = |standing: &Standing| standing.system_id.is_some() && !is_foreign(standing, here, &target);
    if standings.iter().all(is_ours) && !has_rows_ahead(&mut transaction, &target).await? {
        return Err(RebaseError::Nothing);
    }
    let survey = survey::take(&mut transaction, &standings).await?;
    let is_behind = target.seq_after < survey.last_seq;
    let sequence_set_to = is_behind.then_some(survey.last_seq + SEQUENCE_MARGIN);
    target.seq_after = target.seq_after.max(survey.last_seq);
    if outcome == Outcome::Keep {
        if let Some(to) = sequence_set_to {
            raise_sequence(&mut transaction, survey.last_seq, to).await?;
        }
        rewrite(&mut transaction).await?;
        for sink in &survey.sinks {
            for (shard, position) in sink.positions(target.seq_after) {
                place(&mut transaction, &sink.sink, shard, &target, position, here).await?;
            }
        }
        forget(&mut transaction, silent).await?;
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(Rebased {
        survey,
        sequence_set_to,
        keys_mended,
    })
}

/// Notes that the cursors count this cluster's transactions: for an upgrade in place (pg_upgrade),
/// after which the ids go on where they were but the cluster has another identifier. Returns how many
/// cursors were changed, or would be.
///
/// # Errors
/// [`RebaseError::NotInPlace`] when a cursor or a row is ahead of the database:
/// then the ids do not go on. (That none is ahead proves nothing; the caller has to know.)
///
/// # Cancel safety
/// All cursors are changed or none.
pub async fn adopt(connection: &mut PgConnection, silent: &[Relay], outcome: Outcome) -> Result<u64, RebaseError> {
    check_subscriptions(connection).await?;
    let here = system_id(connection).await?;
    let seq_before = page::sequence_position_on(connection).await?;
    let now = page::look_on(connection, seq_before).await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("select 1 from oncebox.cursor order by sink, shard for update")
        .fetch_all(&mut *transaction)
        .await?;
    check_silence(&mut transaction, silent).await?;
    let standings = standing::read(&mut transaction, None).await?;
    let is_ahead = |standing: &Standing| store::is_ahead(&standing.place, &now);
    if standings.iter().any(is_ahead) || has_rows_ahead(&mut transaction, &now).await? {
        return Err(RebaseError::NotInPlace);
    }
    let adopted = sqlx::query(
        "update oncebox.cursor set system_id = $1, epoch = epoch + 1, owner = null where system_id is distinct from $1",
    );
    let adopted = adopted.bind(here).execute(&mut *transaction).await?.rows_affected();
    forget(&mut transaction, silent).await?;
    match outcome {
        Outcome::Keep => transaction.commit().await?,
        Outcome::Undo => transaction.rollback().await?,
    }
    Ok(adopted)
}

/// Whether a row's transaction id was never given out here: no snapshot will see it for long. Such
/// rows are there even without a cursor that could tell.
async fn has_rows_ahead(connection: &mut PgConnection, now: &Horizon) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from oncebox.event where xid >= $1)")
        .bind(now.next_xid)
        .fetch_one(connection)
        .await
}

/// A subscription writes rows with the publisher's ids, now and later.
async fn check_subscriptions(connection: &mut PgConnection) -> Result<(), RebaseError> {
    let subscribed: Option<String> = sqlx::query_scalar(
        "select s.subname::text from pg_subscription_rel r
         join pg_subscription s on s.oid = r.srsubid
         where s.subenabled
           and (r.srrelid = 'oncebox.event'::regclass
                or r.srrelid in (select inhrelid from pg_inherits where inhparent = 'oncebox.event'::regclass))
         limit 1",
    )
    .fetch_optional(connection)
    .await?;
    match subscribed {
        Some(name) => Err(RebaseError::Subscribed(name)),
        None => Ok(()),
    }
}

/// Raises counters of keys that are behind their events: the next event of the key would otherwise
/// get a number that there is already. A transaction of its own, since producers change these rows
/// all the time; it locks them out for one statement, and only if there is something to mend.
async fn mend_keys(connection: &mut PgConnection, outcome: Outcome) -> Result<i64, RebaseError> {
    let behind: i64 = sqlx::query_scalar(
        "select count(*) from (select key, max(key_seq) as last from oncebox.event
                               where key is not null and key_seq is not null group by key) e
         left join oncebox.key_sequence k using (key) where k.last is null or k.last < e.last",
    )
    .fetch_one(&mut *connection)
    .await?;
    if behind == 0 || outcome == Outcome::Undo {
        return Ok(behind);
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("lock table oncebox.key_sequence in share row exclusive mode")
        .execute(&mut *transaction)
        .await?;
    let mended = sqlx::query(
        "insert into oncebox.key_sequence as k (key, last)
         select key, max(key_seq) from oncebox.event where key is not null and key_seq is not null group by key
         on conflict (key) do update set last = excluded.last where k.last < excluded.last",
    );
    let mended = mended.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(i64::try_from(mended).unwrap_or(i64::MAX))
}

/// Raises the sequence, unless somebody has raised it meanwhile. Takes effect at once and for good.
async fn raise_sequence(transaction: &mut Transaction<'_, Postgres>, last: Seq, to: Seq) -> Result<(), sqlx::Error> {
    sqlx::query("select setval('oncebox.event_seq', $2) from oncebox.event_seq where last_value <= $1")
        .bind(last)
        .bind(to)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// All rows of the transaction's snapshot are committed, so "always visible" is what they are.
async fn rewrite(transaction: &mut Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
    sqlx::query("update oncebox.event set xid = 1 where xid <> 1")
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn place(
    transaction: &mut Transaction<'_, Postgres>,
    sink: &str,
    shard: i16,
    target: &Horizon,
    position: Seq,
    system_id: i64,
) -> Result<(), sqlx::Error> {
    let base = Base::beginning();
    sqlx::query(
        "update oncebox.cursor
         set base = $3::pg_snapshot, base_next_xid = $4, base_seq = $5, base_open_floor = $6, base_floors = $7,
             target = $8::pg_snapshot, target_next_xid = $9, target_seq = $10, target_high = $11, position = $12,
             system_id = $13, epoch = epoch + 1, owner = null, updated_at = now()
         where sink = $1 and shard = $2",
    )
    .bind(sink)
    .bind(shard)
    .bind(base.snapshot.to_string())
    .bind(base.next_xid)
    .bind(base.seq)
    .bind(base.open_floor)
    .bind(&base.floors)
    .bind(target.snapshot.to_string())
    .bind(target.next_xid)
    .bind(target.seq_before)
    .bind(target.seq_after)
    .bind(position)
    .bind(system_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Makes sure, under the cursors' locks, that no relay has come while somebody thought about the yes.
async fn check_silence(transaction: &mut Transaction<'_, Postgres>, silent: &[Relay]) -> Result<(), RebaseError> {
    match relays::lives_after_all(transaction, silent, Concerned::All).await? {
        Some(relay) => Err(RebaseError::Lives(relay)),
        None => Ok(()),
    }
}

/// Takes relays off the list that came with the dump.
async fn forget(transaction: &mut Transaction<'_, Postgres>, silent: &[Relay]) -> Result<(), sqlx::Error> {
    let (ids, beats): (Vec<String>, Vec<i64>) = silent.iter().map(|relay| (relay.id.clone(), relay.beat)).unzip();
    sqlx::query(
        "delete from oncebox.relay r using unnest($1::text[], $2::bigint[]) as silent (id, beat)
         where r.id = silent.id and r.beat = silent.beat",
    )
    .bind(ids)
    .bind(beats)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
