//! The rows of a run, a bounded page at a time.

use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Seq, Xid,
    connection::Connection,
    cursor::{Horizon, Run, Stretch},
    snapshot::Snapshot,
};
use crate::database::{session::Session, statement::statement};

/// Which events a sink wants, in the form that the query takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// SQL `LIKE` patterns of the type; `None` for all.
    pub types: Option<Vec<String>>,
    /// Kinds; `None` for all.
    pub kinds: Option<Vec<String>>,
    /// Tenants; `None` for all.
    pub tenants: Option<Vec<String>>,
    /// Shards of 16 buckets each; `None` for all sixteen.
    pub shards: Option<Vec<i16>>,
}

/// One row of `oncebox.event`.
#[derive(Debug, Clone)]
pub struct Row {
    /// Position in the log.
    pub seq: Seq,
    /// The shard of its bucket.
    pub shard: i16,
    /// The event's id.
    pub id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// The ordering key.
    pub key: Option<String>,
    /// Position within the key.
    pub key_seq: Option<i64>,
    /// The tenant.
    pub tenant: String,
    /// The kind, as on the wire.
    pub kind: String,
    /// The source.
    pub source: String,
    /// Start of the transaction, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// Further attributes, a JSON object as text.
    pub headers: String,
    /// The data, JSON as text.
    pub data: String,
}

/// Rows in rising order of `seq`, and how far the log has been read with them.
#[derive(Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// No row of the run that the selection wants lies between the last row and here.
    pub read_to: Seq,
}

/// How much one page may hold.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Rows at most, and positions of the log that are searched at first.
    pub span: Seq,
    /// Bytes of data per page; a page holds at least one row, whatever its size.
    pub max_bytes: i64,
}

/// Takes a look at the log's end.
///
/// `seq_before` is what an earlier look found, or [`sequence_position`]: it has to be read in a
/// statement before this one, so that it is older than the snapshot. The connection must not be in
/// a transaction of several statements: within one, `age` answers with what it saw first.
///
/// # Errors
/// Whatever the database says, and [`sqlx::Error::Protocol`] when the next xid is not near the
/// snapshot, which would mean that the connection is in a transaction.
pub async fn look(connection: &mut Session, seq_before: Seq) -> Result<Horizon, sqlx::Error> {
    horizon(&statement(LOOK).fetch_one(connection).await?, seq_before)
}

/// As [`look`], on a connection without a session: for commands. As the first statement of a
/// repeatable transaction it shows that transaction's own snapshot.
///
/// # Errors
/// As [`look`].
pub async fn look_on(connection: &mut PgConnection, seq_before: Seq) -> Result<Horizon, sqlx::Error> {
    horizon(&sqlx::query(LOOK).fetch_one(connection).await?, seq_before)
}

// The statement's snapshot is taken before its expressions run, so last_value is the later one.
// age() is the way to the next xid without taking one (Postgres documentation, "Transaction ID and
// Snapshot Information Functions"); 3 is the first normal xid.
const LOOK: &str = "select pg_current_snapshot()::text, age('3'::xid),
       (select case when is_called then last_value else 0 end from oncebox.event_seq)";

fn horizon(row: &PgRow, seq_before: Seq) -> Result<Horizon, sqlx::Error> {
    let text: String = row.try_get(0)?;
    let snapshot: Snapshot = text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let next_xid = next_xid(&snapshot, row.try_get(1)?)
        .ok_or_else(|| sqlx::Error::Protocol("the next xid is older than the snapshot".to_owned()))?;
    Ok(Horizon {
        next_xid,
        snapshot,
        seq_before,
        seq_after: row.try_get(2)?,
    })
}

/// The next xid, from its distance to xid 3 in 32 bits: the first at or above `xmax` with that
/// distance. Running transactions are never 2^31 apart, so one that is further away is older than `xmax`: `None`.
fn next_xid(snapshot: &Snapshot, age: i32) -> Option<Xid> {
    const FIRST_NORMAL: u32 = 3;
    let low = age.cast_unsigned().wrapping_add(FIRST_NORMAL);
    let xmax_low = u32::try_from(snapshot.xmax() & 0xFFFF_FFFF).unwrap_or(0);
    let ahead = Xid::from(low.wrapping_sub(xmax_low));
    (ahead <= Xid::from(i32::MAX)).then(|| snapshot.xmax() + ahead)
}

