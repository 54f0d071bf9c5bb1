//! The relay's promises: real Postgres on one side, SQS behind a proxy on the other.

mod at_most_once;
pub(crate) mod bundles;
mod configuration;
mod crash;
mod database;
pub(crate) mod delivered;
mod faults;
mod health;
mod locks;
mod observed;
mod outages;
mod parking;
mod pooler;
mod random;
mod scene;
mod shutdown;
mod throttling;
mod tls;
mod traces;
mod transactions;
