//! What a simulation does, drawn from its seed: who writes, what goes wrong, and when.

use std::time::Duration;

use outbox_relay::{
    log::page::Selection,
    publish::Scope,
    sink::{Guarantee, MAX_HELD_BYTES, gather::BundleLimits},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    producer::{self, Transaction},
    target,
    weather::Weather,
    world::Micros,
};

/// A whole simulation, but for what the network draws while it runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How far the processes go at a time.
    pub step: Micros,
    /// The lease of all relays.
    pub lease: Duration,
    /// The sinks.
    pub sinks: Vec<SinkPlan>,
    /// How many relays there are at first.
    pub relays: usize,
    /// How bad things are until they get better.
    pub weather: Weather,
    /// When everything gets better: nothing goes wrong any more.
    pub calm_at: Micros,
    /// The producers' transactions.
    pub transactions: Vec<Transaction>,
    /// Events that targets refuse until it is calm, by their number among all.
    pub refused: Vec<(usize, Scope)>,
    /// What goes wrong.
    pub faults: Vec<(Micros, Fault)>,
    /// Longest that a relay waits for answers when it stops or hands over.
    pub drain_timeout: Duration,
}

/// A sink.
#[derive(Debug, Clone)]
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// Whether its queue is FIFO.
    pub is_fifo: bool,
    /// How often an event may arrive.
    pub guarantee: Guarantee,
    /// What it wants.
    pub selection: Selection,
    /// How it bundles, if it does.
    pub bundle: Option<BundleLimits>,
    /// Most requests at once.
    pub max_in_flight: usize,
    /// Most events between the oldest that is not settled and the youngest that was read.
    pub max_window: usize,
    /// Most bytes on their way.
    pub max_held_bytes: usize,
}

/// Something that goes wrong, or that a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `SIGKILL` for a relay, and another one in its place after a while.
    Kill(usize, Micros),
    /// `SIGSTOP` for a relay, for a while, once so many of its tasks had their turn.
    Freeze(usize, Micros, usize),
    /// `SIGTERM` for a relay, and another one in its place after a while.
    Stop(usize, Micros),
    /// One relay more.
    Join,
    /// The database crashes, and is back after a while.
    Crash(Micros),
    /// A person lets all parked events go again.
    Retry,
    /// A person gives up the oldest parked event.
    Skip,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let random = &mut random;
        let calm_at = random.random_range(2_000_000..9_000_000);
        let weather = Weather::random(random);
        let lease = Duration::from_millis(random.random_range(1_000..3_000));
        let keys = [1, 3, 12][random.random_range(0..3)];
        let mut number = 0;
        let transactions: Vec<Transaction> = (0..random.random_range(5..60))
            .map(|_| {
                let at = random.random_range(0..calm_at);
                producer::random(random, at, keys, &mut number)
            })
            .collect();
        let refuses = random.random_bool(0.4);
        let scope = if random.random_bool(0.5) {
            Scope::Entry
        } else {
            Scope::Request
        };
        let refused = (0..if refuses { random.random_range(1..6) } else { 0 })
            .map(|_| (random.random_range(0..1_000), scope))
            .collect();
        let relays = random.random_range(1..4);
        let lease_micros = u64::try_from(lease.as_micros()).unwrap_or(0);
        let faults = (0..random.random_range(0..8))
            .map(|_| {
                let at = random.random_range(0..calm_at);
                let relay = random.random_range(0..3);
                let pause = random.random_range(0..2 * lease_micros);
                let fault = match random.random_range(0..20) {
                    0..6 => Fault::Kill(relay, pause),
                    6..10 => Fault::Freeze(relay, lease_micros / 2 + pause, random.random_range(0..6)),
                    10..13 => Fault::Stop(relay, pause),
                    13 => Fault::Join,
                    14..16 => Fault::Crash(random.random_range(0..1_500_000)),
                    16..19 => Fault::Retry,
                    _ => Fault::Skip,
                };
                (at, fault)
            })
            .collect();
        let mut sinks = vec![sink(random, "fifo", true, Guarantee::AtLeastOnce)];
        if random.random_bool(0.5) {
            sinks.push(sink(random, "standard", false, Guarantee::AtLeastOnce));
        }
        if random.random_bool(0.25) {
            let is_fifo = random.random_bool(0.5);
            sinks.push(sink(random, "once", is_fifo, Guarantee::AtMostOnce));
        }
        Self {
            seed,
            step: [2_000, 5_000, 10_000][random.random_range(0..3)],
            lease,
            sinks,
            relays,
            weather,
            calm_at,
            transactions,
            refused,
            faults,
            drain_timeout: Duration::from_millis([20, 300, 5_000][random.random_range(0..3)]),
        }
    }
}

fn sink(random: &mut StdRng, name: &str, is_fifo: bool, guarantee: Guarantee) -> SinkPlan {
    let types = random.random_bool(0.3).then(|| vec!["invoice.created.%".to_owned()]);
    SinkPlan {
        name: name.to_owned(),
        is_fifo,
        guarantee,
        selection: Selection {
            types,
            ..Selection::default()
        },
        bundle: target::bundle(random),
        max_in_flight: random.random_range(1..9),
        max_window: [5, 40, 100_000][random.random_range(0..3)],
        // Little room makes events give up their payloads all the time.
        max_held_bytes: [600, 3_000, MAX_HELD_BYTES][random.random_range(0..3)],
    }
}
