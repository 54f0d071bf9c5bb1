//! The log's size, as whoever keeps its partitions last saw it.

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

const PARTITIONS_AHEAD: &str = "oncebox_log_partitions_ahead";
const SIZE: &str = "oncebox_log_size";

/// The metrics of the log.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    partitions_ahead: Gauge,
    bytes: Gauge,
}

impl LogMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            PARTITIONS_AHEAD,
            "Partitions of a million events above the log's end; at 0 producers are about to fail",
            self.partitions_ahead.clone(),
        );
        registry.register_with_unit(
            SIZE,
            "Disk that the log takes, with its indexes",
            Unit::Bytes,
            self.bytes.clone(),
        );
    }

    /// So many partitions lie above the log's end.
    pub fn partitions_ahead(&self, partitions: i64) {
        self.partitions_ahead.set(partitions);
    }

    /// The log takes so much disk.
    pub fn bytes(&self, bytes: i64) {
        self.bytes.set(bytes);
    }
}