/// The sequence's position: the last `seq` given out, 0 before the first.
///
/// # Errors
/// Whatever the database says.
pub async fn sequence_position(connection: &mut Session) -> Result<Seq, sqlx::Error> {
    statement(SEQUENCE_POSITION).fetch_value(connection).await
}

/// As [`sequence_position`], on a connection without a session.
///
/// # Errors
/// Whatever the database says.
pub async fn sequence_position_on(connection: &mut PgConnection) -> Result<Seq, sqlx::Error> {
    sqlx::query_scalar(SEQUENCE_POSITION).fetch_one(connection).await
}

const SEQUENCE_POSITION: &str = "select case when is_called then last_value else 0 end from oncebox.event_seq";

/// Reads the rows of `run` after `position`; `None` when there is nothing more in it.
///
/// The log is searched by stretches that grow while few rows are found, from `span` positions on: a
/// page of rows that lie together costs what they cost, and a gap of millions a few statements.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// Reads only; a cancelled call leaves the connection unusable for others until it is closed.
pub async fn read<C: Connection>(
    connection: &mut C,
    run: &Run,
    selection: &Selection,
    position: Seq,
    limits: PageLimits,
) -> Result<Option<Page>, sqlx::Error> {
    let Some(stretch) = run.next_stretch(position, Seq::MAX) else {
        return Ok(None);
    };
    let mut page = Page {
        rows: Vec::new(),
        read_to: position,
    };
    let (mut left, mut searched) = (limits, limits.span);
    loop {
        let to = stretch.up_to().min(page.read_to.saturating_add(searched));
        let found = connection
            .rows(run, selection, stretch, (page.read_to, to), left)
            .await?;
        let is_cut = found.read_to < to;
        page.read_to = found.read_to;
        left.span -= Seq::try_from(found.rows.len()).unwrap_or(left.span);
        let bytes: usize = found.rows.iter().map(|row| row.data.len()).sum();
        left.max_bytes -= i64::try_from(bytes).unwrap_or(left.max_bytes);
        page.rows.extend(found.rows);
        let is_enough = left.span <= limits.span / 2 || left.max_bytes <= limits.max_bytes / 2;
        if is_cut || is_enough || page.read_to >= stretch.up_to() || searched >= SEARCHED_AT_ONCE {
            return Ok(Some(page));
        }
        searched = searched.saturating_mul(4).min(SEARCHED_AT_ONCE);
    }
}

/// The rows of `run` between two positions of a stretch, as many as `limits` allow.
pub(super) async fn select(
    connection: &mut Session,
    run: &Run,
    selection: &Selection,
    stretch: Stretch,
    (position, up_to): (Seq, Seq),
    limits: PageLimits,
) -> Result<Page, sqlx::Error> {
    // Transactions from xmax(base) on are new where rows are new. Below the base's seq only those
    // can have written that may have been running then.
    let (query, below_xid) = match stretch {
        Stretch::Late { .. } if up_to - position > FEW => (BY_EITHER, run.open_xids().end),
        Stretch::Late { .. } => (BY_POSITION, run.open_xids().end),
        Stretch::New { .. } => (BY_POSITION, run.target.snapshot.xmax()),
    };
    let rows = statement(query)
        .bind(position)
        .bind(up_to)
        .bind(run.late_xids())
        .bind(run.base.snapshot.xmax())
        .bind(below_xid)
        .bind(run.target.snapshot.xip())
        .bind(&selection.types)
        .bind(&selection.kinds)
        .bind(&selection.tenants)
        .bind(&selection.shards)
        .bind(limits.span)
        .bind(limits.max_bytes)
        .fetch_all(connection)
        .await?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("found"))?;
    let rows: Vec<Row> = rows.iter().map(decode).collect::<Result<_, _>>()?;
    // Cut short by bytes or by the limit: read on from the last row.
    let is_cut = found >= limits.span || i64::try_from(rows.len()).unwrap_or(i64::MAX) < found;
    let read_to = match rows.last() {
        Some(last) if is_cut => last.seq,
        _ => up_to,
    };
    Ok(Page { rows, read_to })
}

