//! The outbox on a real Postgres: what enqueue lets in, what it refuses, and in which order.
//!
//! `make test` brings the database; alone: `python3 localstack/stack.py run -- cargo test -p oncebox-outbox`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod border;
mod database;
mod hostile;
mod migration;
mod order;
mod transaction;
