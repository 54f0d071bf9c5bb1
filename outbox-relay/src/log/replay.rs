//! The events of a replay: a fixed set, read in the order of the log.
//!
//! What is replayed is what one look at the log's end sees. A transaction that is open then, or that
//! begins later, is not part of it, however long the replay takes.

use sqlx::{Error, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Seq,
    cursor::Horizon,
    page::{self, Page, PageLimits, Selection},
};
use crate::database::{
    session::Session,
    statement::{Statement, statement},
};

/// Positions that are counted at once.
const COUNTED: Seq = 100_000;

/// Which events are replayed: those that the sink wants and that meet every condition. A condition
/// with several values is met by any of them, and `None` by all events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What the sink wants.
    pub sink: Selection,
    /// SQL `LIKE` patterns of the type.
    pub types: Option<Vec<String>>,
    /// Kinds.
    pub kinds: Option<Vec<String>>,
    /// Tenants.
    pub tenants: Option<Vec<String>>,
    /// Ordering keys.
    pub keys: Option<Vec<String>>,
    /// Ids of events.
    pub ids: Option<Vec<Uuid>>,
    /// Of this time or later, microseconds since the Unix epoch.
    pub from_micros: Option<i64>,
    /// Before this time.
    pub to_micros: Option<i64>,
}

/// A part of the log as one look has seen it: rows above `after`, up to `up_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Nothing at or below this is read.
    pub after: Seq,
    /// Nothing above this is read.
    pub up_to: Seq,
    seen: Horizon,
}

/// What a replay would publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// By type, in the order of the types' names.
    pub types: Vec<TypeCount>,
    /// The first and the last position; `None` when there is no event.
    pub seqs: Option<(Seq, Seq)>,
    /// The earliest and the latest time, microseconds since the Unix epoch.
    pub micros: Option<(i64, i64)>,
}

/// How much there is of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeCount {
    /// The type.
    pub event_type: String,
    /// How many events.
    pub events: i64,
    /// Bytes of their data.
    pub bytes: i64,
}

impl Count {
    /// All events.
    #[must_use]
    pub fn events(&self) -> i64 {
        self.types.iter().map(|of_type| of_type.events).sum()
    }

    fn add(&mut self, row: &PgRow) -> Result<(), Error> {
        let event_type: String = row.try_get("type")?;
        let (events, bytes): (i64, i64) = (row.try_get("events")?, row.try_get("bytes")?);
        match self
            .types
            .binary_search_by(|of_type| of_type.event_type.cmp(&event_type))
        {
            Ok(place) => {
                self.types[place].events += events;
                self.types[place].bytes += bytes;
            }
            Err(place) => self.types.insert(
                place,
                TypeCount {
                    event_type,
                    events,
                    bytes,
                },
            ),
        }
        self.seqs = Some(wider(self.seqs, (row.try_get("first_seq")?, row.try_get("last_seq")?)));
        self.micros = Some(wider(
            self.micros,
            (row.try_get("first_micros")?, row.try_get("last_micros")?),
        ));
        Ok(())
    }
}

fn wider(so_far: Option<(i64, i64)>, (low, high): (i64, i64)) -> (i64, i64) {
    so_far.map_or((low, high), |(first, last)| (first.min(low), last.max(high)))
}

/// Takes the look, and bounds it to the positions from `from` to `to`.
///
/// # Errors
/// Whatever the database says.
pub async fn fix(session: &mut Session, from: Option<Seq>, to: Option<Seq>) -> Result<Fixed, Error> {
    let seq_before = page::sequence_position(session).await?;
    let seen = page::look(session, seq_before).await?;
    let first: Option<Seq> = statement("select (select seq from oncebox.event order by seq limit 1)")
        .fetch_value(session)
        .await?;
    let (from, first) = (from.unwrap_or(0), first.unwrap_or(seen.seq_after));
    Ok(Fixed {
        after: from.max(first).saturating_sub(1).max(0),
        up_to: to.unwrap_or(Seq::MAX).min(seen.seq_after),
        seen,
    })
}

