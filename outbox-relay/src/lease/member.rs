//! The task that keeps this relay on the list, and tells the sinks who else is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch as channel, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    term::{Lease, Moment, Terms},
    watch::{Beat, Watch},
};
use crate::{
    chance::Chance,
    database::trouble,
    log::{
        connection::{Connect, Connection},
        members::ShardRow,
    },
    planted::{Bug, is_planted},
};

/// A relay's place on the list, from joining to leaving or being declared dead.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Its id there, which cursors name as owner. Never given out a second time.
    pub id: String,
    /// Until when it may publish.
    pub lease: Lease,
}

/// What a relay knows of itself and the others, as of its last beat.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// This relay's membership; `None` before it is on the list.
    pub me: Option<Membership>,
    /// From before anything of this was read; `None` before the first look.
    pub looked_at: Option<Moment>,
    /// The living relays, by sink.
    pub members: HashMap<String, Vec<String>>,
    /// The cursors' rows, by sink; sinks without cursors are missing.
    pub cursors: HashMap<String, Vec<ShardRow>>,
}

/// The sinks that a relay has and whose targets it has not found yet. Others share their shards without it, as of its
/// next beat.
#[derive(Debug, Clone, Default)]
pub struct WaitingSinks(Arc<Mutex<BTreeSet<String>>>);

impl WaitingSinks {
    /// The sink waits for its target.
    pub fn add(&self, sink: &str) {
        self.held().insert(sink.to_owned());
    }

    /// The sink's target is there.
    pub fn remove(&self, sink: &str) {
        self.held().remove(sink);
    }

    fn names(&self) -> Vec<String> {
        self.held().iter().cloned().collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a relay on the list.
#[derive(Debug)]
pub struct Member<D> {
    database: D,
    chance: Chance,
    /// For people to read: where this relay runs.
    host: String,
    sinks: Vec<String>,
    terms: Terms,
    waiting: WaitingSinks,
    /// The id to join under, until that is known to have succeeded: a reply that is lost must not
    /// leave a second row behind, which would take a share of the shards and publish nothing.
    joins_as: Option<String>,
    roster: channel::Sender<Roster>,
    watch: Watch,
}

impl<D: Connect> Member<D> {
    /// A relay that is not on the list yet, and where to see who is.
    #[must_use]
    pub fn new(database: D, host: String, sinks: Vec<String>, terms: Terms) -> (Self, channel::Receiver<Roster>) {
        let (roster, seen) = channel::channel(Roster::default());
        let member = Self {
            database,
            chance: Chance::default(),
            host,
            sinks,
            waiting: WaitingSinks::default(),
            terms,
            joins_as: None,
            roster,
            watch: Watch::default(),
        };
        (member, seen)
    }

    /// Leaves names to this chance.
    #[must_use]
    pub fn with_chance(mut self, chance: Chance) -> Self {
        self.chance = chance;
        self
    }

    /// Shares no shards of the sinks that wait for their targets.
    #[must_use]
    pub fn with_waiting(mut self, waiting: WaitingSinks) -> Self {
        self.waiting = waiting;
        self
    }

    /// Beats until it is told to end, then takes itself off the list if `leaves_clean` says that no
    /// request of this relay is unanswered; else others have to wait for the end of its term.
    ///
    /// The database's errors are survived: the lease ends by itself, and with it the publishing.
    pub async fn run(mut self, end: CancellationToken, leaves_clean: impl Fn() -> bool) {
        let mut connection = None;
        let mut is_failing = false;
        while !end.is_cancelled() {
            let began = self.terms.clock.now();
            let limit = self.terms.term.max(Duration::from_secs(1));
            match timeout(limit, self.beat(&mut connection)).await {
                Ok(Ok(())) => is_failing = false,
                outcome => {
                    connection = None;
                    if !is_failing {
                        let reason = outcome.map_or_else(|_| "no answer in time".to_owned(), describe);
                        tracing::warn!(
                            reason,
                            "the relay cannot renew its lease; it publishes nothing once it has expired"
                        );
                    }
                    is_failing = true;
                }
            }
            let pause = self.terms.beat.saturating_sub(self.terms.clock.now().since(began));
            let _ = timeout(pause, end.cancelled()).await;
        }
        if leaves_clean() {
            self.leave(connection).await;
        }
    }

    async fn beat(&mut self, connection: &mut Option<D::Connection>) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.database.session().await?),
        };
        let clock = self.terms.clock;
        let began = clock.now();
        let me = self.roster.borrow().me.clone();
        let me = match me {
            Some(me) => me,
            None => self.join(connection).await?,
        };
        let sent = clock.now();
        if !connection.beat(&me.id, &self.waiting.names()).await? {
            // Declared dead: whatever was held is somebody else's, so this is another relay from now on.
            me.lease.end();
            self.roster.send_modify(|roster| *roster = Roster::default());
            tracing::warn!(
                relay = me.id,
                "this relay was silent for a whole lease and others have taken over; it joins anew"
            );
            return Ok(());
        }
        let from = if is_planted(Bug::TermFromAnswer) {
            clock.now()
        } else {
            sent
        };
        me.lease.extend(from);

