//! The contract seen from outside: what goes in comes out, and nothing else gets in.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod body;
mod faults;
mod round_trip;
mod schema;
mod strategy;
