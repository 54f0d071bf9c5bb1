//! What a trial puts a handler through, and what it tells of it.

use uuid::Uuid;

use crate::{StartError, test_kit::Fault};

/// One way in which deliveries go wrong. All of them end alike: the events are delivered until they are settled,
/// then once more, and each has had one effect.
///
/// A *wait* is a moment at which a function waits for its back end (before and after each request to DynamoDB, and
/// whenever a socket lets it wait) or its handler for something else; they are counted from 1. A *write* is a request
/// that writes to DynamoDB, or a commit in Postgres; they are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scenario {
    /// Nothing goes wrong.
    Clean,
    /// Four events come backwards, some of them twice in one batch, and then again in another order.
    Reordered,
    /// The function dies while it waits.
    Crash {
        /// At which of its waits.
        wait: usize,
    },
    /// The function stands still while it waits, and goes on when another one has done what it can.
    Frozen {
        /// At which of its waits.
        wait: usize,
    },
    /// The same events come to several functions at once.
    AtOnce {
        /// How many functions, 2 or 3.
        copies: usize,
        /// Each begins when the one before it waits for the so manieth time; 0: all at one moment.
        wait: usize,
    },
    /// One write meets with a fault.
    Faulty {
        /// Which write.
        write: usize,
        /// What happens to it.
        fault: Fault,
    },
    /// From one write on, each meets with a fault until the invocation's time is over.
    Outage {
        /// The first write.
        write: usize,
        /// What happens to them.
        fault: Fault,
    },
}

/// What a trial has gone through without finding anything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Each scenario, in the order in which they were played.
    pub scenarios: Vec<Scenario>,
}

/// What a trial found. Its `Debug` is its `Display`, so that `unwrap` shows it well.
#[derive(thiserror::Error)]
#[error("{found}\n  in the scenario {scenario:?}: {story}\n  to play only this one: `.only(Scenario::{scenario:?})`")]
#[non_exhaustive]
pub struct Caught {
    /// In which scenario.
    pub scenario: Scenario,
    /// What it was.
    pub found: Found,
    /// What became of each delivery.
    pub story: String,
}

impl std::fmt::Debug for Caught {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// What was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Found {
    /// The consumer could not be built.
    #[error("the consumer does not start: {0}")]
    Start(#[from] StartError),
    /// No handler takes the trial's events.
    #[error("the consumer has no handler for `{0}`, the type of the trial's events")]
    NoHandler(&'static str),
    /// An event of the trial cannot be sent.
    #[error("event {number} is no valid envelope: {why}")]
    Invalid {
        /// Which one, as given to the closure that makes events.
        number: usize,
        /// The fault.
        why: String,
    },
    /// Another number of effects than was promised.
    #[error("event {number} ({id}) had {effects} effects; {promised}")]
    Effects {
        /// Which one, as given to the closure that makes events.
        number: usize,
        /// Its id.
        id: Uuid,
        /// What the trial was told.
        effects: usize,
        /// What is promised.
        promised: &'static str,
    },
    /// An event that is neither acknowledged nor set aside by its policy.
    #[error("event {number} ({id}) is not settled: {why}")]
    Unsettled {
        /// Which one, as given to the closure that makes events.
        number: usize,
        /// Its id.
        id: Uuid,
        /// The outcome and the error of its last delivery.
        why: String,
    },
    /// A boundary that was asked for by [`only`](super::Trial::only) and that no delivery came to.
    #[error("the deliveries ended before they came so far; how many waits there are may differ from run to run")]
    NotReached,
    /// A delivery that waits for ever.
    #[error("a delivery has more than {0} waits")]
    Endless(usize),
}