/// Most positions that are searched by one statement.
const SEARCHED_AT_ONCE: Seq = 1 << 20;
/// So many positions are searched for late rows by `seq` in any case. The index on `xid` knows ranges of blocks only, so
/// it would find all rows of a large transaction for each page of it; and what Postgres takes
/// for the cheaper way it guesses where a partition is new and has no statistics yet.
const FEW: Seq = 65_536;

/// Large data lies outside the row until it is turned into text, so that is done last, for the
/// rows of the page alone.
macro_rules! page_of_rows {
    ($xid:literal) => {
        concat!(
            "select seq, shard, id, type, key, key_seq, tenant, kind, source,
       (extract(epoch from time) * 1000000)::bigint as time_micros,
       headers::text as headers, data::text as data, found
from (
  select e.*, count(*) over () as found, sum(bytes) over (order by seq rows unbounded preceding) as bytes_so_far
  from (
    select seq, (bucket >> 4)::smallint as shard, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data
    from oncebox.event
    where seq > $1 and seq <= $2
      and (",
            $xid,
            " = any($3) or (",
            $xid,
            " >= $4 and ",
            $xid,
            " < $5))
      and ",
            $xid,
            " <> all($6)
      and ($7::text[] is null or type like any($7))
      and ($8::text[] is null or kind = any($8))
      and ($9::text[] is null or tenant = any($9))
      and ($10::smallint[] is null or (bucket >> 4)::smallint = any($10))
    order by seq limit $11
  ) e
) p
where bytes_so_far - bytes < $12
order by seq"
        )
    };
}

/// By `seq` alone: an expression has no index.
const BY_POSITION: &str = page_of_rows!("(xid + 0)");
/// By `seq`, or by `xid` where Postgres takes that for cheaper.
const BY_EITHER: &str = page_of_rows!("xid");

pub(super) fn decode(row: &PgRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        seq: row.try_get("seq")?,
        shard: row.try_get("shard")?,
        id: row.try_get("id")?,
        event_type: row.try_get("type")?,
        key: row.try_get("key")?,
        key_seq: row.try_get("key_seq")?,
        tenant: row.try_get("tenant")?,
        kind: row.try_get("kind")?,
        source: row.try_get("source")?,
        time_micros: row.try_get("time_micros")?,
        headers: row.try_get("headers")?,
        data: row.try_get("data")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(xmax: Xid) -> Snapshot {
        format!("{xmax}:{xmax}:").parse().unwrap()
    }

    fn age(next: Xid) -> i32 {
        u32::try_from((next - 3) & 0xFFFF_FFFF).unwrap().cast_signed()
    }

    #[test]
    fn the_next_xid_is_found_across_the_wrap_of_32_bits() {
        for (xmax, next) in [
            (756, 756),
            (756, 757),
            (0x8000_0001, 0x8000_0003),
            (0xFFFF_FFFE, 0x1_0000_0005),
            (0x3_FFFF_FFFF, 0x4_0000_0003),
        ] {
            assert_eq!(next_xid(&snapshot(xmax), age(next)), Some(next), "{xmax}");
        }
    }

    /// Taken for a later one, it would let a cursor pass transactions that have not begun.
    #[test]
    fn a_next_xid_from_before_the_snapshot_is_none() {
        for (xmax, next) in [(757, 756), (0x1_0000_0005, 0xFFFF_FFFE), (0x4000_0000, 756)] {
            assert_eq!(next_xid(&snapshot(xmax), age(next)), None, "{xmax} {next}");
        }
    }

    #[test]
    fn the_next_xid_is_less_than_half_of_32_bits_ahead() {
        let furthest = 1_000 + Xid::from(i32::MAX);
        assert_eq!(next_xid(&snapshot(1_000), age(furthest)), Some(furthest));
        assert_eq!(next_xid(&snapshot(1_000), age(furthest + 1)), None);
    }
}