        let rows = connection.relays().await?;
        let others = rows.iter().filter(|row| row.id != me.id);
        let beats: Vec<Beat> = others
            .map(|row| Beat {
                relay: row.id.clone(),
                beat: row.beat,
                term: row.term,
            })
            .collect();
        let dead = self.watch.observe(&beats, clock.now());
        for beat in &dead {
            if connection.declare_dead(&beat.relay, beat.beat).await? {
                tracing::warn!(
                    relay = beat.relay,
                    "another relay was silent for its whole lease; its shards are free"
                );
            }
        }
        let mut cursors: HashMap<String, Vec<ShardRow>> = HashMap::new();
        for (sink, row) in connection.cursors(&self.sinks).await? {
            cursors.entry(sink).or_default().push(row);
        }
        let is_dead = |id: &str| dead.iter().any(|beat| beat.relay == id);
        let mut members: HashMap<String, Vec<String>> = HashMap::new();
        for row in rows.into_iter().filter(|row| !is_dead(&row.id)) {
            for sink in row.sinks {
                members.entry(sink).or_default().push(row.id.clone());
            }
        }
        self.roster.send_replace(Roster {
            me: Some(me),
            looked_at: Some(began),
            members,
            cursors,
        });
        Ok(())
    }

    /// Puts this relay on the list, under a new id.
    async fn join(&mut self, connection: &mut D::Connection) -> Result<Membership, sqlx::Error> {
        let new_id = || format!("{}-{}", self.host, self.chance.uuid().simple());
        let id = self.joins_as.get_or_insert_with(new_id).clone();
        let waiting = self.waiting.names();
        connection.join(&id, &self.sinks, &waiting, self.terms.term).await?;
        self.joins_as = None;
        tracing::info!(relay = id, "joined the relays");
        let lease = Lease::new(self.terms);
        let me = Membership { id, lease };
        self.roster.send_modify(|roster| roster.me = Some(me.clone()));
        Ok(me)
    }

    /// Frees what is held at once, so that others need not wait for the term's end.
    async fn leave(&self, connection: Option<D::Connection>) {
        let Some(me) = self.roster.borrow().me.clone() else {
            return;
        };
        me.lease.end();
        let left = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => self.database.session().await?,
            };
            connection.leave(&me.id).await?;
            connection.close().await
        };
        match timeout(Duration::from_secs(2), left).await {
            Ok(Ok(())) => tracing::info!(relay = me.id, "left the relays"),
            Ok(Err(error)) => {
                tracing::warn!(reason = %error, "could not leave the relays; the shards are free when the lease is over")
            }
            Err(_) => tracing::warn!("could not leave the relays in time; the shards are free when the lease is over"),
        }
    }
}

fn describe(outcome: Result<(), sqlx::Error>) -> String {
    outcome.err().map_or_else(String::new, |error| trouble::explain(&error))
}
