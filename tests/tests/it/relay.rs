//! The relay's promises: real Postgres on one side, SQS behind a proxy on the other.

mod configuration;
mod crash;
mod database;
mod delivered;
mod faults;
mod observed;
mod outages;
mod pooler;
mod random;
mod scene;
mod shutdown;
mod tls;
mod transactions;
