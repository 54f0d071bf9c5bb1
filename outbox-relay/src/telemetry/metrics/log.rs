//! The log's size, as whoever keeps its partitions last saw it.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::SinkLabel;

const PARTITIONS_AHEAD: &str = "oncebox_log_partitions_ahead";
const SIZE: &str = "oncebox_log_size";
const ABANDONED_LAG: &str = "oncebox_abandoned_sink_lag_events";

/// The metrics of the log.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    partitions_ahead: Gauge,
    bytes: Gauge,
    abandoned: Family<SinkLabel, Gauge>,
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
        registry.register(
            ABANDONED_LAG,
            "Positions of the log behind the cursors of a sink that no relay runs; they keep the log from being freed",
            self.abandoned.clone(),
        );
    }

    /// So many partitions lie above the log's end.
    pub fn partitions_ahead(&self, partitions: i64) {
        self.partitions_ahead.set(partitions);
    }

    /// These sinks have cursors, so many positions behind the log's end, and no relay runs them.
    pub fn abandoned<'a>(&self, sinks: impl Iterator<Item = (&'a str, i64)>) {
        self.abandoned.clear();
        for (name, behind) in sinks {
            let label = SinkLabel { sink: name.to_owned() };
            self.abandoned.get_or_create(&label).set(behind);
        }
    }

    /// The log takes so much disk.
    pub fn bytes(&self, bytes: i64) {
        self.bytes.set(bytes);
    }
}
