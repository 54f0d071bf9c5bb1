//! Handlers with a fault each, and a world outside of every transaction in which their effects are counted.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use oncebox_consumer::{
    Consumer, ConsumerBuilder, Effects, HandlerError, LeaseContext, LeasedHandler, PgTransaction, PostgresHandler,
    ReconcileHandler, Reconciled, TransactionalHandler, leased, postgres,
    test_kit::{Caught, Found, MemoryTables, Scenario, Trial, sleep, without_waiting},
    transactional,
};
use oncebox_envelope::Envelope;
use uuid::Uuid;

use super::sound::{kind, ping};
use crate::{
    ping::Ping,
    stack::{Database, Tables},
};

/// What is wrong with a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It has no effect at all.
    Never,
    /// It has two effects each time.
    Twice,
    /// Its effect is outside of the transaction.
    Outside,
    /// So it is, but it looks first whether there was one already.
    LooksFirst,
    /// It takes what is older than what it has seen for stale.
    NewestWins,
    /// It commits by itself.
    Commits,
    /// Its receiver does not know who was superseded.
    NoFence,
    /// Neither; but it recognises a key.
    KnowsTheKey,
}

/// Somebody else's system.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    effects: HashMap<Uuid, usize>,
    fences: HashMap<Uuid, u64>,
    newest: Uuid,
}

impl World {
    pub(super) fn effects<D>(&self, event: &Envelope<D>) -> usize {
        self.of(*event.id.as_uuid())
    }

    fn of(&self, id: Uuid) -> usize {
        self.state().effects.get(&id).copied().unwrap_or(0)
    }

    fn add(&self, id: Uuid, effects: usize) {
        *self.state().effects.entry(id).or_default() += effects;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What a handler does in modes whose transactions reach only as far as their store.
    async fn act(&self, fault: Fault, id: Uuid) {
        match fault {
            Fault::Never => {}
            Fault::Twice => self.add(id, 2),
            Fault::LooksFirst => {
                let effects = self.of(id);
                sleep(Duration::from_millis(1)).await;
                if effects == 0 {
                    self.add(id, 1);
                }
            }
            Fault::NewestWins => {
                let mut state = self.state();
                if state.newest <= id {
                    state.newest = id;
                    state.effects.insert(id, 1);
                }
            }
            _ => self.add(id, 1),
        }
    }

    /// A request with a fence; one that comes too late is refused.
    fn request(&self, id: Uuid, fence: u64) {
        let mut state = self.state();
        let highest = state.fences.entry(id).or_default();
        if fence >= *highest {
            *highest = fence;
            *state.effects.entry(id).or_default() += 1;
        }
    }
}

/// A handler of every mode.
pub(super) struct Planted(pub(super) Fault, pub(super) World);

type Handled<'a, T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send + 'a>>;

impl<'a> TransactionalHandler<'a, Ping> for Planted {
    type Future = Handled<'a, ()>;

    fn handle(&self, event: Envelope<Ping>, _: &'a mut Effects) -> Self::Future {
        let (fault, world) = (self.0, self.1.clone());
        Box::pin(async move {
            world.act(fault, *event.id.as_uuid()).await;
            Ok(())
        })
    }
}

impl<'a> PostgresHandler<'a, Ping> for Planted {
    type Future = Handled<'a, ()>;

    fn handle(&self, event: Envelope<Ping>, tx: &'a mut PgTransaction<'static>) -> Self::Future {
        let (fault, world) = (self.0, self.1.clone());
        Box::pin(async move {
            world.act(fault, *event.id.as_uuid()).await;
            if fault == Fault::Commits {
                sqlx::raw_sql("commit").execute(&mut **tx).await?;
            }
            Ok(())
        })
    }
}

impl<'a> LeasedHandler<'a, Ping> for Planted {
    type Response = ();
    type Future = Handled<'a, ()>;

