//! The relay: reads the outbox log and publishes it.
//!
//! ```text
//! oncebox.event ──► log (what is new?) ──► sink (what may go next?) ──► publish (to the target)
//!                    ▲                       │
//!                    └────── cursor ◄────────┘
//! ```
//!
//! # Guarantees
//! - Every event whose transaction commits is published at least once to every sink that wants it, or
//!   parked with its reason; an event whose transaction rolls back never is. (A sink may ask for at most
//!   once instead.)
//! - On a FIFO queue the events of a key are first sent in the order of their `sequence`, and none
//!   before its predecessor was confirmed.
//! - The cursor moves only over events that the target confirmed or that are parked in the same
//!   transaction, so a crash repeats at most a window and loses nothing.
//! - No two relays publish one shard at once.
//!
//! # Reading order
//! [`log`], [`sink`], [`publish`], [`lease`], [`database`]; then [`config`], [`telemetry`], [`chance`], [`command`], [`parked`] (what a person
//! may do with events that were set aside) and [`replay`] (events published again).

pub mod chance;
pub mod command;
pub mod config;
pub mod database;
pub mod lease;
pub mod log;
pub mod parked;
pub mod planted;
pub mod publish;
pub mod replay;
pub mod sink;
pub mod telemetry;
