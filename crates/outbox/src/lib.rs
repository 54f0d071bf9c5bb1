//! What a service needs to use an outbox: the migrations and [`Outbox::enqueue`].
//!
//! An event is enqueued in the transaction that changes the service's data. If that transaction
//! commits, the relay publishes the event; if it rolls back, nobody ever sees it. Services in other
//! languages call the SQL function `oncebox.enqueue` directly; this crate does the same.
//!
//! # Reading order
//! [`NewEvent`] (what to say), [`Outbox::enqueue`] (saying it), [`migrate`] and [`migration_sql`]
//! (the database's side).

mod enqueue;
mod event;
mod migration;

pub use enqueue::{EnqueueError, Outbox};
pub use event::NewEvent;
pub use migration::{grant_to_relay, latest_migration, migrate, migration_sql, relay_grants};