    fn handle(&self, event: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let (fault, world, id) = (self.0, self.1.clone(), *event.id.as_uuid());
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            match fault {
                Fault::None => world.request(id, lease.fence()),
                Fault::KnowsTheKey => {
                    world.state().effects.insert(id, 1);
                }
                _ => world.act(fault, id).await,
            }
            sleep(Duration::from_millis(1)).await;
            Ok(())
        })
    }
}

/// Asks the world, which refuses older fences from then on.
pub(super) struct Ask(pub(super) World);

impl<'a> ReconcileHandler<'a, Ping> for Ask {
    type Response = ();
    type Future = Handled<'a, Reconciled<()>>;

    fn reconcile(&self, event: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let (world, id, fence) = (self.0.clone(), *event.id.as_uuid(), lease.fence());
        Box::pin(async move {
            let mut state = world.state();
            let highest = state.fences.entry(id).or_default();
            *highest = fence.max(*highest);
            Ok(match state.effects.get(&id) {
                Some(_) => Reconciled::Done(()),
                None => Reconciled::NotDone,
            })
        })
    }
}

/// Plays only scenarios of `wanted`.
async fn played(world: &World, wanted: &'static str, build: impl Fn() -> ConsumerBuilder) -> Result<(), Caught> {
    let trial = Trial::new(build, ping).skip(move |scenario| kind(scenario) != wanted);
    trial.run(async |event| world.effects(event)).await.map(drop)
}

