//! Tests of handlers against duplicates, crashes, faults and time, all of it from a seed.

pub(crate) mod clock;
#[doc(hidden)]
pub mod conformance;
mod expression;
pub(crate) mod faults;
pub(crate) mod gate;
mod memory;
mod queues;
mod tables;
mod trial;
mod validation;

pub use faults::Fault;
pub use queues::{MemoryDeadLetter, MemoryMessage, MemoryQueues, SendFault};
pub use tables::{MemoryTables, elapsed, sleep, with_clock_off, with_jumping_clock, without_waiting};
pub use trial::{Caught, Found, Report, Scenario, Trial};
