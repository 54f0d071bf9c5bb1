//! What the relay shows of itself: logs, metrics, traces, health.

pub mod http;
pub mod logging;
pub mod metrics;
pub mod summary;
pub mod traces;
