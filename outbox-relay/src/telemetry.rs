//! What the relay shows of itself: logs, metrics, health.

pub mod http;
pub mod logging;
pub mod metrics;
