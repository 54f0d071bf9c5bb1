//! The consumer's decisions, run against models of SQS, of Lambda and of DynamoDB on one clock, from one seed.
//!
//! What runs is the consumer's own code: decoding, lanes, group commit, leases, the gap guard, dead letters and retry delays.
//! What is modelled is what it talks to: DynamoDB (the tables of its test kit, with their faults), a queue and its redrive
//! policy ([`queue`]), environments that are killed, frozen or not heard ([`function`]), handlers and a receiver that fail
//! ([`handlers`]). The same seed gives the same trace. What must hold is told by the [`ledger`](crate::ledger).
//!
//! # Reading order
//! [`plan`] (what a seed means), [`run`] (how it goes), [`check`] (what must hold); then the models.

pub mod check;
pub mod function;
pub mod handlers;
pub mod plan;
pub mod queue;
pub mod shrink;
pub mod world;

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures::{executor::block_on, future::join_all};
use oncebox_consumer::{
    Key,
    test_kit::{Fault, MemoryQueues, MemoryTables, elapsed, sleep, without_waiting},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{
    function::Function,
    plan::{Mode, Plan, Publication},
    queue::Queue,
    world::{Shared, World},
};
use crate::simulation::{trace::Trace, world::Micros};

/// The table of the effects; each attempt has an item of its own, so that nothing makes an effect unique.
pub(crate) const EFFECTS: &str = "effects";
/// Longest that it may take until the queue is empty, once nothing goes wrong any more: a retry waits 15 minutes at most.
const DRAINS_WITHIN: Duration = Duration::from_secs(6 * 60 * 60);
/// Longer than a record is kept.
const LATER: Duration = Duration::from_secs(36 * 24 * 60 * 60);

/// How a simulation went.
#[derive(Debug)]
pub struct Ended {
    /// What broke a promise.
    pub violations: Vec<String>,
    /// Events that a producer committed.
    pub events: usize,
    /// Messages that were delivered, each as often as it was.
    pub deliveries: usize,
    /// Effects.
    pub effects: usize,
    /// Events that were set aside.
    pub set_aside: usize,
    /// How long it took, in the simulation's time.
    pub took: Micros,
    /// What happened.
    pub trace: Trace,
}

/// Runs a plan to its end.
#[must_use]
pub fn run(plan: &Plan, keeps_lines: bool) -> Ended {
    block_on(without_waiting(plan.seed, simulate(plan, keeps_lines)))
}

async fn simulate(plan: &Plan, keeps_lines: bool) -> Ended {
    let random = StdRng::seed_from_u64(plan.seed ^ 0x5eed);
    let simulation = Simulation {
        plan,
        tables: MemoryTables::new().table(EFFECTS, &["attempt"]),
        queues: MemoryQueues::default(),
        queue: RefCell::new(Queue::new(plan.queue)),
        shared: Shared::new(World::new(random, plan.weather, Trace::new(keeps_lines))),
        published: Cell::new(false),
        is_over: Cell::new(false),
    };
    simulation.live(&plan.publications, plan.calm_at).await;
    let (mut violations, mut sums) = simulation.check();
    if violations.is_empty() && plan.lives_twice && plan.mode != Mode::GapGuarded {
        simulation.forget().await;
        let again = plan.replay();
        simulation.live(&again, Duration::ZERO).await;
        let (found, life) = simulation.check();
        violations.extend(
            found
                .into_iter()
                .map(|what| format!("after its record was over: {what}")),
        );
        sums = [sums[0] + life[0], sums[1] + life[1]];
    }
    let mut world = simulation.shared.world();
    Ended {
        violations,
        events: plan.events.len(),
        deliveries: world.deliveries,
        effects: sums[0],
        set_aside: sums[1],
        took: micros(elapsed()),
        trace: std::mem::replace(&mut world.trace, Trace::new(false)),
    }
}

/// A length of time on the simulation's clock.
pub(crate) fn micros(length: Duration) -> Micros {
    u64::try_from(length.as_micros()).unwrap_or(Micros::MAX)
}

/// A simulation that is under way.
pub(crate) struct Simulation<'a> {
    plan: &'a Plan,
    tables: MemoryTables,
    queues: MemoryQueues,
    queue: RefCell<Queue>,
    shared: Shared,
    /// Whether everything is in the queue that ever will be.
    published: Cell<bool>,
    is_over: Cell<bool>,
}

