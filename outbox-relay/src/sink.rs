//! One sink: from the cursor over the lanes to the target, and back as a moved cursor.
//!
//! # Reading order
//! [`window`] (which events are settled, and so how far the cursor may move), [`reader`] (the windows
//! of all shards, and what to read next), [`outgoing`] and [`entry`] (an event on its way, alone or in
//! a bundle), [`gather`] (making bundles), [`lanes`] (what may be sent next, in which order),
//! [`backoff`] (when to try again), [`concurrency`] (how much at once), [`dispatch`] (sending, and what
//! came of it), [`pipeline`] (the loop that reads, sends and saves), [`supervisor`] (keeps it running
//! and in its fair share of the shards).

pub mod backoff;
pub mod concurrency;
pub mod dispatch;
pub mod entry;
pub mod gather;
pub mod lanes;
pub mod outgoing;
mod parking;
pub mod pipeline;
pub mod reader;
pub mod supervisor;
mod unanswered;
pub mod window;

use std::time::Duration;

use self::gather::BundleLimits;
use crate::{
    chance::Chance,
    log::page::Selection,
    publish::BatchLimits,
    telemetry::{metrics::SinkMetrics, traces::SinkTraces},
};

/// What a sink is: which events go where, and how.
#[derive(Debug)]
pub struct Sink<P> {
    /// The sink's name.
    pub name: String,
    /// Which events it wants.
    pub selection: Selection,
    /// Where they go.
    pub publisher: P,
    /// Whether the target keeps the order of keys, so that the relay must too.
    pub keeps_order: bool,
    /// What one request may hold.
    pub limits: BatchLimits,
    /// What one message may hold; `None` for one event.
    pub bundle: Option<BundleLimits>,
    /// How often an event may arrive.
    pub guarantee: Guarantee,
    /// Most requests in flight at once.
    pub max_in_flight: usize,
    /// Most events between the oldest that is not settled and the youngest that was read: how many
    /// may pass a stuck one, and so the most that a crash can make the relay publish again.
    pub max_window: usize,
    /// Most bytes of messages on their way, those in flight included; one page more may be read on top. Half of it
    /// may wait for its turn or its retry when nothing else can be sent.
    pub max_held_bytes: usize,
    /// Longest that a drain waits for answers.
    pub drain_timeout: Duration,
    /// What is left to chance: how long a retry waits.
    pub chance: Chance,
    /// What is counted.
    pub metrics: SinkMetrics,
    /// What is traced, if anything is.
    pub traces: Option<SinkTraces>,
}

/// What a sink holds of [`Sink::max_held_bytes`] where nobody says otherwise.
pub const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;

/// How often an event may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// The cursor moves over what was confirmed: nothing is lost, copies are possible.
    #[default]
    AtLeastOnce,
    /// The cursor moves first: nothing comes twice, and what a crash or a lost reply hits is lost.
    AtMostOnce,
}
