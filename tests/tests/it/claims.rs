//! Taking a sink's cursors without a relay's process.

use outbox_relay::log::store::{self, Claim, Start};
use sqlx::PgConnection;

/// Puts relay `me` on the list and takes all shards of `sink`, whoever has them.
pub(crate) async fn claim_all(connection: &mut PgConnection, sink: &str, me: &str, start: Start) -> Vec<Claim> {
    store::prepare(connection, sink, start).await.unwrap();
    sqlx::query("insert into oncebox.relay (id, sinks, term_ms) values ($1, array[$2], 1000) on conflict do nothing")
        .bind(me)
        .bind(sink)
        .execute(&mut *connection)
        .await
        .unwrap();
    let free: Vec<(i16, i64)> = sqlx::query_as("select shard, epoch from oncebox.cursor where sink = $1")
        .bind(sink)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    store::claim(connection, sink, me, &free).await.unwrap()
}