/// A handler passes a clean trial where its fault does not show, and is caught in each kind of scenario in which it does.
async fn assert_caught(fault: Fault, kinds: &[&'static str], build: impl Fn(&World) -> ConsumerBuilder) {
    let world = World::default();
    if !kinds.contains(&"clean") {
        played(&world, "clean", || build(&world)).await.unwrap();
    }
    for wanted in kinds {
        let world = World::default();
        let caught = played(&world, wanted, || build(&world)).await;
        let caught = caught.expect_err(&format!("{fault:?} was to be caught: {wanted}"));
        assert_eq!(kind(caught.scenario), *wanted, "{fault:?}: {caught}");
        let how = format!(".only(Scenario::{:?})", caught.scenario);
        assert!(caught.to_string().contains(&how), "{caught}");
        assert!(!caught.story.is_empty(), "{caught}");
    }
}

/// The fault of a transactional handler, and where it shows.
const TRANSACTIONAL: [(Fault, &[&str]); 5] = [
    (Fault::Never, &["clean"]),
    (Fault::Twice, &["clean"]),
    (
        Fault::Outside,
        &["crash", "frozen", "two at once", "three at once", "outage"],
    ),
    (Fault::LooksFirst, &["two at once", "three at once", "frozen"]),
    (Fault::NewestWins, &["reordered"]),
];

#[tokio::test]
async fn a_fault_of_a_transactional_handler_is_caught_over_tables_in_memory() {
    for (fault, kinds) in TRANSACTIONAL {
        let tables = MemoryTables::new();
        let build = |world: &World| {
            let handler = transactional(Planted(fault, world.clone()));
            Consumer::builder("test").dedupe(tables.dedupe()).on::<Ping, _>(handler)
        };
        without_waiting(1, assert_caught(fault, kinds, build)).await;
    }
}

#[tokio::test]
async fn a_fault_of_a_transactional_handler_is_caught_over_dynamodb() {
    let tables = Tables::new().await;
    for (fault, kinds) in TRANSACTIONAL {
        let build = |world: &World| {
            let handler = transactional(Planted(fault, world.clone()));
            tables.empty_builder().on::<Ping, _>(handler)
        };
        assert_caught(fault, kinds, build).await;
    }
}

#[tokio::test]
async fn a_fault_of_a_postgres_handler_is_caught() {
    let database = Database::new().await;
    // Whoever comes at the same moment waits for the row, so looking first is enough then.
    let faults: [(Fault, &[&str]); 5] = [
        (Fault::Never, &["clean"]),
        (Fault::Twice, &["clean"]),
        (Fault::Commits, &["clean", "crash"]),
        (Fault::Outside, &["crash", "faulty", "outage"]),
        (Fault::NewestWins, &["reordered"]),
    ];
    for (fault, kinds) in faults {
        // One after the other: which of two begins first over a socket is chance, and nothing is stale in order.
        let build = |world: &World| {
            let builder = database.empty_builder().concurrency(1);
            builder.on::<Ping, _>(postgres(Planted(fault, world.clone())))
        };
        assert_caught(fault, kinds, build).await;
    }
}

/// The fault of a leased handler that reconciles, and where it shows.
const LEASED: [(Fault, &[&str]); 3] = [
    (Fault::Never, &["clean"]),
    (Fault::NewestWins, &["reordered"]),
    (Fault::NoFence, &["frozen"]),
];

#[tokio::test]
async fn a_fault_of_a_leased_handler_is_caught_over_tables_in_memory() {
    for (fault, kinds) in LEASED {
        let tables = MemoryTables::new();
        let build = |world: &World| {
            let handler = leased(Planted(fault, world.clone())).reconcile(Ask(world.clone()));
            Consumer::builder("test").dedupe(tables.dedupe()).on::<Ping, _>(handler)
        };
        without_waiting(1, assert_caught(fault, kinds, build)).await;
    }
    // To try the same key again where nobody recognises it.
    let tables = MemoryTables::new();
    let build = |world: &World| {
        let handler = leased(Planted(Fault::NoFence, world.clone())).retry_same_key();
        Consumer::builder("test").dedupe(tables.dedupe()).on::<Ping, _>(handler)
    };
    without_waiting(1, assert_caught(Fault::NoFence, &["crash", "outage", "frozen"], build)).await;
}

#[tokio::test]
async fn a_fault_of_a_leased_handler_is_caught_over_dynamodb() {
    let tables = Tables::new().await;
    for (fault, kinds) in LEASED {
        let build = |world: &World| {
            let handler = leased(Planted(fault, world.clone())).lease(Duration::from_millis(500));
            tables
                .empty_builder()
                .on::<Ping, _>(handler.reconcile(Ask(world.clone())))
        };
        assert_caught(fault, kinds, build).await;
    }
}

#[tokio::test]
async fn a_trial_says_what_is_wrong_with_itself() {
    async fn found(build: impl Fn() -> ConsumerBuilder, only: Scenario) -> Found {
        let trial = Trial::new(build, ping).only(only);
        trial.run(async |_| 1).await.unwrap_err().found
    }
    let tables = MemoryTables::new();
    let builder = || Consumer::builder("test").on::<Ping, _>(transactional(crate::ping::count));
    let no_dedupe = found(builder, Scenario::Clean).await;
    assert!(matches!(no_dedupe, Found::Start(_)), "{no_dedupe}");
    let missing_table = found(|| builder().dedupe(tables.dedupe()), Scenario::Clean).await;
    assert!(matches!(missing_table, Found::Unsettled { .. }), "{missing_table}");
    let tables = MemoryTables::new().table("effects", &["pk"]);
    let far = found(|| builder().dedupe(tables.dedupe()), Scenario::Crash { wait: 99 }).await;
    assert!(matches!(far, Found::NotReached), "{far}");
    let only = Trial::new(|| builder().dedupe(tables.dedupe()), ping).only(Scenario::Reordered);
    let report = only.run(async |_| 1).await.unwrap();
    assert_eq!(report.scenarios, [Scenario::Reordered]);
    let bad = Trial::new(|| builder().dedupe(tables.dedupe()), ping).attribute("tenant", "");
    let bad = bad.run(async |_| 1).await.unwrap_err().found;
    assert!(matches!(bad, Found::Invalid { .. }), "{bad}");
}
