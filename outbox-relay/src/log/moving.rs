//! Cursors moved or deleted by a person.
//!
//! A cursor is changed in one transaction that locks its row, raises its epoch and leaves its owner
//! as it is. A relay that holds it notices the epoch, lets what is on its way be answered, and goes on
//! from where the row says.

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::{
    Seq,
    cursor::{Base, Horizon},
    page,
    relays::{self, Concerned, Relay},
    standing::{self, Standing},
    store::{self, Place},
};
use crate::parked::change::Outcome;

/// Where cursors are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Before the oldest event of the log.
    Beginning,
    /// Behind everything that is committed now.
    Now,
    /// Behind this position: what is committed now at or below it counts as published.
    Behind(Seq),
    /// Before the first event that says this time or a later one, in microseconds since the Unix
    /// epoch. An event's time is the start of its transaction, so events that are a little older may
    /// come too; none that is younger is passed by.
    Since(i64),
}

/// Positions of the log that one statement searches for a time.
const SEARCHED_AT_ONCE: Seq = 20_000;

/// A destination that was looked up.
#[derive(Debug, Clone)]
pub struct Found {
    place: Place,
    position: Seq,
    /// The oldest position in the log.
    first: Seq,
}

/// What a move did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The shards, in order.
    pub shards: Vec<i16>,
    /// The lowest position they stood at.
    pub from: Seq,
    /// The position they stand at now.
    pub to: Seq,
    /// About how many events are sent again; an upper bound where the sink has a filter.
    pub again: i64,
    /// About how many events are passed by that were not published; likewise.
    pub passed_by: i64,
}

/// Why cursors were not moved or deleted.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There are none.
    #[error("sink `{sink}` has no cursor of {what}")]
    NoCursor {
        /// The sink.
        sink: String,
        /// Which shards were asked for.
        what: String,
    },
    /// The log has not come that far.
    #[error("the log ends at {end}, so nothing can be behind {position}; --to now is the end")]
    BeyondTheEnd {
        /// What was asked for.
        position: Seq,
        /// The last position given out.
        end: Seq,
    },
    /// The numbers in the cursor are not this database's.
    #[error(
        "the cursors of sink `{sink}` are those of another database cluster or are ahead of this one, and so may be \
         the log's transaction ids; run `outbox-relay cursor rebase` first"
    )]
    Foreign {
        /// The sink.
        sink: String,
    },
    /// A relay that was silent has beaten, or another one has joined, before anything was deleted.
    #[error("relay {relay} lives and has sink `{sink}`; remove the sink from its relay.toml and restart it first")]
    Lives {
        /// The relay.
        relay: String,
        /// The sink.
        sink: String,
    },
    /// Events that nobody would send any more.
    #[error(
        "sink `{sink}` has {parked} parked events, which would never be sent; look at them with \
         `outbox-relay parked list --sink {sink}`, or pass --parked-too to delete them as well"
    )]
    Parked {
        /// The sink.
        sink: String,
        /// How many.
        parked: i64,
    },
    /// Whatever the database says.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The system identifier of the cluster that `connection` leads to.
///
/// # Errors
/// Whatever the database says.
pub async fn system_id(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select system_identifier from pg_control_system()")
        .fetch_one(connection)
        .await
}

/// Whether a cursor's numbers are those of another cluster, or ahead of what this one has had.
#[must_use]
pub fn is_foreign(standing: &Standing, system_id: i64, now: &Horizon) -> bool {
    standing.system_id.is_some_and(|id| id != system_id) || store::is_ahead(&standing.place, now)
}

/// Looks a destination up. For a time it reads the log from its beginning to the first event of that
/// time or later, in statements that read a bounded number of positions each, and locks nothing.
///
/// What commits after this call has begun is still to come, whatever its position: the place is that of
/// a look that was taken first.
///
/// # Errors
/// [`MoveError::BeyondTheEnd`]; whatever the database says.
///
/// # Cancel safety
/// Reads only.
pub async fn find(connection: &mut PgConnection, to: Destination) -> Result<Found, MoveError> {
    // Not in a transaction: a look needs a snapshot of its own.
    let seq_before = page::sequence_position_on(connection).await?;
    let now = page::look_on(connection, seq_before).await?;
    let first = first_seq(connection).await?;
    let (place, position) = place(connection, to, first, now).await?;
    Ok(Found { place, position, first })
}

