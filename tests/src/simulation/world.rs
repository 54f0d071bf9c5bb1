//! One clock, one order of things, one source of chance: what everything in a simulation shares.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt as _, rngs::StdRng};
use tokio::time::Instant;

use super::{check::Record, postgres::Postgres, target::TargetModel, trace::Trace, weather::Weather};

/// A time of the simulation, in microseconds from its beginning.
pub type Micros = u64;

type Action = Box<dyn FnOnce(&mut World) + Send>;

/// Everything outside of the relays' processes: the database, the targets, the network between.
pub struct World {
    /// Now.
    pub now: Micros,
    /// What is drawn.
    pub random: StdRng,
    /// How bad the network and the services are.
    pub weather: Weather,
    /// The database.
    pub postgres: Postgres,
    /// The targets, by sink.
    pub targets: BTreeMap<String, TargetModel>,
    /// What was attempted and what came of it.
    pub record: Record,
    /// Processes that will get a page of the log with something in it.
    pub pages_on_way: BTreeSet<String>,
    /// Processes that have just got a page of the log.
    pub got_pages: BTreeSet<String>,
    /// What happened, line by line.
    pub trace: Trace,
    /// What is to happen, in order of time, then of the order in which it was planned.
    planned: BTreeMap<(Micros, u64), Action>,
    next_number: u64,
}

/// A world that several share; on one thread, so nobody ever waits for its lock.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl World {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(random: StdRng, weather: Weather, trace: Trace) -> Self {
        Self {
            now: 0,
            random,
            weather,
            postgres: Postgres::default(),
            targets: BTreeMap::new(),
            record: Record::default(),
            pages_on_way: BTreeSet::new(),
            got_pages: BTreeSet::new(),
            trace,
            planned: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Plans an action.
    pub fn at(&mut self, time: Micros, action: impl FnOnce(&mut Self) + Send + 'static) {
        self.planned.insert((time, self.next_number), Box::new(action));
        self.next_number += 1;
    }

    /// Plans an action for later than now.
    pub fn after(&mut self, delay: Micros, action: impl FnOnce(&mut Self) + Send + 'static) {
        self.at(self.now + delay, action);
    }

    /// Lets everything happen that is planned up to `until`.
    pub fn run_until(&mut self, until: Micros) {
        while let Some(entry) = self.planned.first_entry()
            && entry.key().0 <= until
        {
            let ((time, _), action) = entry.remove_entry();
            self.now = self.now.max(time);
            action(self);
        }
        self.now = self.now.max(until);
    }

    /// Whether a thing of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_bool(probability)
    }

    /// Notes what happened, at the world's time.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        self.trace.note(now, what);
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Shared {
    /// Shares a world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world; never across an `await`.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The clock of a process, which is ahead of the world's by one step at most.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    /// When the process began, on the clock of its runtime.
    pub origin: Instant,
    /// And on the world's.
    pub began: Micros,
}

impl HostClock {
    /// Now, on the world's clock.
    #[must_use]
    pub fn now(self) -> Micros {
        self.began + u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
