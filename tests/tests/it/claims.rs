//! Taking a sink's cursors without a relay's process.

use outbox_relay::{
    database::{session::Session, statement::statement, tls::TlsConfig},
    log::store::{self, Claim, Start},
};
use system_tests::Database;

/// A session of the relay's own kind.
pub(crate) async fn session(database: &Database) -> Session {
    let url = database.url.to_string().into();
    let database = outbox_relay::database::Database::new(&url, &TlsConfig::default()).unwrap();
    database.session().await.unwrap()
}

/// Puts relay `me` on the list and takes all shards of `sink`, whoever has them.
pub(crate) async fn claim_all(session: &mut Session, sink: &str, me: &str, start: Start) -> Vec<Claim> {
    store::prepare(session, sink, start).await.unwrap();
    statement("insert into oncebox.relay (id, sinks, term_ms) values ($1, array[$2], 1000) on conflict do nothing")
        .bind(me)
        .bind(sink)
        .execute(session)
        .await
        .unwrap();
    let free: Vec<(i16, i64)> = statement("select shard, epoch from oncebox.cursor where sink = $1")
        .bind(sink)
        .fetch_as(session)
        .await
        .unwrap();
    store::claim(session, sink, me, &free).await.unwrap()
}
