//! The ledger: what was attempted, what came of it, and whether the promises were kept.
//!
//! Pure: no database, no queue, no clock. Whoever runs Oncebox (real processes under faults, or models under a
//! seed) writes down each event that it tried to commit ([`History`]), each effect as it happened ([`Effects`]; a
//! list, so that a double is seen and not hidden by a unique key) and what was set aside for a person
//! ([`SetAside`]). When the faults are over and the queues are drained, [`check()`] tells each broken promise, and
//! [`Summary`] the sum that must come out even: committed = effected + set aside.

mod check;
mod effects;
mod hash;
mod history;
mod set_aside;
mod summary;
#[cfg(test)]
mod tests;
mod violation;

pub use check::check;
pub use effects::{Effect, Effects};
pub use hash::PayloadHash;
pub use history::{Attempt, History, Order, Outcome};
pub use set_aside::{Place, SetAside};
pub use summary::Summary;
pub use violation::Violation;