impl Simulation<'_> {
    /// Publishes all of it, works with faults until `calm_at` and without until the queue is empty.
    async fn live(&self, publications: &[Publication], calm_at: Duration) {
        let began = elapsed();
        self.published.set(false);
        self.is_over.set(false);
        self.faults(calm_at > Duration::ZERO);
        let publish = async {
            for publication in publications {
                sleep((began + publication.at).saturating_sub(elapsed())).await;
                self.publish(publication);
            }
            self.published.set(true);
        };
        let calm = async {
            sleep(calm_at).await;
            self.faults(false);
        };
        let end = async {
            let until = began + calm_at + DRAINS_WITHIN;
            while elapsed() < until && !(self.is_calm() && self.is_drained()) {
                sleep(Duration::from_secs(1)).await;
            }
            self.is_over.set(true);
        };
        let functions = (0..self.plan.environments).map(|number| Function::new(self, number).run());
        futures::join!(publish, calm, end, join_all(functions));
        if !self.is_drained() {
            self.shared
                .world()
                .violations
                .push("it was not drained in time".to_owned());
        }
    }

    fn publish(&self, publication: &Publication) {
        self.shared.world().note(|| format!("published {publication:?}"));
        let body = self.plan.body(&publication.content);
        self.queue.borrow_mut().publish(publication, body, elapsed());
    }

    fn is_calm(&self) -> bool {
        self.shared.world().weather.is_calm()
    }

    fn is_drained(&self) -> bool {
        self.published.get() && self.queue.borrow().is_empty()
    }

    /// Lets requests meet with the plan's faults, or with none.
    fn faults(&self, are_there: bool) {
        let weather = if are_there {
            self.plan.weather
        } else {
            self.plan.weather.calm()
        };
        let mut world = self.shared.world();
        world.weather = weather;
        world.cut_off.clear();
        if !are_there {
            world.note(|| "calm".to_owned());
        }
        let chances: [StdRng; 3] = std::array::from_fn(|_| StdRng::seed_from_u64(world.random.random()));
        drop(world);
        let [mut writes, mut reads, mut sends] = chances;
        let is_cut_off = || {
            let shared = self.shared.clone();
            move || shared.world().is_cut_off()
        };
        let (cuts_writes, cuts_reads) = (is_cut_off(), is_cut_off());
        self.tables.faults(move |_| match cuts_writes() {
            true => Some(Fault::HangBefore),
            false => weather.write_fault(&mut writes),
        });
        self.tables.read_faults(move |_| match cuts_reads() {
            true => Some(Fault::HangBefore),
            false => weather.read_fault(&mut reads),
        });
        self.queues.faults(move |_| weather.send_fault(&mut sends));
    }

    /// So much time passes that no record counts any more; DynamoDB has deleted some of them.
    async fn forget(&self) {
        sleep(LATER).await;
        let mut records: Vec<String> = self
            .tables
            .items("dedupe")
            .iter()
            .filter_map(|item| item.get("pk")?.as_s().ok().cloned())
            .collect();
        records.sort();
        let mut world = self.shared.world();
        for record in records {
            if world.happens(0.5) {
                self.tables.remove("dedupe", Key::new("pk", record));
            }
        }
        world.begin_again();
        world.counted = [
            self.tables.written(EFFECTS).len(),
            self.queues.dead_letters(queue::DEAD_LETTERS).len(),
        ];
        self.queue.borrow_mut().begin_again();
    }

    /// What broke a promise in this life; and how many effects and events set aside there were.
    fn check(&self) -> (Vec<String>, [usize; 2]) {
        let world = self.shared.world();
        let written = self.tables.written(EFFECTS);
        let dead_letters = self.queues.dead_letters(queue::DEAD_LETTERS);
        let [effects, letters] = world.counted;
        check::check(
            self.plan,
            &world,
            written.get(effects..).unwrap_or_default(),
            dead_letters.get(letters..).unwrap_or_default(),
            self.queue.borrow().redriven(),
        )
    }
}
