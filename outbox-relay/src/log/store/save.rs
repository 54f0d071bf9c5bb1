//! Writing cursors, and what was parked, in one transaction.

use super::{Claim, StoreError};
use crate::{
    database::{session::Session, statement::statement},
    log::{
        Seq,
        parked::{self, Changes},
    },
};

/// Writes the places that the claims' shards have reached, and with them what has become of events
/// that were not published: all of it or none. `claims` names all shards that the changes are about.
/// Returns which of the parked events that were to be taken may be sent.
///
/// # Errors
/// [`StoreError::Superseded`] when a shard's epoch was raised by somebody else.
///
/// # Cancel safety
/// A cancelled call may have written; the places are then behind nothing that was published.
pub async fn save(
    connection: &mut Session,
    sink: &str,
    claims: &[Claim],
    changes: &Changes,
) -> Result<Vec<Seq>, StoreError> {
    if let [claim] = claims
        && changes.is_empty()
    {
        return save_one(connection, claim).await.map(|()| Vec::new());
    }
    connection.begin_transaction().await?;
    match save_all(connection, sink, claims, changes).await {
        Ok(taken) => {
            connection.commit().await?;
            Ok(taken)
        }
        Err(error) => {
            connection.roll_back().await?;
            Err(error)
        }
    }
}

async fn save_all(
    connection: &mut Session,
    sink: &str,
    claims: &[Claim],
    changes: &Changes,
) -> Result<Vec<Seq>, StoreError> {
    lock(connection, sink, claims).await?;
    let taken = parked::write(connection, sink, changes).await?;
    for claim in claims {
        save_one(connection, claim).await?;
    }
    Ok(taken)
}

/// Locks the cursors' rows in the order of their shards: whoever changes parked events does so first.
async fn lock(connection: &mut Session, sink: &str, claims: &[Claim]) -> Result<(), StoreError> {
    let held = claims.iter().flat_map(|claim| claim.shards.iter().copied());
    let (shards, epochs): (Vec<i16>, Vec<i64>) = held.unzip();
    let locked = statement(
        "select c.shard from oncebox.cursor c
         join unnest($2::smallint[], $3::bigint[]) as held (shard, epoch) using (shard)
         where c.sink = $1 and c.epoch = held.epoch
         order by c.shard for update of c",
    )
    .bind(sink)
    .bind(&shards)
    .bind(&epochs)
    .fetch_all(connection)
    .await?;
    if locked.len() == shards.len() {
        Ok(())
    } else {
        Err(StoreError::Superseded { sink: sink.to_owned() })
    }
}

async fn save_one(connection: &mut Session, claim: &Claim) -> Result<(), StoreError> {
    let (shards, epochs): (Vec<i16>, Vec<i64>) = claim.shards.iter().copied().unzip();
    let base = &claim.place.base;
    let target = claim.place.under_way.as_ref();
    // The condition on the count makes it all or nothing: a shard lost means no shard is written.
    let written = statement(
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
    .await?;
    if usize::try_from(written) == Ok(claim.shards.len()) {
        Ok(())
    } else {
        Err(StoreError::Superseded {
            sink: claim.sink.clone(),
        })
    }
}
