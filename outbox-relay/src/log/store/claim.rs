//! Taking over cursors.

use sqlx::Row as _;

use super::{Claim, Place, StoreError, decode, is_ahead};
use crate::{
    database::{session::Session, statement::statement},
    log::{connection::Connection, cursor::Horizon},
};

/// How often a claim is tried when somebody moves a cursor between the look and the claim.
const TRIES: usize = 3;

/// What one try to claim has come to.
#[derive(Debug)]
pub enum Try {
    /// These are the relay's now.
    Claimed(Vec<Claim>),
    /// A cursor counts the transactions of another cluster. Nothing was claimed.
    Foreign,
    /// These places lie beyond the look. Nothing was claimed.
    Beyond(Vec<Place>),
}

/// Takes over free shards of `sink`, each named with the epoch at which it was seen to be free, and
/// returns those that are now this relay's, grouped by the place they stand at. What somebody else
/// has taken in the meantime is left out, and so is everything when relay `me` is not on the list.
///
/// Raising the epoch ends the claim of whoever held it: its next write fails.
///
/// While it waits for a cursor's lock, nobody can declare relay `me` dead, and its beat goes on.
///
/// # Errors
/// Whatever the database says; nothing is taken over then. [`StoreError::Ahead`] and
/// [`StoreError::Foreign`] when a cursor does not belong to this database. [`StoreError::Superseded`]
/// when somebody moves the cursors all the time.
///
/// # Cancel safety
/// A cancelled call may have claimed.
pub async fn claim<C: Connection>(
    connection: &mut C,
    sink: &str,
    me: &str,
    free: &[(i16, i64)],
) -> Result<Vec<Claim>, StoreError> {
    let sink = || sink.to_owned();
    let mut now = look(connection).await?;
    for _ in 0..TRIES {
        match connection.try_claim(&sink(), me, free, &now).await? {
            Try::Claimed(claims) => return Ok(claims),
            Try::Foreign => return Err(StoreError::Foreign { sink: sink() }),
            Try::Beyond(places) => {
                // The look is older than the place: its holder, or a command, may have moved the cursor
                // in between. What lies beyond a look that was taken after it was read was never here.
                now = look(connection).await?;
                if places.iter().any(|place| is_ahead(place, &now)) {
                    return Err(StoreError::Ahead { sink: sink() });
                }
            }
        }
    }
    Err(StoreError::Superseded { sink: sink() })
}

async fn look<C: Connection>(connection: &mut C) -> Result<Horizon, sqlx::Error> {
    let seq_before = connection.sequence_position().await?;
    connection.look(seq_before).await
}

/// One transaction of a claim: all that is free is taken, or nothing.
pub(in crate::log) async fn attempt(
    connection: &mut Session,
    sink: &str,
    me: &str,
    free: &[(i16, i64)],
    now: &Horizon,
) -> Result<Try, sqlx::Error> {
    connection.begin_transaction().await?;
    let tried = within(connection, sink, me, free, now).await?;
    match tried {
        Try::Claimed(_) => connection.commit().await?,
        // Nothing may look as if somebody had worked on it.
        Try::Foreign | Try::Beyond(_) => connection.roll_back().await?,
    }
    Ok(tried)
}

async fn within(
    connection: &mut Session,
    sink: &str,
    me: &str,
    free: &[(i16, i64)],
    now: &Horizon,
) -> Result<Try, sqlx::Error> {
    let (shards, epochs): (Vec<i16>, Vec<i64>) = free.iter().copied().unzip();
    // The lock on the relay's own row keeps others from declaring it dead in the middle. It is the
    // weakest that keeps a delete out, and lets the beat's update pass: a claim may wait long for a
    // cursor. Whether an owner lives is asked again: what was seen may be old. Cursors are locked in
    // the order that everybody takes.
    let rows = statement(
        "with me as materialized (select id from oncebox.relay where id = $2 for key share),
         free as materialized (
           select c.sink, c.shard, me.id as me from oncebox.cursor c
           join unnest($3::smallint[], $4::bigint[]) as seen (shard, epoch) using (shard)
           cross join me
           where c.sink = $1 and c.epoch = seen.epoch
             and (c.owner is null or c.owner = me.id or not exists (select from oncebox.relay r where r.id = c.owner))
           order by c.shard for update of c),
         taken as (
           update oncebox.cursor c
           set epoch = c.epoch + 1, owner = free.me, updated_at = now(),
               system_id = coalesce(c.system_id, (select system_identifier from pg_control_system()))
           from free
           where c.sink = free.sink and c.shard = free.shard
           returning c.*)
         select shard, epoch, base::text, base_next_xid, base_seq, base_open_floor, base_floors,
                target::text, target_next_xid, target_seq, target_high, position,
                system_id <> (select system_identifier from pg_control_system()) as is_foreign
         from taken order by shard",
    )
    .bind(sink)
    .bind(me)
    .bind(&shards)
    .bind(&epochs)
    .fetch_all(connection)
    .await?;

    let mut claims: Vec<Claim> = Vec::new();
    for row in &rows {
        let shard = (row.try_get("shard")?, row.try_get("epoch")?);
        let place = decode(row)?;
        if row.try_get("is_foreign")? {
            return Ok(Try::Foreign);
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
    let beyond = claims.iter().map(|claim| &claim.place);
    let beyond: Vec<Place> = beyond.filter(|place| is_ahead(place, now)).cloned().collect();
    Ok(match beyond.is_empty() {
        true => Try::Claimed(claims),
        false => Try::Beyond(beyond),
    })
}
