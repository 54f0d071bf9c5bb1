//! The relay's connections, with a network between: statements that are lost, answers that are lost, a server that
//! has restarted meanwhile.

use std::{future::Future, io, time::Duration};

use outbox_relay::log::{
    Seq,
    connection::{Connect, Connection},
    cursor::{Base, Horizon, Run, Stretch},
    members::{RelayRow, ShardRow},
    page::{Page, PageLimits, Row, Selection},
    parked::{Changes, Count, Edition},
    store::{Claim, StoreError, Try},
};
use rand::RngExt as _;
use tokio::{sync::oneshot, time::timeout};

use super::{
    postgres::Postgres,
    world::{HostClock, Micros, Shared, World},
};

/// Opens connections for one process.
#[derive(Debug, Clone)]
pub struct Database {
    /// The world.
    pub shared: Shared,
    /// The process's clock.
    pub clock: HostClock,
    /// The process's name.
    pub host: String,
}

/// A connection.
#[derive(Debug)]
pub struct SimulatedConnection {
    database: Database,
    /// The server's life that it began in.
    life: u64,
    is_broken: bool,
}

/// What a statement's answer is given to.
type Reply<T> = Box<dyn FnOnce(&mut World, T) + Send>;

/// What becomes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// Not done, and the connection is cut.
    Cut,
    /// Done, and the connection is cut instead of an answer.
    Unanswered,
    /// Done, and no answer ever comes.
    Hangs,
}

impl Connect for Database {
    type Connection = SimulatedConnection;

    async fn session(&self) -> Result<SimulatedConnection, sqlx::Error> {
        let mut connection = SimulatedConnection {
            database: self.clone(),
            life: 0,
            is_broken: false,
        };
        let connect = connection.call("connect", |world| world.postgres.life);
        connection.life = timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| reset())??;
        Ok(connection)
    }
}

fn reset() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::ConnectionReset.into())
}

impl SimulatedConnection {
    /// Does something at the server, in one transaction, and brings back what it says.
    fn call<T: Send + 'static>(
        &mut self,
        name: &'static str,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        self.call_in_parts(name, |world, reply| {
            let said = act(world);
            reply(world, said);
        })
    }

    /// As `call`; `act` may answer later than it acts.
    fn call_in_parts<T: Send + 'static>(
        &mut self,
        name: &'static str,
        act: impl FnOnce(&mut World, Reply<T>) + Send + 'static,
    ) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        let (answer, answered) = oneshot::channel();
        if !self.is_broken {
            let (host, life) = (self.database.host.clone(), self.life);
            let mut world = self.database.shared.world();
            let arrives = self.database.clock.now() + trip(&mut world);
            let fate = fate(&mut world);
            world.at(arrives, move |world| {
                let is_alive = world.postgres.is_up && (life == 0 || life == world.postgres.life);
                if !is_alive || fate == Fate::Cut {
                    // The sender of the answer goes, and with it the connection.
                    world.note(|| format!("{host}: {name}: cut"));
                    return;
                }
                let reply = move |world: &mut World, said: T| {
                    world.note(|| format!("{host}: {name}{}", fate.words()));
                    match fate {
                        Fate::Done => {
                            let back = trip(world);
                            world.after(back, move |world| {
                                if name == "rows" && world.pages_on_way.remove(&host) {
                                    world.got_pages.insert(host);
                                }
                                drop(answer.send(said));
                            });
                        }
                        Fate::Hangs => world.after(HANGS, move |_| drop((answer, said))),
                        Fate::Cut | Fate::Unanswered => {}
                    }
                };
                act(world, Box::new(reply));
            });
        }
        let is_broken = &mut self.is_broken;
        async move {
            let said = answered.await.map_err(|_| reset());
            *is_broken |= said.is_err();
            said
        }
    }
}

/// As long as the real thing waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than anybody waits for a statement.
const HANGS: Micros = 120_000_000;

fn trip(world: &mut World) -> Micros {
    let most = world.weather.trip;
    world.random.random_range(most / 10..=most)
}

fn fate(world: &mut World) -> Fate {
    let weather = world.weather;
    if world.happens(weather.statement_cut) {
        Fate::Cut
    } else if world.happens(weather.statement_unanswered) {
        Fate::Unanswered
    } else if world.happens(weather.statement_hangs) {
        Fate::Hangs
    } else {
        Fate::Done
    }
}

impl Fate {
    fn words(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::Cut => ": cut",
            Self::Unanswered => ": done, and cut",
            Self::Hangs => ": done, and no answer",
        }
    }
}

/// A statement of one relay in the database alone.
macro_rules! statement {
    ($self:ident, $name:literal, $act:expr) => {{
        let act = $act;
        $self.call($name, move |world| act(&mut world.postgres))
    }};
}

impl Connection for SimulatedConnection {
    async fn sequence_position(&mut self) -> Result<Seq, sqlx::Error> {
        statement!(self, "sequence", |postgres: &mut Postgres| postgres.sequence_position()).await
    }

    async fn look(&mut self, seq_before: Seq) -> Result<Horizon, sqlx::Error> {
        let look = move |world: &mut World, reply: Reply<Horizon>| {
            // Between a statement's snapshot and its expressions others go on.
            let snapshot = world.postgres.look();
            let later = world.random.random_range(0..2_000);
            world.after(later, move |world| {
                let horizon = world.postgres.looked(snapshot, seq_before);
                reply(world, horizon);
            });
        };
        self.call_in_parts("look", look).await
    }

