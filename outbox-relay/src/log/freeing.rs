//! When the log's disk is freed, and what holds it.

use std::time::Duration;

use serde::Serialize;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::Seq;

/// A partition that does not lie ahead of the log's end. The JSON's field names are these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its table's name in schema `oncebox`.
    pub partition: String,
    /// Its first position.
    pub from_seq: Seq,
    /// Its last position.
    pub to_seq: Seq,
    /// Disk that it uses, indexes and large data included.
    pub bytes: i64,
    /// From when on the retention lets it go, microseconds since the Unix epoch; `None` while it is being
    /// written, and where nothing is ever dropped.
    #[serde(skip)]
    pub free_after_micros: Option<i64>,
    /// The same as RFC 3339, in UTC.
    pub free_after: Option<String>,
    /// What holds it; `None` for one that the next relay's look drops, within a minute.
    pub held_by: Option<String>,
}

/// The partitions with events, the oldest first, by `oncebox.partition_status`; `None` when this role may
/// not ask. `retention` is `None` where events are kept for ever.
///
/// # Errors
/// Whatever the database says.
pub async fn look(
    connection: &mut PgConnection,
    retention: Option<Duration>,
) -> Result<Option<Vec<Partition>>, sqlx::Error> {
    let may_ask: bool = sqlx::query_scalar(
        "select coalesce(has_function_privilege(to_regprocedure('oncebox.partition_status(interval)'), 'execute'), false)",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !may_ask {
        return Ok(None);
    }
    let seconds = retention.map(|retention| i64::try_from(retention.as_secs()).unwrap_or(i64::MAX));
    let rows = sqlx::query(
        "select s.partition, s.from_seq, s.to_seq, s.bytes, s.held_by,
                (extract(epoch from s.free_after) * 1000000)::bigint as free_after_micros
           from oncebox.partition_status($1::bigint * interval '1 second') s,
                (select case when is_called then last_value else 0 end from oncebox.event_seq) q (log_end)
          where s.from_seq <= q.log_end order by s.from_seq",
    )
    .bind(seconds)
    .fetch_all(connection)
    .await?;
    let decode = |row: &PgRow| {
        Ok(Partition {
            partition: row.try_get("partition")?,
            from_seq: row.try_get("from_seq")?,
            to_seq: row.try_get("to_seq")?,
            bytes: row.try_get("bytes")?,
            free_after_micros: row.try_get("free_after_micros")?,
            free_after: None,
            held_by: row.try_get("held_by")?,
        })
    };
    rows.iter().map(decode).collect::<Result<_, sqlx::Error>>().map(Some)
}
