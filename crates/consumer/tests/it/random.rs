//! Random schedules of deliveries, crashes and faults, against a small model of what is promised.
//!
//! Each case follows from one number, which is printed when it fails. `ONCEBOX_SEED` begins with that one,
//! `ONCEBOX_CASES` says how many there are. Those of mode postgres are run over a real server, in real time.

mod cases;
mod deed;
mod fifo;
mod gap_guard;
mod hot_key;
mod leased;
mod mortal;
mod postgres;
mod postgres_gap_guard;
mod step;
mod transactional;
