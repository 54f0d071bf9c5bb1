//! The binary against LocalStack; `make test` starts it.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod commit_cutter;
mod gap;
mod gap_postgres;
mod outbox;
mod record;
mod scene;