/// Reads wanted rows above `position`; `None` when there is nothing more. `limits.span` bounds the
/// rows of the page, `scanned` the positions that are looked at for them.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// As [`page::read`].
pub async fn read(
    session: &mut Session,
    fixed: &Fixed,
    wanted: &Wanted,
    position: Seq,
    scanned: Seq,
    limits: PageLimits,
) -> Result<Option<Page>, Error> {
    if position >= fixed.up_to {
        return Ok(None);
    }
    let up_to = fixed.up_to.min(position.saturating_add(scanned));
    let rows = select(statement(PAGE_OF_ROWS), fixed, wanted, position, up_to)
        .bind(limits.span)
        .bind(limits.max_bytes)
        .fetch_all(session)
        .await?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("found"))?;
    let rows = rows.iter().map(page::decode).collect::<Result<Vec<_>, _>>()?;
    let is_cut = found >= limits.span || i64::try_from(rows.len()).unwrap_or(i64::MAX) < found;
    let read_to = match rows.last() {
        Some(last) if is_cut => last.seq,
        _ => up_to,
    };
    Ok(Some(Page { rows, read_to }))
}

/// Counts the wanted rows.
///
/// # Errors
/// Whatever the database says.
pub async fn count(session: &mut Session, fixed: &Fixed, wanted: &Wanted) -> Result<Count, Error> {
    let (mut count, mut position) = (Count::default(), fixed.after);
    while position < fixed.up_to {
        let up_to = fixed.up_to.min(position.saturating_add(COUNTED));
        let rows = select(statement(COUNTED_BY_TYPE), fixed, wanted, position, up_to)
            .fetch_all(session)
            .await?;
        for row in &rows {
            count.add(row)?;
        }
        position = up_to;
    }
    Ok(count)
}

/// Which rows: parameters 1 to 14 are those that [`select`] binds.
macro_rules! wanted {
    () => {
        "seq > $1 and seq <= $2 and xid < $3 and xid <> all($4)
      and ($5::text[] is null or type like any($5))
      and ($6::text[] is null or kind = any($6))
      and ($7::text[] is null or tenant = any($7))
      and ($8::text[] is null or type like any($8))
      and ($9::text[] is null or kind = any($9))
      and ($10::text[] is null or tenant = any($10))
      and ($11::text[] is null or key = any($11))
      and ($12::uuid[] is null or id = any($12))
      and ($13::bigint is null or time >= timestamptz 'epoch' + $13 * interval '1 microsecond')
      and ($14::bigint is null or time < timestamptz 'epoch' + $14 * interval '1 microsecond')"
    };
}

fn select(statement: Statement, fixed: &Fixed, wanted: &Wanted, after: Seq, up_to: Seq) -> Statement {
    statement
        .bind(after)
        .bind(up_to)
        .bind(fixed.seen.snapshot.xmax())
        .bind(fixed.seen.snapshot.xip())
        .bind(&wanted.sink.types)
        .bind(&wanted.sink.kinds)
        .bind(&wanted.sink.tenants)
        .bind(&wanted.types)
        .bind(&wanted.kinds)
        .bind(&wanted.tenants)
        .bind(&wanted.keys)
        .bind(&wanted.ids)
        .bind(wanted.from_micros)
        .bind(wanted.to_micros)
}

/// Large data is turned into text last, for the rows of the page alone.
const PAGE_OF_ROWS: &str = concat!(
    "select seq, shard, id, type, key, key_seq, tenant, kind, source,
       (extract(epoch from time) * 1000000)::bigint as time_micros,
       headers::text as headers, data::text as data, found
from (
  select e.*, count(*) over () as found, sum(bytes) over (order by seq rows unbounded preceding) as bytes_so_far
  from (
    select seq, (bucket >> 4)::smallint as shard, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data
    from oncebox.event where ",
    wanted!(),
    " order by seq limit $15
  ) e
) p
where bytes_so_far - bytes < $16
order by seq"
);

const COUNTED_BY_TYPE: &str = concat!(
    "select type, count(*) as events, sum(bytes)::bigint as bytes, min(seq) as first_seq, max(seq) as last_seq,
       (extract(epoch from min(time)) * 1000000)::bigint as first_micros,
       (extract(epoch from max(time)) * 1000000)::bigint as last_micros
from oncebox.event where ",
    wanted!(),
    " group by type"
);
