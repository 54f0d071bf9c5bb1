//! Events of the log that were read before, and are read once more.

use super::{
    Seq,
    page::{self, Row},
};
use crate::database::{session::Session, statement::statement};

/// These events, oldest first. One whose partition was dropped is left out.
///
/// # Errors
/// Whatever the database says.
///
/// # Cancel safety
/// Reads only.
pub async fn read(connection: &mut Session, seqs: &[Seq]) -> Result<Vec<Row>, sqlx::Error> {
    let rows = statement(
        "select seq, (bucket >> 4)::smallint as shard, id, type, key, key_seq, tenant, kind, source,
                (extract(epoch from time) * 1000000)::bigint as time_micros, headers::text as headers, data::text as data
         from oncebox.event where seq = any($1) order by seq",
    )
    .bind(seqs)
    .fetch_all(connection)
    .await?;
    rows.iter().map(page::decode).collect()
}