    async fn rows(
        &mut self,
        run: &Run,
        selection: &Selection,
        stretch: Stretch,
        between: (Seq, Seq),
        limits: PageLimits,
    ) -> Result<Page, sqlx::Error> {
        let (run, selection) = (run.clone(), selection.clone());
        let host = self.database.host.clone();
        let rows = move |world: &mut World| {
            let page = world.postgres.rows(&run, &selection, stretch, between, limits);
            if !page.rows.is_empty() {
                world.pages_on_way.insert(host);
            }
            page
        };
        self.call("rows", rows).await
    }

    async fn again(&mut self, seqs: &[Seq]) -> Result<Vec<Row>, sqlx::Error> {
        let seqs = seqs.to_vec();
        statement!(self, "again", move |postgres: &mut Postgres| postgres.again(&seqs)).await
    }

    async fn parked_keys(&mut self, sink: &str, keys: &[&str]) -> Result<Vec<String>, sqlx::Error> {
        let (sink, keys) = (sink.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect());
        let asked = move |postgres: &mut Postgres| postgres.parked_keys(&sink, &keys);
        statement!(self, "parked keys", asked).await
    }

    async fn retries(
        &mut self,
        sink: &str,
        shards: &[i16],
        loaded: &[Seq],
        keeps_order: bool,
        limit: i64,
    ) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
        let (sink, shards, loaded) = (sink.to_owned(), shards.to_vec(), loaded.to_vec());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let retries = move |postgres: &mut Postgres| postgres.retries(&sink, &shards, &loaded, keeps_order, limit);
        statement!(self, "retries", retries).await
    }

    async fn parked(&mut self, sink: &str, seqs: &[Seq]) -> Result<Vec<(Row, Edition)>, sqlx::Error> {
        let (sink, seqs) = (sink.to_owned(), seqs.to_vec());
        let parked = move |postgres: &mut Postgres| postgres.parked_rows(&sink, &seqs);
        statement!(self, "parked", parked).await
    }

    async fn count_parked(&mut self, sink: &str, shards: &[i16]) -> Result<Count, sqlx::Error> {
        let (sink, shards) = (sink.to_owned(), shards.to_vec());
        let count = move |postgres: &mut Postgres| postgres.count_parked(&sink, &shards);
        statement!(self, "count parked", count).await
    }

    async fn save(&mut self, sink: &str, claims: &[Claim], changes: &Changes) -> Result<Vec<Seq>, StoreError> {
        let (sink, claims, changes) = (sink.to_owned(), claims.to_vec(), changes.clone());
        let save = move |postgres: &mut Postgres| postgres.save(&sink, &claims, &changes);
        statement!(self, "save", save).await?
    }

    async fn create_cursors(&mut self, sink: &str, first: &Base) -> Result<(), sqlx::Error> {
        let (sink, first) = (sink.to_owned(), first.clone());
        let create = move |postgres: &mut Postgres| postgres.create_cursors(&sink, &first);
        statement!(self, "create cursors", create).await
    }

    async fn try_claim(
        &mut self,
        sink: &str,
        me: &str,
        free: &[(i16, i64)],
        now: &Horizon,
    ) -> Result<Try, sqlx::Error> {
        let (sink, me, free, now) = (sink.to_owned(), me.to_owned(), free.to_vec(), now.clone());
        let claim = move |postgres: &mut Postgres| postgres.try_claim(&sink, &me, &free, &now);
        statement!(self, "claim", claim).await
    }

    async fn release(&mut self, sink: &str, held: &[(i16, i64)]) -> Result<(), sqlx::Error> {
        let (sink, held) = (sink.to_owned(), held.to_vec());
        let release = move |postgres: &mut Postgres| postgres.release(&sink, &held);
        statement!(self, "release", release).await
    }

    async fn join(&mut self, relay: &str, sinks: &[String], _: &[String], term: Duration) -> Result<(), sqlx::Error> {
        let (relay, sinks) = (relay.to_owned(), sinks.to_vec());
        let join = move |postgres: &mut Postgres| postgres.join(&relay, &sinks, term);
        statement!(self, "join", join).await
    }

    async fn beat(&mut self, relay: &str, _: &[String]) -> Result<bool, sqlx::Error> {
        let relay = relay.to_owned();
        statement!(self, "beat", move |postgres: &mut Postgres| postgres.beat(&relay)).await
    }

    async fn relays(&mut self) -> Result<Vec<RelayRow>, sqlx::Error> {
        let relays = |postgres: &mut Postgres| postgres.relays.values().cloned().collect();
        statement!(self, "relays", relays).await
    }

    async fn declare_dead(&mut self, relay: &str, beat: i64) -> Result<bool, sqlx::Error> {
        let relay = relay.to_owned();
        let declare = move |postgres: &mut Postgres| postgres.declare_dead(&relay, beat);
        statement!(self, "declare dead", declare).await
    }

    async fn cursors(&mut self, sinks: &[String]) -> Result<Vec<(String, ShardRow)>, sqlx::Error> {
        let sinks = sinks.to_vec();
        let cursors = move |postgres: &mut Postgres| postgres.shard_rows(&sinks);
        statement!(self, "cursors", cursors).await
    }

    async fn leave(&mut self, relay: &str) -> Result<(), sqlx::Error> {
        let relay = relay.to_owned();
        statement!(self, "leave", move |postgres: &mut Postgres| postgres.leave(&relay)).await
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}