/// Moves the cursors of `sink`, those of `shards` alone if any are named. Their rows are locked for as
/// long as it takes to write them.
///
/// # Errors
/// See [`MoveError`]; nothing is moved then.
///
/// # Cancel safety
/// All shards are moved or none.
pub async fn reset(
    connection: &mut PgConnection,
    sink: &str,
    shards: &[i16],
    to: &Found,
    outcome: Outcome,
) -> Result<Moved, MoveError> {
    let here = system_id(connection).await?;
    // In this order: a relay moves cursors all the time, and none is ahead of a look that came after it.
    let standings = standing::read(connection, Some(sink)).await?;
    let seq_before = page::sequence_position_on(connection).await?;
    let now = page::look_on(connection, seq_before).await?;
    if standings.iter().any(|standing| is_foreign(standing, here, &now)) {
        return Err(MoveError::Foreign { sink: sink.to_owned() });
    }
    let mut transaction = connection.begin().await?;
    let standings = lock(&mut transaction, sink, shards).await?;
    let moved_shards: Vec<i16> = standings.iter().map(|standing| standing.shard).collect();
    write(&mut transaction, sink, &moved_shards, &to.place).await?;
    match outcome {
        Outcome::Keep => transaction.commit().await?,
        Outcome::Undo => transaction.rollback().await?,
    }
    let fronts = standings.iter().map(|standing| standing.place.front());
    let (again, passed_by) = difference(fronts.clone(), to.position, to.first);
    Ok(Moved {
        shards: moved_shards,
        from: fronts.min().unwrap_or(0),
        to: to.position,
        again,
        passed_by,
    })
}

