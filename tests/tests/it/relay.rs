//! The relay's promises: real Postgres on one side, SQS behind a proxy on the other.

mod collector;
mod configuration;
mod crash;
mod database;
pub(crate) mod delivered;
mod faults;
mod health;
mod observed;
mod random;
mod scene;
mod shutdown;
mod traces;
mod transactions;
