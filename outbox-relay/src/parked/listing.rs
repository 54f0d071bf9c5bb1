//! Looking at parked events.

use serde::Serialize;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::filter::{self, Filter, selected};
use crate::log::Seq;

/// A parked event as it is listed. The JSON's field names are these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedEvent {
    /// The sink that has set it aside.
    pub sink: String,
    /// Its position in the log.
    pub seq: Seq,
    /// Its id.
    pub id: Uuid,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its ordering key.
    pub key: Option<String>,
    /// Its tenant.
    pub tenant: String,
    /// `parked` or `retry`.
    pub state: String,
    /// `permanent`, `oversize`, `invalid` or `follows`.
    pub class: String,
    /// The target's code.
    pub code: String,
    /// What the target said.
    pub reason: String,
    /// How often it was sent in vain.
    pub attempts: i64,
    /// Seconds since it was set aside, by the database's clock.
    pub age_secs: i64,
}

/// The columns of [`ParkedEvent`], of a relation `p`.
macro_rules! columns {
    () => {
        "p.sink, p.seq, p.id, p.type, p.key, p.tenant, p.state, p.class, p.code, p.reason, p.attempts,
         extract(epoch from now() - p.parked_at)::bigint as age_secs"
    };
}
pub(super) use columns;

/// Everything about a parked event.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// What a list shows.
    #[serde(flatten)]
    pub event: ParkedEvent,
    /// Its shard, 0 to 15.
    pub shard: i16,
    /// Position within its key.
    pub sequence: Option<i64>,
    /// Its kind.
    pub kind: String,
    /// Its source.
    pub source: String,
    /// Start of its transaction, microseconds since the Unix epoch.
    #[serde(skip)]
    pub time_micros: i64,
    /// When it was set aside, microseconds since the Unix epoch.
    #[serde(skip)]
    pub parked_micros: i64,
    /// When it was last edited, microseconds since the Unix epoch.
    #[serde(skip)]
    pub edited_micros: Option<i64>,
    /// Its further attributes.
    pub headers: serde_json::Value,
    /// Length of its data as text.
    pub data_bytes: i64,
    /// Its data, where that was asked for, exactly as the database shows it.
    pub data: Option<Box<serde_json::value::RawValue>>,
}

/// The first `limit` parked events that `filter` selects, by sink and position, and how many it
/// selects in all.
///
/// # Errors
/// Whatever the database says.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    limit: i64,
) -> Result<(Vec<ParkedEvent>, i64), sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from oncebox.parked p where ",
        selected!(),
        " order by p.sink, p.seq limit $9"
    ));
    let rows = filter::bind(rows, filter)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let total = sqlx::query(concat!("select count(*) from oncebox.parked p where ", selected!()));
    let total = filter::bind(total, filter).fetch_one(connection).await?.try_get(0)?;
    Ok((rows.iter().map(decode).collect::<Result<_, _>>()?, total))
}

/// As [`list`], with everything about each event; the data only if `with_data`.
///
/// # Errors
/// Whatever the database says.
pub async fn details(
    connection: &mut PgConnection,
    filter: &Filter,
    with_data: bool,
    limit: i64,
) -> Result<Vec<Details>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        ", p.shard, p.key_seq, p.kind, p.source, p.headers::text as headers,
           octet_length(p.data::text)::bigint as data_bytes, case when $9 then p.data::text end as data,
           (extract(epoch from p.time) * 1000000)::bigint as time_micros,
           (extract(epoch from p.parked_at) * 1000000)::bigint as parked_micros,
           (extract(epoch from p.edited_at) * 1000000)::bigint as edited_micros
         from oncebox.parked p where ",
        selected!(),
        " order by p.sink, p.seq limit $10"
    ));
    let rows = filter::bind(rows, filter)
        .bind(with_data)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(decode_details).collect()
}

/// The names of all sinks that have cursors or parked events, in order.
///
/// # Errors
/// Whatever the database says.
pub async fn sinks(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select sink from oncebox.cursor union select sink from oncebox.parked order by 1")
        .fetch_all(connection)
        .await
}

pub(super) fn decode(row: &PgRow) -> Result<ParkedEvent, sqlx::Error> {
    Ok(ParkedEvent {
        sink: row.try_get("sink")?,
        seq: row.try_get("seq")?,
        id: row.try_get("id")?,
        event_type: row.try_get("type")?,
        key: row.try_get("key")?,
        tenant: row.try_get("tenant")?,
        state: row.try_get("state")?,
        class: row.try_get("class")?,
        code: row.try_get("code")?,
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        age_secs: row.try_get("age_secs")?,
    })
}

fn decode_details(row: &PgRow) -> Result<Details, sqlx::Error> {
    let json = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    let headers: String = row.try_get("headers")?;
    let data: Option<String> = row.try_get("data")?;
    Ok(Details {
        event: decode(row)?,
        shard: row.try_get("shard")?,
        sequence: row.try_get("key_seq")?,
        kind: row.try_get("kind")?,
        source: row.try_get("source")?,
        time_micros: row.try_get("time_micros")?,
        parked_micros: row.try_get("parked_micros")?,
        edited_micros: row.try_get("edited_micros")?,
        headers: serde_json::from_str(&headers).map_err(json)?,
        data_bytes: row.try_get("data_bytes")?,
        data: data
            .map(serde_json::value::RawValue::from_string)
            .transpose()
            .map_err(json)?,
    })
}
