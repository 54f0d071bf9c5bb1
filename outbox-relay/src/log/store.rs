//! The cursor's row: one per sink and shard, written only by the holder of its epoch.

use sqlx::{PgConnection, Row as _};

use super::{
    Seq,
    cursor::{Base, Horizon, Run},
    page,
};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
         Nothing was published. To publish its whole log again (consumers skip what they have had), run: \
         delete from oncebox.cursor where sink = '{sink}'"
    )]
    Ahead {
        /// The sink's name.
        sink: String,
    },
    /// Another relay holds the shard now; nothing was written.
    #[error("another relay has taken over sink `{sink}`")]
    Superseded {
        /// The sink's name.
        sink: String,
    },
    /// Whatever the database says; nothing is known to be written.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Takes over all shards of `sink`, creating their cursors if the sink is new, and returns them
/// grouped by the place they stand at.
///
/// Raising the epoch ends the claim of whoever held it: its next write fails.
///
/// # Errors
/// Whatever the database says; nothing is taken over then. [`StoreError::Ahead`] when a cursor does
/// not belong to this database.
pub async fn claim(
    connection: &mut PgConnection,
    sink: &str,
    owner: &str,
    start: Start,
) -> Result<Vec<Claim>, StoreError> {
    let seq_before = page::sequence_position(connection).await?;
    let now = page::look(connection, seq_before).await?;
    let first = match start {
        Start::Beginning => Base::beginning(),
        Start::Now => Base::at(now.clone()),
    };
    sqlx::query(
        "insert into oncebox.cursor (sink, shard, base, base_next_xid, base_seq, base_open_floor, base_floors, position)
         select $1, shard, $2::pg_snapshot, $3, $4, $5, $6, 0 from generate_series(0, $7 - 1) shard
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
    let rows = sqlx::query(
        "with taken as (
           update oncebox.cursor set epoch = epoch + 1, owner = $2, updated_at = now() where sink = $1 returning *)
         select shard, epoch, base::text, base_next_xid, base_seq, base_open_floor, base_floors,
                target::text, target_next_xid, target_seq, target_high, position
         from taken order by shard",
    )
    .bind(sink)
    .bind(owner)
    .fetch_all(connection)
    .await?;

    let mut claims: Vec<Claim> = Vec::new();
    for row in &rows {
        let shard = (row.try_get("shard")?, row.try_get("epoch")?);
        let place = decode(row)?;
        if is_ahead(&place, &now) {
            return Err(StoreError::Ahead { sink: sink.to_owned() });
        }
        match claims.iter_mut().find(|claim| claim.place == place) {
            Some(claim) => claim.shards.push(shard),
            None => claims.push(Claim {
                sink: sink.to_owned(),
                shards: vec![shard],
                place,
            }),
        }
    }
    Ok(claims)
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

/// Writes the place that a claim's shards have reached.
///
/// One statement, so all shards move or none does.
///
/// # Errors
/// [`StoreError::Superseded`] when another relay has raised an epoch.
///
/// # Cancel safety
/// A cancelled call may have written; the place is then behind nothing that was published.
pub async fn save(connection: &mut PgConnection, claim: &Claim) -> Result<(), StoreError> {
    let (shards, epochs): (Vec<i16>, Vec<i64>) = claim.shards.iter().copied().unzip();
    let base = &claim.place.base;
    let target = claim.place.under_way.as_ref();
    // The condition on the count makes it all or nothing: a shard lost means no shard is written.
    let written = sqlx::query(
        "with mine as (
           select c.sink, c.shard from oncebox.cursor c
           join unnest($2::smallint[], $3::bigint[]) as held (shard, epoch) using (shard)
           where c.sink = $1 and c.epoch = held.epoch
           order by c.shard for update of c)
         update oncebox.cursor c
         set base = $4::pg_snapshot, base_next_xid = $5, base_seq = $6, base_open_floor = $7, base_floors = $8,
             target = $9::pg_snapshot, target_next_xid = $10, target_seq = $11, target_high = $12, position = $13,
             updated_at = now()
         from mine
         where c.sink = mine.sink and c.shard = mine.shard
           and (select count(*) from mine) = cardinality($2::smallint[])",
    )
    .bind(&claim.sink)
    .bind(&shards)
    .bind(&epochs)
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
    .execute(connection)
    .await?
    .rows_affected();
    if usize::try_from(written) == Ok(claim.shards.len()) {
        Ok(())
    } else {
        Err(StoreError::Superseded {
            sink: claim.sink.clone(),
        })
    }
}

pub(super) fn decode(row: &sqlx::postgres::PgRow) -> Result<Place, sqlx::Error> {
    let snapshot = |text: String| text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    let base = Base {
        snapshot: snapshot(row.try_get("base")?)?,
        next_xid: row.try_get("base_next_xid")?,
        seq: row.try_get("base_seq")?,
        open_floor: row.try_get("base_open_floor")?,
        floors: row.try_get("base_floors")?,
    };
    let target: Option<String> = row.try_get("target")?;
    let under_way = match target {
        None => None,
        Some(text) => {
            let horizon = Horizon {
                snapshot: snapshot(text)?,
                next_xid: row.try_get("target_next_xid")?,
                seq_before: row.try_get("target_seq")?,
                seq_after: row.try_get("target_high")?,
            };
            Some((horizon, row.try_get("position")?))
        }
    };
    Ok(Place { base, under_way })
}
