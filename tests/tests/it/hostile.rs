//! Hostile input: for each border one table of what may come and what becomes of it, run against the real parts.
//!
//! What is expected stands in docs/SEMANTICS.md and in the crates' documentation; docs/PROOF.md has the overview.

mod arguments;
mod arrived;
mod enqueue;
mod message;
mod producer;
mod relay_toml;
mod volume;

/// What becomes of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It arrives at the consumer as it was written.
    Accepted,
    /// Refused at the border with this code (SQLSTATE, or exit code), and the error names this.
    Refused(&'static str, &'static str),
    /// Set aside by the relay, with this class.
    Parked(&'static str),
    /// Set aside by the consumer, with this reason; its error says this.
    DeadLettered(&'static str, &'static str),
}

use Outcome::{Accepted, DeadLettered, Parked, Refused};

/// What no error may show.
const CANARY: &str = "kanarienvogel";
