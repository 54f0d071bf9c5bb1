//! What the sinks and the list of relays ask of the database: the seam between what they decide and Postgres.

use std::{future::Future, time::Duration};

use super::{
    Seq, again,
    cursor::{Base, Horizon, Run, Stretch},
    members::{self, RelayRow, ShardRow},
    page::{self, Page, PageLimits, Row, Selection},
    parked::{self, Changes, Count, Edition},
    store::{self, Claim, StoreError, Try},
};
use crate::database::{Database, session::Session};

/// Opens connections.
pub trait Connect: Clone + Send + Sync + 'static {
    /// What it opens.
    type Connection: Connection;

    /// Opens a connection to the log as it is now.
    ///
    /// # Errors
    /// Whatever the database or the network says.
    fn session(&self) -> impl Future<Output = Result<Self::Connection, sqlx::Error>> + Send;
}

/// A connection to the log, its cursors, its parked events and the list of relays.
///
/// # Guarantees that an implementation gives
/// - Each call is one transaction: all that it does, or nothing. After an error it may have been done, where the reply
///   was lost.
/// - A call sees all that was committed before it began, and nothing of what was not committed.
/// - Once the server has restarted, every call fails.
///
/// # Cancel safety
/// A cancelled call may have been applied; the connection is then not to be used again.
pub trait Connection: Send + Sized + 'static {
    /// See [`page::sequence_position`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn sequence_position(&mut self) -> impl Future<Output = Result<Seq, sqlx::Error>> + Send;

    /// See [`page::look`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn look(&mut self, seq_before: Seq) -> impl Future<Output = Result<Horizon, sqlx::Error>> + Send;

    /// The rows of `run` above and up to two positions of one of its stretches, in the order of `seq`, as many as
    /// `limits` allow: see [`page::read`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn rows(
        &mut self,
        run: &Run,
        selection: &Selection,
        stretch: Stretch,
        between: (Seq, Seq),
        limits: PageLimits,
    ) -> impl Future<Output = Result<Page, sqlx::Error>> + Send;

    /// See [`again::read`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn again(&mut self, seqs: &[Seq]) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// See [`parked::keys`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn parked_keys(
        &mut self,
        sink: &str,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send;

    /// See [`parked::retries`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn retries(
        &mut self,
        sink: &str,
        shards: &[i16],
        loaded: &[Seq],
        keeps_order: bool,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<(Row, Edition)>, sqlx::Error>> + Send;

    /// See [`parked::read`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn parked(
        &mut self,
        sink: &str,
        seqs: &[Seq],
    ) -> impl Future<Output = Result<Vec<(Row, Edition)>, sqlx::Error>> + Send;

    /// See [`parked::count`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn count_parked(&mut self, sink: &str, shards: &[i16]) -> impl Future<Output = Result<Count, sqlx::Error>> + Send;

    /// See [`store::save`].
    ///
    /// # Errors
    /// As there.
    fn save(
        &mut self,
        sink: &str,
        claims: &[Claim],
        changes: &Changes,
    ) -> impl Future<Output = Result<Vec<Seq>, StoreError>> + Send;

    /// Creates the cursors of a sink that has none, at this base.
    ///
    /// # Errors
    /// Whatever the database says.
    fn create_cursors(&mut self, sink: &str, first: &Base) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// One try of [`store::claim`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn try_claim(
        &mut self,
        sink: &str,
        me: &str,
        free: &[(i16, i64)],
        now: &Horizon,
    ) -> impl Future<Output = Result<Try, sqlx::Error>> + Send;

    /// See [`store::release`].
    ///
    /// # Errors
    /// Whatever the database says.
    fn release(&mut self, sink: &str, held: &[(i16, i64)]) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Puts a relay on the list, with its sinks and those of them whose target it waits for; does nothing if it is
    /// there.
    ///
    /// # Errors
    /// Whatever the database says.
    fn join(
        &mut self,
        relay: &str,
        sinks: &[String],
        waiting: &[String],
        term: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Raises a relay's beat and says which targets it waits for; `false` if it is not on the list.
    ///
    /// # Errors
    /// Whatever the database says.
    fn beat(&mut self, relay: &str, waiting: &[String]) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Who is on the list, in the order of their names.
    ///
    /// # Errors
    /// Whatever the database says.
    fn relays(&mut self) -> impl Future<Output = Result<Vec<RelayRow>, sqlx::Error>> + Send;

    /// Takes a relay off the list if this is still its beat and nobody holds a lock on its row; `false` if not.
    ///
    /// # Errors
    /// Whatever the database says.
    fn declare_dead(&mut self, relay: &str, beat: i64) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// The cursors of sinks, in the order of sink and shard.
    ///
    /// # Errors
    /// Whatever the database says.
    fn cursors(
        &mut self,
        sinks: &[String],
    ) -> impl Future<Output = Result<Vec<(String, ShardRow)>, sqlx::Error>> + Send;

    /// Takes the own relay off the list.
    ///
    /// # Errors
    /// Whatever the database says.
    fn leave(&mut self, relay: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Says goodbye to the server.
    ///
    /// # Errors
    /// The connection is gone already.
    fn close(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Connect for Database {
    type Connection = Session;

    async fn session(&self) -> Result<Session, sqlx::Error> {
        Self::session(self).await
    }
}

impl Connection for Session {
    async fn sequence_position(&mut self) -> Result<Seq, sqlx::Error> {
        page::sequence_position(self).await
    }

    async fn look(&mut self, seq_before: Seq) -> Result<Horizon, sqlx::Error> {
        page::look(self, seq_before).await
    }

    async fn rows(
        &mut self,
        run: &Run,
        selection: &Selection,
        stretch: Stretch,
        between: (Seq, Seq),
        limits: PageLimits,
    ) -> Result<Page, sqlx::Error> {
        page::select(self, run, selection, stretch, between, limits).await
    }

    async fn again(&mut self, seqs: &[Seq]) -> Result<Vec<Row>, sqlx::Error> {
        again::read(self, seqs).await
    }

    async fn parked_keys(&mut self, sink: &str, keys: &[&str]) -> Result<Vec<String>, sqlx::Error> {
        parked::keys(self, sink, keys).await
    }

    async fn retries(
        &mut self,
        sink: &str,
        shards: &[i16],
        loaded: &[Seq],
        keeps_order: bool,
        limit: i64,
    ) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
        parked::retries(self, sink, shards, loaded, keeps_order, limit).await
    }

    async fn parked(&mut self, sink: &str, seqs: &[Seq]) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
        parked::read(self, sink, seqs).await
    }

    async fn count_parked(&mut self, sink: &str, shards: &[i16]) -> Result<Count, sqlx::Error> {
        parked::count(self, sink, shards).await
    }

    async fn save(&mut self, sink: &str, claims: &[Claim], changes: &Changes) -> Result<Vec<Seq>, StoreError> {
        store::save(self, sink, claims, changes).await
    }

    async fn create_cursors(&mut self, sink: &str, first: &Base) -> Result<(), sqlx::Error> {
        store::create(self, sink, first).await
    }

    async fn try_claim(
        &mut self,
        sink: &str,
        me: &str,
        free: &[(i16, i64)],
        now: &Horizon,
    ) -> Result<Try, sqlx::Error> {
        store::attempt(self, sink, me, free, now).await
    }

    async fn release(&mut self, sink: &str, held: &[(i16, i64)]) -> Result<(), sqlx::Error> {
        store::release(self, sink, held).await
    }

    async fn join(
        &mut self,
        relay: &str,
        sinks: &[String],
        waiting: &[String],
        term: Duration,
    ) -> Result<(), sqlx::Error> {
        members::join(self, relay, sinks, waiting, term).await
    }

    async fn beat(&mut self, relay: &str, waiting: &[String]) -> Result<bool, sqlx::Error> {
        members::beat(self, relay, waiting).await
    }

    async fn relays(&mut self) -> Result<Vec<RelayRow>, sqlx::Error> {
        members::relays(self).await
    }

    async fn declare_dead(&mut self, relay: &str, beat: i64) -> Result<bool, sqlx::Error> {
        members::declare_dead(self, relay, beat).await
    }

    async fn cursors(&mut self, sinks: &[String]) -> Result<Vec<(String, ShardRow)>, sqlx::Error> {
        members::cursors(self, sinks).await
    }

    async fn leave(&mut self, relay: &str) -> Result<(), sqlx::Error> {
        members::leave(self, relay).await
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        Self::close(self).await
    }
}