/// Deletes the cursors of a sink, and its parked events too if `with_parked`. Returns how many of each.
/// `silent` are the sink's relays that were watched and found dead.
///
/// # Errors
/// [`MoveError::Lives`] when one of them has beaten since, or another one has joined;
/// [`MoveError::Parked`] when events are parked and are not to be deleted; whatever the database says.
/// Nothing is deleted then.
///
/// # Cancel safety
/// All is deleted or nothing.
pub async fn delete(
    connection: &mut PgConnection,
    sink: &str,
    with_parked: bool,
    silent: &[Relay],
    outcome: Outcome,
) -> Result<(u64, u64), MoveError> {
    let mut transaction = connection.begin().await?;
    let standings = match lock(&mut transaction, sink, &[]).await {
        Ok(standings) => standings,
        // What is parked may outlive the cursors.
        Err(MoveError::NoCursor { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    // Under the locks nobody can claim or park; and somebody may have thought for long before the yes.
    let owners: Vec<String> = standings.into_iter().filter_map(|standing| standing.owner).collect();
    let owners = owners.as_slice();
    let sinks = [sink];
    let sink_relays = Concerned::Sinks { sinks: &sinks, owners };
    if let Some(relay) = relays::lives_after_all(&mut transaction, silent, sink_relays).await? {
        let sink = sink.to_owned();
        return Err(MoveError::Lives { relay, sink });
    }
    if !with_parked {
        let left = sqlx::query_scalar("select count(*) from oncebox.parked where sink = $1").bind(sink);
        let parked: i64 = left.fetch_one(&mut *transaction).await?;
        if parked > 0 {
            let sink = sink.to_owned();
            return Err(MoveError::Parked { sink, parked });
        }
    }
    let mut parked = 0;
    if with_parked {
        let deleted = sqlx::query("delete from oncebox.parked where sink = $1").bind(sink);
        parked = deleted.execute(&mut *transaction).await?.rows_affected();
    }
    let deleted = sqlx::query("delete from oncebox.cursor where sink = $1").bind(sink);
    let cursors = deleted.execute(&mut *transaction).await?.rows_affected();
    match outcome {
        Outcome::Keep => transaction.commit().await?,
        Outcome::Undo => transaction.rollback().await?,
    }
    Ok((cursors, parked))
}

async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    sink: &str,
    shards: &[i16],
) -> Result<Vec<Standing>, MoveError> {
    sqlx::query("select 1 from oncebox.cursor where sink = $1 order by shard for update")
        .bind(sink)
        .fetch_all(&mut **transaction)
        .await?;
    let mut standings = standing::read(transaction, Some(sink)).await?;
    let missing = shards
        .iter()
        .find(|shard| standings.iter().all(|standing| standing.shard != **shard));
    let what = match missing {
        Some(shard) => format!("shard {shard}"),
        None => "any shard".to_owned(),
    };
    if standings.is_empty() || missing.is_some() {
        let sink = sink.to_owned();
        return Err(MoveError::NoCursor { sink, what });
    }
    standings.retain(|standing| shards.is_empty() || shards.contains(&standing.shard));
    Ok(standings)
}

/// The place that a destination means, and its position.
async fn place(
    connection: &mut PgConnection,
    to: Destination,
    first: Seq,
    now: Horizon,
) -> Result<(Place, Seq), MoveError> {
    let end = now.seq_after;
    let position = match to {
        Destination::Beginning => 0,
        Destination::Now => {
            let base = Base::at(now);
            return Ok((Place { base, under_way: None }, end));
        }
        Destination::Behind(position) if position > end => return Err(MoveError::BeyondTheEnd { position, end }),
        Destination::Behind(position) => position,
        Destination::Since(micros) => first_since(connection, micros, first, end)
            .await?
            .map_or(end, |first| first - 1),
    };
    let base = Base::beginning();
    let under_way = (position > 0).then_some((now, position));
    Ok((Place { base, under_way }, position.max(0)))
}

/// The first position, from `first` to `end`, of an event that says this time or a later one. Times do
/// not rise with positions (a long transaction says an old time at a high one), so every row on the
/// way counts.
async fn first_since(
    connection: &mut PgConnection,
    micros: i64,
    first: Seq,
    end: Seq,
) -> Result<Option<Seq>, sqlx::Error> {
    let mut from = first;
    while from <= end {
        let found = sqlx::query_scalar(
            "select min(seq) from oncebox.event
             where seq >= $1 and seq <= $2 and time >= 'epoch'::timestamptz + $3 * interval '1 microsecond'",
        );
        let to = end.min(from.saturating_add(SEARCHED_AT_ONCE - 1));
        let found = found.bind(from).bind(to).bind(micros.max(0));
        if let Some(found) = found.fetch_one(&mut *connection).await? {
            return Ok(Some(found));
        }
        from = to.saturating_add(1);
    }
    Ok(None)
}

async fn first_seq(connection: &mut PgConnection) -> Result<Seq, sqlx::Error> {
    let first: Option<Seq> = sqlx::query_scalar("select min(seq) from oncebox.event")
        .fetch_one(connection)
        .await?;
    Ok(first.unwrap_or(1))
}

/// About how many events are sent again and passed by when shards that stand at `fronts` go to
/// `position`: a shard has one position in sixteen.
fn difference(fronts: impl Iterator<Item = Seq>, position: Seq, first: Seq) -> (i64, i64) {
    let (mut again, mut passed_by) = (0, 0);
    for front in fronts {
        again += (front - position.max(first - 1)).max(0);
        passed_by += (position - front.max(first - 1)).max(0);
    }
    let shards = i64::from(store::SHARDS);
    // Rounded up: something is never told as nothing.
    ((again + shards - 1) / shards, (passed_by + shards - 1) / shards)
}

async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    sink: &str,
    shards: &[i16],
    place: &Place,
) -> Result<(), sqlx::Error> {
    let (base, target) = (&place.base, place.under_way.as_ref());
    sqlx::query(
        "update oncebox.cursor
         set base = $3::pg_snapshot, base_next_xid = $4, base_seq = $5, base_open_floor = $6, base_floors = $7,
             target = $8::pg_snapshot, target_next_xid = $9, target_seq = $10, target_high = $11, position = $12,
             epoch = epoch + 1, updated_at = now()
         where sink = $1 and shard = any($2)",
    )
    .bind(sink)
    .bind(shards)
    .bind(base.snapshot.to_string())
    .bind(base.next_xid)
    .bind(base.seq)
    .bind(base.open_floor)
    .bind(&base.floors)
    .bind(target.map(|(horizon, _)| horizon.snapshot.to_string()))
    .bind(target.map(|(horizon, _)| horizon.next_xid))
    .bind(target.map(|(horizon, _)| horizon.seq_before))
    .bind(target.map(|(horizon, _)| horizon.seq_after))
    .bind(target.map_or(0, |(_, position)| *position))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_or_passed_by_is_told_by_positions() {
        let all = |front: Seq| std::iter::repeat_n(front, 16);
        assert_eq!(difference(all(100), 0, 1), (100, 0));
        assert_eq!(
            difference(all(100), 0, 81),
            (20, 0),
            "what was dropped is not sent again"
        );
        assert_eq!(difference(all(100), 130, 1), (0, 30));
        assert_eq!(difference(all(0), 130, 81), (0, 50));
        assert_eq!(
            difference([100].into_iter(), 99, 1),
            (1, 0),
            "something is never nothing"
        );
        assert_eq!(difference(all(100), 100, 1), (0, 0));
    }
}
