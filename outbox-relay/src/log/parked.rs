//! Parked events: set aside with the cursor's move, sent again when somebody says so.

use sqlx::Row as _;

use super::{
    Seq,
    page::{self, Row},
};
use crate::database::{
    session::Session,
    statement::{Statement, statement},
};

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

/// What has become of events besides being published, since the cursor was last written. Written in
/// one transaction with the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Events of the log that were refused.
    pub refused: Vec<Refusal>,
    /// Events of the log whose key has a parked event.
    pub followers: Vec<Seq>,
    /// Parked events that were sent again and confirmed.
    pub confirmed: Vec<Seq>,
    /// Parked events that were sent again and refused again.
    pub refused_again: Vec<Refusal>,
    /// Parked events that were to be sent again, behind one that was refused again.
    pub returned: Vec<Seq>,
}

impl Changes {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
            && self.followers.is_empty()
            && self.confirmed.is_empty()
            && self.refused_again.is_empty()
            && self.returned.is_empty()
    }

    /// How many events they are about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.refused.len()
            + self.followers.len()
            + self.confirmed.len()
            + self.refused_again.len()
            + self.returned.len()
    }
}

/// Most bytes of data, as stored, that are taken at once to be sent again.
const MAX_RETRY_BYTES: i64 = 4 * 1024 * 1024;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 1_000;

/// Writes changes. The caller's transaction holds the locks of the cursors' rows: commands that
/// change parked events of a shard take the same lock first.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn write(connection: &mut Session, sink: &str, changes: &Changes) -> Result<(), sqlx::Error> {
    if !changes.confirmed.is_empty() {
        statement("delete from oncebox.parked where sink = $1 and seq = any($2)")
            .bind(sink)
            .bind(&changes.confirmed)
            .execute(&mut *connection)
            .await?;
    }
    if !changes.refused.is_empty() {
        let columns = Columns::of(&changes.refused);
        let parked = statement(
            "insert into oncebox.parked (sink, seq, shard, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                                         class, code, reason, attempts)
             select $1, e.seq, e.bucket >> 4, e.id, e.type, e.key, e.key_seq, e.tenant, e.kind, e.source, e.time, e.headers,
                    e.data, r.class, r.code, r.reason, r.attempts
             from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])
                    as r (seq, class, code, reason, attempts)
             join oncebox.event e using (seq)
             on conflict (sink, seq) do update
             set state = 'parked', class = excluded.class, code = excluded.code, reason = excluded.reason,
                 attempts = oncebox.parked.attempts + excluded.attempts, parked_at = now()",
        );
        columns.bind(parked.bind(sink)).execute(&mut *connection).await?;
    }
    if !changes.followers.is_empty() {
        // The last parked event of the key may have been sent again or skipped since the follower was
        // read. Then it is this one's turn.
        statement(
            "insert into oncebox.parked (sink, seq, shard, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                                         state, class, code, reason, attempts)
             select $1, e.seq, e.bucket >> 4, e.id, e.type, e.key, e.key_seq, e.tenant, e.kind, e.source, e.time, e.headers,
                    e.data,
                    case when exists (select from oncebox.parked p
                                      where p.sink = $1 and p.key = e.key and p.state = 'parked')
                         then 'parked' else 'retry' end,
                    'follows', 'Follows', 'an earlier event of its key is parked', 0
             from oncebox.event e where e.seq = any($2)
             on conflict (sink, seq) do nothing",
        )
        .bind(sink)
        .bind(&changes.followers)
        .execute(&mut *connection)
        .await?;
    }
    if !changes.refused_again.is_empty() {
        let columns = Columns::of(&changes.refused_again);
        let again = statement(
            "update oncebox.parked p
             set state = 'parked', class = r.class, code = r.code, reason = r.reason,
                 attempts = p.attempts + r.attempts, parked_at = now()
             from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])
                    as r (seq, class, code, reason, attempts)
             where p.sink = $1 and p.seq = r.seq",
        );
        columns.bind(again.bind(sink)).execute(&mut *connection).await?;
    }
    if !changes.returned.is_empty() {
        statement("update oncebox.parked set state = 'parked' where sink = $1 and seq = any($2)")
            .bind(sink)
            .bind(&changes.returned)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

struct Columns {
    seqs: Vec<Seq>,
    classes: Vec<&'static str>,
    codes: Vec<String>,
    reasons: Vec<String>,
    attempts: Vec<i64>,
}

impl Columns {
    fn of(refusals: &[Refusal]) -> Self {
        Self {
            seqs: refusals.iter().map(|refusal| refusal.seq).collect(),
            classes: refusals.iter().map(|refusal| refusal.class.as_str()).collect(),
            codes: refusals.iter().map(|refusal| text(&refusal.code, 128)).collect(),
            reasons: refusals
                .iter()
                .map(|refusal| text(&refusal.reason, MAX_REASON))
                .collect(),
            attempts: refusals.iter().map(|refusal| i64::from(refusal.attempts)).collect(),
        }
    }

    fn bind(self, statement: Statement) -> Statement {
        statement
            .bind(self.seqs)
            .bind(self.classes)
            .bind(self.codes)
            .bind(self.reasons)
            .bind(self.attempts)
    }
}

/// What Postgres can keep of a foreign text: no NUL, bounded.
fn text(text: &str, max: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max).collect()
}

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
/// that are `loaded`. With `keeps_order`, none that stands behind a parked one of its key.
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
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = statement(
        "select seq, shard, id, type, key, key_seq, tenant, kind, source,
                (extract(epoch from time) * 1000000)::bigint as time_micros,
                headers::text as headers, data::text as data
         from (
           select p.*, sum(pg_column_size(data)) over (order by seq) - pg_column_size(data) as size_before
           from oncebox.parked p
           where sink = $1 and shard = any($2) and state = 'retry' and seq <> all($3)
             and not ($4 and key is not null and exists (
                   select from oncebox.parked q
                   where q.sink = p.sink and q.key = p.key and q.seq < p.seq and q.state = 'parked'))
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
    rows.iter().map(page::decode).collect()
}

/// How many events of these shards are parked, counted up to a hundred thousand.
///
/// # Errors
/// Whatever the database says.
pub async fn count(connection: &mut Session, sink: &str, shards: &[i16]) -> Result<i64, sqlx::Error> {
    let row = statement(
        "select count(*) from (select from oncebox.parked where sink = $1 and shard = any($2) limit 100000) p",
    )
    .bind(sink)
    .bind(shards)
    .fetch_one(connection)
    .await?;
    row.try_get(0)
}
