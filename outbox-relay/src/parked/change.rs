//! Retry, hold and skip.

use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Transaction};

use super::{
    filter::{self, Filter, State, selected},
    listing::{self, ParkedEvent, columns},
};

/// What a change did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many events were changed.
    pub events: i64,
    /// How many of them the filter does not select: they belong to a selected event's key.
    pub added: i64,
    /// Selected events that were left as they are, because they are in the other state.
    pub left: i64,
    /// Of skipped events' keys: how many events wait on.
    pub waiting: i64,
    /// The first of the changed events, by sink and position.
    pub shown: Vec<ParkedEvent>,
}

/// Whether a change is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed.
    Keep,
    /// It is made and rolled back: to tell exactly what it would do.
    Undo,
}

/// Lets the relay send parked events again, or takes that back (`to` is [`State::Parked`]).
///
/// A key is a unit: of each selected event with a key, all events of that key in that sink go along,
/// from the oldest on, so that the relay can keep their order.
///
/// # Errors
/// Whatever the database says; nothing is changed then.
///
/// # Cancel safety
/// All of it is changed or nothing.
pub async fn set_state(
    connection: &mut PgConnection,
    filter: &Filter,
    to: State,
    outcome: Outcome,
    limit: i64,
) -> Result<Changed, sqlx::Error> {
    let from = match to {
        State::Parked => State::Retry,
        State::Retry => State::Parked,
    };
    let mut transaction = connection.begin().await?;
    let (sinks, shards) = lock(&mut transaction, filter).await?;
    let selected = count(&mut transaction, filter, &sinks, &shards).await?;
    let rows = sqlx::query(concat!(
        "with chosen as (
           select p.sink, p.seq, p.key from oncebox.parked p
           join unnest($9::text[], $10::smallint[]) as locked (sink, shard) using (sink, shard)
           where ",
        selected!(),
        "), target as (
           select p.sink, p.seq, c.seq is null as is_added
           from oncebox.parked p left join chosen c on c.sink = p.sink and c.seq = p.seq
           where p.state = $12
             and (c.seq is not null
                  or (p.sink, p.key) in (select k.sink, k.key from chosen k where k.key is not null))
         ), changed as (
           update oncebox.parked p set state = $11 from target t
           where p.sink = t.sink and p.seq = t.seq
           returning ",
        columns!(),
        ", t.is_added)
         select p.*, count(*) over () as events, count(*) filter (where is_added) over () as added
         from changed p order by sink, seq limit $13"
    ));
    let rows = filter::bind(rows, filter)
        .bind(&sinks)
        .bind(&shards)
        .bind(to.as_str())
        .bind(from.as_str())
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
    let shown: Vec<ParkedEvent> = rows.iter().map(listing::decode).collect::<Result<_, _>>()?;
    let number = |name: &str| rows.first().map_or(Ok(0), |row| row.try_get(name));
    let (events, added) = (number("events")?, number("added")?);
    finish(transaction, outcome).await?;
    Ok(Changed {
        events,
        added,
        left: selected - (events - added),
        waiting: 0,
        shown,
    })
}

/// Deletes the selected parked events for good, those that wait for a person. Events that stand
/// behind them in their keys stay.
///
/// # Errors
/// Whatever the database says; nothing is changed then.
///
/// # Cancel safety
/// All of it is changed or nothing.
pub async fn skip(
    connection: &mut PgConnection,
    filter: &Filter,
    outcome: Outcome,
    limit: i64,
) -> Result<Changed, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let (sinks, shards) = lock(&mut transaction, filter).await?;
    let selected = count(&mut transaction, filter, &sinks, &shards).await?;
    // All parts of the statement see the table as it was before.
    let rows = sqlx::query(concat!(
        "with skipped as (
           delete from oncebox.parked p
           using unnest($9::text[], $10::smallint[]) as locked (sink, shard)
           where p.sink = locked.sink and p.shard = locked.shard and p.state = 'parked' and ",
        selected!(),
        " returning ",
        columns!(),
        ")
         select p.*, count(*) over () as events,
                (select count(*) from oncebox.parked w
                 where (w.sink, w.key) in (select k.sink, k.key from skipped k where k.key is not null)
                   and (w.sink, w.seq) not in (select s.sink, s.seq from skipped s)) as waiting
         from skipped p order by sink, seq limit $11"
    ));
    let rows = filter::bind(rows, filter)
        .bind(&sinks)
        .bind(&shards)
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
    let shown: Vec<ParkedEvent> = rows.iter().map(listing::decode).collect::<Result<_, _>>()?;
    let number = |name: &str| rows.first().map_or(Ok(0), |row| row.try_get(name));
    let (events, waiting) = (number("events")?, number("waiting")?);
    finish(transaction, outcome).await?;
    Ok(Changed {
        events,
        added: 0,
        left: selected - events,
        waiting,
        shown,
    })
}

/// Locks the cursors of the shards that `filter` is about and returns those shards. What is parked
/// in another shard from now on is none of the command's business.
async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    filter: &Filter,
) -> Result<(Vec<String>, Vec<i16>), sqlx::Error> {
    let places = sqlx::query(concat!(
        "select distinct p.sink, p.shard from oncebox.parked p where ",
        selected!()
    ));
    let places = filter::bind(places, filter).fetch_all(&mut **transaction).await?;
    let mut sinks = Vec::with_capacity(places.len());
    let mut shards = Vec::with_capacity(places.len());
    for place in &places {
        sinks.push(place.try_get::<String, _>("sink")?);
        shards.push(place.try_get::<i16, _>("shard")?);
    }
    lock_cursors(transaction, &sinks, &shards).await?;
    Ok((sinks, shards))
}

/// Locks cursors' rows in the order that everybody takes.
pub(super) async fn lock_cursors(
    transaction: &mut Transaction<'_, Postgres>,
    sinks: &[String],
    shards: &[i16],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select 1 from oncebox.cursor c
         join unnest($1::text[], $2::smallint[]) as asked (sink, shard) using (sink, shard)
         order by c.sink, c.shard for update of c",
    )
    .bind(sinks)
    .bind(shards)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(())
}

async fn count(
    transaction: &mut Transaction<'_, Postgres>,
    filter: &Filter,
    sinks: &[String],
    shards: &[i16],
) -> Result<i64, sqlx::Error> {
    let counted = sqlx::query(concat!(
        "select count(*) from oncebox.parked p
         join unnest($9::text[], $10::smallint[]) as locked (sink, shard) using (sink, shard) where ",
        selected!()
    ));
    let counted = filter::bind(counted, filter).bind(sinks).bind(shards);
    counted.fetch_one(&mut **transaction).await?.try_get(0)
}

async fn finish(transaction: Transaction<'_, Postgres>, outcome: Outcome) -> Result<(), sqlx::Error> {
    match outcome {
        Outcome::Keep => transaction.commit().await,
        Outcome::Undo => transaction.rollback().await,
    }
}
