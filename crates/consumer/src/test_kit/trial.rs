//! A handler under trial: duplicates, reorderings, crashes at every boundary, lost replies; and one effect each.
//!
//! ```
//! use oncebox_consumer::{Consumer, Effects, HandlerError, Key, test_kit::{MemoryTables, Trial}, transactional};
//! use oncebox_envelope::{Envelope, Event};
//! # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! # struct OrderPlaced { customer_id: String }
//! # impl Event for OrderPlaced { const TYPE: &'static str = "order.placed.v1"; }
//!
//! async fn count_order(event: Envelope<OrderPlaced>, effects: &mut Effects) -> Result<(), HandlerError> {
//!     effects.update("totals", Key::new("pk", event.data.customer_id.as_str())).add("orders", 1);
//!     Ok(())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let tables = MemoryTables::new().table("totals", &["pk"]);
//! let function = || {
//!     let handler = transactional(count_order);
//!     Consumer::builder("count-orders").on::<OrderPlaced, _>(handler).dedupe(tables.dedupe())
//! };
//! Trial::new(function, |n| OrderPlaced { customer_id: format!("c-{n}") })
//!     .run(async |event| tables.number("totals", Key::new("pk", event.data.customer_id.as_str()), "orders"))
//!     .await
//!     .unwrap();
//! # });
//! ```

mod function;
mod play;
mod scenario;
mod waits;

pub use scenario::{Caught, Found, Report, Scenario};

use std::marker::PhantomData;

use oncebox_envelope::{Envelope, Event};
use serde_json::{Map, Value};

use self::{
    function::{Function, Mode},
    play::Play,
};
use crate::{ConsumerBuilder, test_kit::Fault};

/// A delivery with more boundaries than this is taken for one that never ends.
const MAX_BOUNDARIES: usize = 1_000;

/// So many boundaries in a row that no delivery comes to are the end: how often a socket waits differs from run to run.
const MISSED: usize = 3;

/// Faults of a single request, or of all of them.
const FAULTS: [Fault; 5] = [
    Fault::LoseRequest,
    Fault::LoseReply,
    Fault::Late(1),
    Fault::Throttle,
    Fault::Conflict,
];

/// Puts a handler through each [`Scenario`], and finds the first one after which an event has not had one effect.
///
/// It works over every back end that a [`ConsumerBuilder`] is given: tables in memory, DynamoDB, Postgres. It
/// puts itself between the consumer and its dedupe table or database; queues are not touched.
/// Clean runs come first, then everything else at its first boundary, its second, until a delivery ends without coming so far.
///
/// A handler in mode `leased` is tried too, by what its policy declares: parked events have had one effect at most.
/// Leases end on the clock: over tables in memory run it within [`without_waiting`](crate::test_kit::without_waiting),
/// elsewhere give the handler a short lease for the test. In [`Scenario::Frozen`] only a receiver that recognises the
/// key or refuses a lower fence keeps it to one effect; leave it out by [`skip`](Self::skip) where you have neither.
pub struct Trial<E, B, V> {
    build: B,
    event: V,
    attributes: Map<String, Value>,
    only: Option<Scenario>,
    skip: Box<dyn Fn(Scenario) -> bool>,
    is_one: bool,
    of: PhantomData<fn() -> E>,
}

impl<E: Event, B: Fn() -> ConsumerBuilder, V: Fn(usize) -> E> Trial<E, B, V> {
    /// A trial of what `build` puts together, once for each instance of the function; all of them have the same
    /// back end. `event` makes the data of the `n`th event, so different from all others that its effects can be counted.
    pub fn new(build: B, event: V) -> Self {
        Self {
            build,
            event,
            attributes: Map::new(),
            only: None,
            skip: Box::new(|_| false),
            is_one: true,
            of: PhantomData,
        }
    }

    /// Gives every event an attribute of the envelope, such as `tenant` or `partitionkey`.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Plays one scenario and no other: to see again what was found.
    #[must_use]
    pub fn only(mut self, scenario: Scenario) -> Self {
        self.only = Some(scenario);
        self
    }

    /// Leaves scenarios out.
    #[must_use]
    pub fn skip(mut self, scenarios: impl Fn(Scenario) -> bool + 'static) -> Self {
        self.skip = Box::new(scenarios);
        self
    }

    /// For a leased handler whose receiver neither recognises a key nor can be asked: two effects are no fault, none is.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.is_one = false;
        self
    }

    /// Plays the scenarios. `effects` tells how many effects an event has had so far.
    ///
    /// # Errors
    /// [`Caught`]: the first event that had none, or more than one, or was not settled.
    ///
    /// # Cancel safety
    /// Dropping it ends the trial; what it wrote stays.
    pub async fn run(self, effects: impl AsyncFn(&Envelope<E>) -> usize) -> Result<Report, Caught> {
        let (build, event) = (&self.build, &self.event);
        let mut play = Play::new(&build, &event, &self.attributes, &effects, self.is_one);
        let mut scenarios = Vec::new();
        if let Some(only) = self.only {
            if !play.scenario(only).await? {
                return Err(play.caught(only, Found::NotReached));
            }
            scenarios.push(only);
            return Ok(Report { scenarios });
        }
        let mode = Function::start::<E>(build())
            .map_err(|found| play.caught(Scenario::Clean, found))?
            .mode;
        for sweep in sweeps(mode) {
            let mut missed = 0;
            for boundary in 0.. {
                let Some(scenario) = sweep(boundary) else { break };
                if boundary > MAX_BOUNDARIES {
                    return Err(play.caught(scenario, Found::Endless(MAX_BOUNDARIES)));
                }
                if (self.skip)(scenario) {
                    // Whether there is a next one nobody knows: it is tried for as long as one is asked for.
                    if (boundary + 1..=MAX_BOUNDARIES).all(|later| sweep(later).is_none_or(&self.skip)) {
                        break;
                    }
                    continue;
                }
                if play.scenario(scenario).await? {
                    missed = 0;
                    scenarios.push(scenario);
                } else {
                    missed += 1;
                }
                if missed == MISSED {
                    break;
                }
            }
        }
        Ok(Report { scenarios })
    }
}

/// The scenario at a boundary, counted from 0.
type Sweep = Box<dyn Fn(usize) -> Option<Scenario>>;

fn sweeps(mode: Mode) -> Vec<Sweep> {
    let mut sweeps: Vec<Sweep> = vec![
        Box::new(|n| (n == 0).then_some(Scenario::Clean)),
        Box::new(|n| (n == 0).then_some(Scenario::Reordered)),
        Box::new(|n| Some(Scenario::Crash { wait: n + 1 })),
        Box::new(|wait| Some(Scenario::AtOnce { copies: 2, wait })),
        Box::new(|wait| Some(Scenario::AtOnce { copies: 3, wait })),
    ];
    for fault in FAULTS {
        let is_of_postgres = matches!(fault, Fault::LoseRequest | Fault::LoseReply);
        if mode != Mode::Postgres || is_of_postgres {
            sweeps.push(Box::new(move |write| Some(Scenario::Faulty { write, fault })));
            sweeps.push(Box::new(move |write| Some(Scenario::Outage { write, fault })));
        }
    }
    sweeps.push(Box::new(|n| Some(Scenario::Frozen { wait: n + 1 })));
    sweeps
}
