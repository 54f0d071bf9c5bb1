//! Parked events: set aside with the cursor's move, sent again when somebody says so.

mod write;

use sqlx::Row as _;

use super::{
    Seq,
    page::{self, Row},
};
use crate::database::{session::Session, statement::statement};
pub(super) use write::write;

/// Why an event is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkedClass {
    /// The target refused it.
    Permanent,
    /// It is too large for the target, and there is no claim check.
    Oversize,
    /// The row is no valid event.
    Invalid,
}

impl ParkedClass {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Oversize => "oversize",
            Self::Invalid => "invalid",
        }
    }
}

/// An event that will not be accepted as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its position in the log.
    pub seq: Seq,
    /// Why.
    pub class: ParkedClass,
    /// The target's code.
    pub code: String,
    /// What the target said; never the event's content.
    pub reason: String,
    /// How often it was sent in vain.
    pub attempts: u32,
}

/// Which edition of a parked event was read: how often it had been edited.
pub type Edition = i64;

/// What has become of events besides being published, since the cursor was last written. Written in
/// one transaction with the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Events of the log that were refused.
    pub refused: Vec<Refusal>,
    /// Events of the log whose key has a parked event.
    pub followers: Vec<Seq>,
    /// Parked events that are about to be sent again by a sink that sends at most once.
    pub taken: Vec<(Seq, Edition)>,
    /// Parked events of which this edition was sent again and is settled: confirmed, or given up.
    pub settled: Vec<(Seq, Edition)>,
    /// Parked events of which this edition was sent again and refused again.
    pub refused_again: Vec<(Refusal, Edition)>,
    /// Parked events that were to be sent again, and were not.
    pub returned: Vec<Seq>,
    /// Shards in which no event is being sent any more, whatever the table says.
    pub unattended: Vec<i16>,
}

impl Changes {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.unattended.is_empty()
    }

    /// How many events they are about, as far as is known here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.refused.len()
            + self.followers.len()
            + self.taken.len()
            + self.settled.len()
            + self.refused_again.len()
            + self.returned.len()
    }
}

/// Most bytes of data, as stored, that are taken at once to be sent again.
const MAX_RETRY_BYTES: i64 = 4 * 1024 * 1024;

/// Which of these keys have a parked event in the sink.
///
/// # Errors
/// Whatever the database says.
pub async fn keys(connection: &mut Session, sink: &str, keys: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    statement("select distinct key from oncebox.parked where sink = $1 and key = any($2)")
        .bind(sink)
        .bind(keys)
        .fetch_values(connection)
        .await
}

/// The next parked events of these shards that are to be sent again, oldest first, besides those
/// that are `loaded`. With `keeps_order`, none that stands behind one of its key that is parked or that
/// nobody is sending any more.
///
/// # Errors
/// Whatever the database says.
pub async fn retries(
    connection: &mut Session,
    sink: &str,
    shards: &[i16],
    loaded: &[Seq],
    keeps_order: bool,
    limit: i64,
) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
    let rows = statement(
        "select seq, shard, id, type, key, key_seq, tenant, kind, source,
                (extract(epoch from time) * 1000000)::bigint as time_micros,
                headers::text as headers, data::text as data, edits
         from (
           select p.*, sum(pg_column_size(data)) over (order by seq) - pg_column_size(data) as size_before
           from oncebox.parked p
           where sink = $1 and shard = any($2) and state = 'retry' and seq <> all($3)
             and not ($4 and key is not null and exists (
                   select from oncebox.parked q
                   where q.sink = p.sink and q.key = p.key and q.seq < p.seq
                     and (q.state = 'parked' or (q.state = 'sending' and q.seq <> all($3)))))
           order by seq limit $5
         ) p
         where size_before < $6
         order by seq",
    )
    .bind(sink)
    .bind(shards)
    .bind(loaded)
    .bind(keeps_order)
    .bind(limit)
    .bind(MAX_RETRY_BYTES)
    .fetch_all(connection)
    .await?;
    let edition = |row| Ok((page::decode(row)?, row.try_get("edits")?));
    rows.iter().map(edition).collect()
}

/// These parked events of the sink, as they are now, oldest first. One that is gone is left out.
///
/// # Errors
/// Whatever the database says.
pub async fn read(connection: &mut Session, sink: &str, seqs: &[Seq]) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
    let rows = statement(
        "select seq, shard, id, type, key, key_seq, tenant, kind, source,
                (extract(epoch from time) * 1000000)::bigint as time_micros,
                headers::text as headers, data::text as data, edits
         from oncebox.parked where sink = $1 and seq = any($2) order by seq",
    )
    .bind(sink)
    .bind(seqs)
    .fetch_all(connection)
    .await?;
    let edition = |row| Ok((page::decode(row)?, row.try_get("edits")?));
    rows.iter().map(edition).collect()
}

/// How many events are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// All of them, counted up to a hundred thousand.
    pub parked: i64,
    /// Those of them that are being sent, or that a relay was sending when it ended.
    pub sending: i64,
}

/// How many events of these shards are set aside.
///
/// # Errors
/// Whatever the database says.
pub async fn count(connection: &mut Session, sink: &str, shards: &[i16]) -> Result<Count, sqlx::Error> {
    let row = statement(
        "select (select count(*) from (select from oncebox.parked where sink = $1 and shard = any($2) limit 100000) p),
                (select count(*) from oncebox.parked where sink = $1 and shard = any($2) and state = 'sending')",
    )
    .bind(sink)
    .bind(shards)
    .fetch_one(connection)
    .await?;
    Ok(Count {
        parked: row.try_get(0)?,
        sending: row.try_get(1)?,
    })
}
