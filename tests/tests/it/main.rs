//! The system tests: one binary, one module per subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod advisories;
mod border;
mod canary;
mod chaos;
mod claiming;
mod claims;
mod collector;
mod command;
mod consumer_simulation;
mod container;
mod functions;
mod guide;
mod hostile;
mod log;
mod model;
mod operator;
mod pipeline;
mod promises;
mod relay;
mod relays;
mod retention;
mod rights;
mod road;
mod simulation;
mod sinks;
mod targets;
