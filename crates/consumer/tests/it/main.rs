//! The consumer against LocalStack and Postgres; `make test` starts both.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod batch;
mod dead_letter;
mod delivery;
mod fifo;
mod inbox;
mod lossy_proxy;
mod ping;
mod stack;
mod transactional;
mod wiring;
