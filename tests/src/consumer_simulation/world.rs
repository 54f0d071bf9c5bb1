//! What everything in a simulation of a consumer shares.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use oncebox_consumer::test_kit::{Fault, SendFault, elapsed};
use rand::{RngExt as _, rngs::StdRng};

use super::{handlers::Asked, micros};
use crate::{ledger::Effect, simulation::trace::Trace};

/// How bad things are: probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// A request to the tables meets with a fault.
    pub table: f64,
    /// A dead letter on its way does.
    pub send: f64,
    /// An environment is killed in the middle of an invocation.
    pub killed: f64,
    /// Nobody polls it for a while, as a process that is frozen.
    pub frozen: f64,
    /// The tables do not hear from it for a while.
    pub cut_off: f64,
    /// Its answer is lost.
    pub answer_lost: f64,
    /// Its answer comes late.
    pub answer_late: f64,
    /// A standard queue delivers a message again that was deleted.
    pub copied: f64,
    /// An attempt of the handler fails.
    pub handler: f64,
    /// The environments' wall clocks are off.
    pub clocks_differ: bool,
}

impl Weather {
    /// Draws one.
    #[must_use]
    pub fn random(random: &mut StdRng) -> Self {
        if random.random_bool(0.1) {
            return Self::CALM;
        }
        let mut one_of = |choices: [f64; 4]| choices[random.random_range(0..4)];
        let mut weather = Self {
            table: one_of([0.0, 0.05, 0.2, 0.4]),
            send: one_of([0.0, 0.0, 0.2, 0.5]),
            killed: one_of([0.0, 0.05, 0.1, 0.25]),
            frozen: one_of([0.0, 0.0, 0.0, 0.15]),
            cut_off: one_of([0.0, 0.0, 0.1, 0.3]),
            answer_lost: one_of([0.0, 0.02, 0.1, 0.3]),
            answer_late: one_of([0.0, 0.05, 0.2, 0.5]),
            copied: one_of([0.0, 0.02, 0.1, 0.3]),
            handler: one_of([0.0, 0.02, 0.1, 0.3]),
            clocks_differ: false,
        };
        weather.clocks_differ = random.random_bool(0.4);
        weather
    }

    const CALM: Self = Self {
        table: 0.0,
        send: 0.0,
        killed: 0.0,
        frozen: 0.0,
        cut_off: 0.0,
        answer_lost: 0.0,
        answer_late: 0.0,
        copied: 0.0,
        handler: 0.0,
        clocks_differ: false,
    };

    /// The same when nothing goes wrong any more; the clocks stay as they are.
    #[must_use]
    pub fn calm(self) -> Self {
        Self {
            clocks_differ: self.clocks_differ,
            ..Self::CALM
        }
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_calm(self) -> bool {
        self == self.calm()
    }

    /// What the next write meets with.
    pub(super) fn write_fault(self, random: &mut StdRng) -> Option<Fault> {
        let which = random.random_range(0..10);
        random.random_bool(self.table).then(|| match which {
            0 => Fault::LoseRequest,
            1..4 => Fault::LoseReply,
            4 => Fault::Late(random.random_range(0..4)),
            5 => Fault::Throttle,
            6 => Fault::Conflict,
            7 => Fault::HangBefore,
            8 => Fault::HangAfter,
            _ => Fault::Slow(Duration::from_millis(random.random_range(1..3_000))),
        })
    }

    /// What the next read meets with.
    pub(super) fn read_fault(self, random: &mut StdRng) -> Option<Fault> {
        let which = random.random_range(0..4);
        random.random_bool(self.table).then(|| match which {
            0 => Fault::LoseReply,
            1 => Fault::Throttle,
            2 => Fault::HangBefore,
            _ => Fault::Slow(Duration::from_millis(random.random_range(1..3_000))),
        })
    }

    /// What the next dead letter meets with.
    pub(super) fn send_fault(self, random: &mut StdRng) -> Option<SendFault> {
        let which = random.random_range(0..3);
        random.random_bool(self.send).then_some(match which {
            0 => SendFault::Refuse,
            1 => SendFault::LoseReply,
            _ => SendFault::Hang,
        })
    }
}

/// Everything that happens outside of the consumer and its tables.
pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) weather: Weather,
    pub(super) trace: Trace,
    pub(super) deliveries: usize,
    /// Attempts of handlers, of which each has a number.
    pub(super) attempts: u64,
    /// What a receiver has been asked, by event.
    pub(super) asked: BTreeMap<usize, Asked>,
    /// What it did, in order.
    pub(super) effects: Vec<Effect>,
    /// The environment whose turn it is on the thread.
    pub(super) at_work: Option<usize>,
    /// From when on and until when an environment is cut off from the tables.
    pub(super) cut_off: BTreeMap<usize, Range<Duration>>,
    /// Whether an environment was ever frozen: two may be at work then.
    pub(super) was_frozen: bool,
    /// What broke a promise while it happened.
    pub(super) violations: Vec<String>,
    /// Whether nothing has been forgotten yet.
    pub(super) is_first_life: bool,
    /// Effects and dead letters of the life before.
    pub(super) counted: [usize; 2],
}

impl World {
    pub(super) fn new(random: StdRng, weather: Weather, trace: Trace) -> Self {
        Self {
            random,
            weather,
            trace,
            deliveries: 0,
            attempts: 0,
            asked: BTreeMap::new(),
            effects: Vec::new(),
            at_work: None,
            cut_off: BTreeMap::new(),
            was_frozen: false,
            violations: Vec::new(),
            is_first_life: true,
            counted: [0; 2],
        }
    }

    /// The receiver has forgotten everything.
    pub(super) fn begin_again(&mut self) {
        self.note(|| "later".to_owned());
        self.is_first_life = false;
        self.asked.clear();
        self.effects.clear();
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_bool(probability)
    }

    /// Whether the environment whose turn it is cannot reach the tables.
    pub(super) fn is_cut_off(&self) -> bool {
        let cut_off = self.at_work.and_then(|number| self.cut_off.get(&number));
        cut_off.is_some_and(|cut_off| cut_off.contains(&elapsed()))
    }

    pub(super) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=most))
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(micros(elapsed()), what);
    }
}

/// A world that several share; on one thread, so nobody ever waits for its lock.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world; never across an `await`.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
