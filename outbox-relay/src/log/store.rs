//! The cursor's row: one per sink and shard, written only by the holder of its epoch.

mod claim;
mod row;
mod save;

use super::{
    Seq,
    connection::Connection,
    cursor::{Base, Horizon, Run},
};
use crate::database::{session::Session, statement::statement};

pub(super) use claim::attempt;
pub use claim::{Try, claim};
pub(super) use row::decode;
pub use save::save;

/// How many shards a sink has; a shard is 16 of the 256 buckets.
pub const SHARDS: i16 = 16;

/// Where a new sink begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest event in the log.
    #[default]
    Beginning,
    /// With the first event that commits after the sink is first seen.
    Now,
}

/// A place in the log that a sink has reached: a base, and a run with its position if one is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// All that this sees is published.
    pub base: Base,
    /// The run that is under way: its target and the position up to which it is published.
    pub under_way: Option<(Horizon, Seq)>,
}

impl Place {
    /// The run that is under way, if any.
    #[must_use]
    pub fn run(&self) -> Option<(Run, Seq)> {
        let (target, position) = self.under_way.clone()?;
        let base = self.base.clone();
        Some((Run { base, target }, position))
    }
}

/// Shards of a sink that stand at the same place, held under one epoch each.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The sink's name.
    pub sink: String,
    /// The shards, each with the epoch under which it is held.
    pub shards: Vec<(i16, i64)>,
    /// Where they stand.
    pub place: Place,
}

/// Why a cursor was not taken over or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The cursor knows of transactions or positions that this database has not had: it was
    /// restored from a backup or is another one. Going on would pass by what is written from now on.
    #[error(
        "the cursors of sink `{sink}` are ahead of this database: it was restored, or is a copy of another one. \
         Nothing was published. Run `outbox-relay cursor rebase`, which tells what will be published again"
    )]
    Ahead {
        /// The sink's name.
        sink: String,
    },
    /// The cursor counts the transactions of another cluster.
    #[error(
        "the cursors of sink `{sink}` belong to another database cluster: this one was restored from a dump, \
         or is a clone. Nothing was published. Run `outbox-relay cursor rebase`, which tells what will be published again"
    )]
    Foreign {
        /// The sink's name.
        sink: String,
    },
    /// Another relay holds a shard now, or somebody moved its cursor; nothing was written.
    #[error("sink `{sink}`: a shard's cursor was taken over or moved")]
    Superseded {
        /// The sink's name.
        sink: String,
    },
    /// Whatever the database says; nothing is known to be written.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Creates the cursors of a sink that has none.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// All cursors are created or none.
pub async fn prepare<C: Connection>(connection: &mut C, sink: &str, start: Start) -> Result<(), StoreError> {
    let seq_before = connection.sequence_position().await?;
    let now = connection.look(seq_before).await?;
    let first = match start {
        Start::Beginning => Base::beginning(),
        Start::Now => Base::at(now),
    };
    Ok(connection.create_cursors(sink, &first).await?)
}

/// Creates the cursors of a sink that has none, at `first`.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn create(connection: &mut Session, sink: &str, first: &Base) -> Result<(), sqlx::Error> {
    statement(
        "insert into oncebox.cursor (sink, shard, base, base_next_xid, base_seq, base_open_floor, base_floors, position, system_id)
         select $1, shard, $2::pg_snapshot, $3, $4, $5, $6, 0, (select system_identifier from pg_control_system())
         from generate_series(0, $7 - 1) shard
         on conflict do nothing",
    )
    .bind(sink)
    .bind(first.snapshot.to_string())
    .bind(first.next_xid)
    .bind(first.seq)
    .bind(first.open_floor)
    .bind(&first.floors)
    .bind(i32::from(SHARDS))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Frees shards that this relay holds under these epochs, for others to take at once. Their work has
/// ended and their cursors are written.
///
/// # Errors
/// Whatever the database says; the shards are free when the relay's lease is over.
pub async fn release(connection: &mut Session, sink: &str, held: &[(i16, i64)]) -> Result<(), sqlx::Error> {
    let (shards, epochs): (Vec<i16>, Vec<i64>) = held.iter().copied().unzip();
    // Locked in the order that everybody takes, so that nobody waits for each other.
    statement(
        "with mine as (
           select c.sink, c.shard from oncebox.cursor c
           join unnest($2::smallint[], $3::bigint[]) as held (shard, epoch) using (shard)
           where c.sink = $1 and c.epoch = held.epoch
           order by c.shard for update of c)
         update oncebox.cursor c set owner = null, updated_at = now()
         from mine where c.sink = mine.sink and c.shard = mine.shard",
    )
    .bind(sink)
    .bind(&shards)
    .bind(&epochs)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a place lies beyond what the database has had when `now` was looked at.
pub(super) fn is_ahead(place: &Place, now: &Horizon) -> bool {
    let base = &place.base;
    let base_is_ahead = base.next_xid > now.next_xid || base.seq > now.seq_after;
    let target_is_ahead = place
        .under_way
        .as_ref()
        .is_some_and(|(target, position)| target.next_xid > now.next_xid || *position > now.seq_after);
    base_is_ahead || target_is_ahead
}
