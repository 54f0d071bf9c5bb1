//! Publishing events of the log again.
//!
//! A replay is no sink: it holds no shard, moves no cursor and parks nothing. It reads a fixed set of
//! events ([`crate::log::replay`]) and hands them to the same [`crate::sink::dispatch::Dispatch`] as a
//! pipeline does, so order, batches, bundles, claim checks, retries and backing off are the same.
//!
//! # Reading order
//! [`rate`] (how fast), [`tally`] (what became of the events, and from where to go on), [`flow`] (the
//! loop that reads and sends).

pub mod flow;
pub mod rate;
pub mod tally;
