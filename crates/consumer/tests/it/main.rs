//! The consumer against LocalStack and Postgres; `make test` starts both.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod batch;
mod bundle;
mod claim_check;
mod conformance;
mod dashboard;
mod dead_letter;
mod delivery;
mod emit;
mod fifo;
mod flaky;
mod gap_guard;
mod group_commit;
mod guide;
mod inbox;
mod leased;
mod lossy_proxy;
mod ping;
mod random;
mod reading;
mod stack;
mod stores;
mod transactional;
mod trial;
mod watermark;
mod wiring;
mod wrapped;
