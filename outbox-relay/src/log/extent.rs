//! How large the log is, and what of it is when free again.

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use super::Seq;

/// The log as a whole. The JSON's field names are these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Position of the oldest row; `None` in an empty log.
    pub first_seq: Option<Seq>,
    /// When the oldest row's transaction began, microseconds since the Unix epoch.
    #[serde(skip)]
    pub first_micros: Option<i64>,
    /// The sequence's position: the last `seq` given out.
    pub last_seq: Seq,
    /// The partitions.
    #[serde(flatten)]
    pub partitions: Partitions,
}

/// The log's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Partitions {
    /// How many there are.
    pub partitions: i64,
    /// How many of them lie wholly above the sequence's position.
    pub partitions_ahead: i64,
    /// Disk that they use, indexes and large data included.
    pub bytes: i64,
}

/// Looks at the log.
///
/// # Errors
/// Whatever the database says.
pub async fn look(connection: &mut PgConnection, last_seq: Seq) -> Result<Extent, sqlx::Error> {
    let first = sqlx::query(
        "select seq, (extract(epoch from time) * 1000000)::bigint as micros from oncebox.event order by seq limit 1",
    );
    let first = first.fetch_optional(&mut *connection).await?;
    Ok(Extent {
        first_seq: first.as_ref().map(|row| row.try_get("seq")).transpose()?,
        first_micros: first.as_ref().map(|row| row.try_get("micros")).transpose()?,
        last_seq,
        partitions: partitions(connection, last_seq).await?,
    })
}

/// Counts partitions by what Postgres itself knows of them. When they are freed is the retention's
/// business: this is the one place that has to ask it.
async fn partitions(connection: &mut PgConnection, last_seq: Seq) -> Result<Partitions, sqlx::Error> {
    let row = sqlx::query(
        "select count(*) as partitions,
                count(*) filter (where substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \\(''?(-?[0-9]+)')::bigint > $1)
                  as partitions_ahead,
                coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint as bytes
         from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'oncebox.event'::regclass",
    )
    .bind(last_seq)
    .fetch_one(connection)
    .await?;
    Ok(Partitions {
        partitions: row.try_get("partitions")?,
        partitions_ahead: row.try_get("partitions_ahead")?,
        bytes: row.try_get("bytes")?,
    })
}
